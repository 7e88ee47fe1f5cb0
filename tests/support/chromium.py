# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium, driven by the DevTools protocol over a pipe: no port, no other package."""
import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
               None)
KEYS = {"Enter": ("Enter", 13, "\r"), " ": ("Space", 32, " "), "/": ("Slash", 191, "/"),
        "Tab": ("Tab", 9, None), "Escape": ("Escape", 27, None), "Home": ("Home", 36, None),
        "End": ("End", 35, None), "ArrowUp": ("ArrowUp", 38, None),
        "ArrowDown": ("ArrowDown", 40, None)}


class Browser:
    """A context manager; `folder` takes the profile."""

    def __init__(self, folder, limit=120):
        self.folder, self.limit, self.last = folder, limit, 0
        self.messages, self.rest = [], b""

    def __enter__(self):
        # The browser reads commands from descriptor 3 and answers on descriptor 4.
        command, answer = os.pipe(), os.pipe()
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (command[0], answer[1])]

        def descriptors():
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        words = [PROGRAM, "--headless=new", "--remote-debugging-pipe", "--no-sandbox",
                 "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update",
                 "--user-data-dir=%s" % self.folder, "about:blank"]
        self.process = subprocess.Popen(words, preexec_fn=descriptors, pass_fds=(3, 4),
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        for fd in (command[0], answer[1], *high):
            os.close(fd)
        self.into, self.out = command[1], answer[0]
        return self

    def __exit__(self, *_):
        try:
            self.call("Browser.close")
            self.process.wait(timeout=20)
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self.into)
        os.close(self.out)

    def receive(self, end):
        """One message, also kept; AssertionError if none comes in time."""
        while b"\0" not in self.rest:
            ready = select.select([self.out], [], [], max(0, end - time.monotonic()))[0]
            piece = os.read(self.out, 1 << 16) if ready else b""
            if not piece:
                raise AssertionError("the browser says nothing")
            self.rest += piece
        text, _, self.rest = self.rest.partition(b"\0")
        self.messages.append(json.loads(text))
        return self.messages[-1]

    def call(self, method, session=None, **parameters):
        self.last += 1
        message = {"id": self.last, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self.into, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + self.limit
        while True:
            answer = self.receive(end)
            if answer.get("id") == self.last:
                if "error" in answer:
                    raise AssertionError("%s: %s" % (method, answer["error"]))
                return answer["result"]

    def page(self, width=1300, height=900, dark=False, script=True):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(domain + ".enable")
        page.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=False)
        page.call("Emulation.setScriptExecutionDisabled", value=not script)
        page.media("screen", dark)
        return page


class Page:
    def __init__(self, browser, session):
        self.browser, self.session = browser, session

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def events(self, *methods):
        return [message["params"] for message in self.browser.messages
                if message.get("sessionId") == self.session and message.get("method") in methods]

    def open(self, url):
        self.call("Page.navigate", url=url)
        end = time.monotonic() + self.browser.limit
        while not self.events("Page.loadEventFired"):
            self.browser.receive(end)

    def media(self, kind, dark):
        self.call("Emulation.setEmulatedMedia", media=kind, features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def evaluate(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True,
                           awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError("%s: %s" % (expression, answer["exceptionDetails"]))
        return answer["result"].get("value")

    def press(self, key):
        code, number, text = KEYS.get(key, ("Key" + key.upper(), ord(key.upper()[0]), key))
        pressed = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        if text:
            pressed["text"] = text
        self.call("Input.dispatchKeyEvent", type="keyDown", **pressed)
        self.call("Input.dispatchKeyEvent", type="keyUp", **pressed)

    def type(self, text):
        for character in text:
            self.press(character)

    def problems(self):
        """Script errors, and all that the console was told, a breach of the page's policy too."""
        errors = self.events("Runtime.exceptionThrown", "Runtime.consoleAPICalled")
        return errors + [event["entry"] for event in self.events("Log.entryAdded")]

    def requests(self):
        return [event["request"]["url"] for event in self.events("Network.requestWillBeSent")]

    def screenshot(self, path, full=False):
        data = self.call("Page.captureScreenshot", captureBeyondViewport=full)["data"]
        path.write_bytes(base64.b64decode(data))
