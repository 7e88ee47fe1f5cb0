# SPDX-License-Identifier: Apache-2.0
"""The forms of the report, over replayed facts of 4 and of 4,000 hosts."""
import json
import re
import unittest
import xml.etree.ElementTree as ElementTree

from support import chromium, report_fleet
from support.deploy_case import DeployCase, clean_environment

# What a host may say, and each form has to stand.
HOSTILE = ("\x1b[2J]]></script><script>window.hit=1</script><!-- <img src=x onerror=window.hit=1> "
           "\u2028\u202e\uffff&amp; @DATA@ | [a](javascript:b) `c` ::error::d 100% ##[error]e")
# The worst contrast of a text on the page to what is behind it, and that text.
CONTRAST = """(() => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => channels(color).slice(0, 3).map((value) => value / 255)
    .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
  let worst = [21, ""];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility()) continue;
    let behind = element;
    while (behind && /, 0\\)$/.test(getComputedStyle(behind).backgroundColor))
      behind = behind.parentElement;
    const pair = [light(getComputedStyle(element).color),
                  light(getComputedStyle(behind || document.body).backgroundColor)];
    const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    if (ratio < worst[0]) worst = [ratio, element.textContent];
  }
  return worst;
})()"""


class ReportCase(DeployCase):
    def setUp(self):
        super().setUp()
        self.wheel = report_fleet.wheel(self.folder)
        self.facts = report_fleet.four(self.folder / "facts.json")

    def audit(self, *words, exit_status=5, **variables):
        done = self.run_program("audit", self.wheel, "--facts", self.facts, *words,
                                env=clean_environment(**variables))
        self.assertEqual(done.returncode, exit_status, done.stdout + done.stderr)
        return done.stdout

    def hostile(self):
        self.facts = report_fleet.save(self.folder / "facts.json", [
            report_fleet.host("<b>&'\"::error::\x1b", state="unreachable", problem=HOSTILE),
            report_fleet.host("node1", glibc=HOSTILE),
            report_fleet.host("node2", gpus=[{**report_fleet.V100, "name": HOSTILE}])])


class Text(ReportCase):
    def test_matrix(self):
        said = self.audit()
        self.assertIn("  node4  unreachable  - F - -\n  node2  refused      F . . w\n"
                      "  node3  ready        . . ? .\n  node1  ready        . . . .\n", said)
        self.assertIn("  node[1,3] (2)  ready\n", said)

    def assert_fits_on_a_screen(self, step):
        report_fleet.thousands(self.facts, step=step)
        said = self.audit().splitlines()
        self.assertLess(len(said), 40)
        self.assertEqual([line for line in said if len(line) > 600], [])
        matrix = said[said.index("matrix") + 1:said.index("hosts (dry run: nothing was changed)")]
        self.assertEqual([line for line in matrix if len(line) > 100], [])
        numbers = re.findall(r" \((\d+)\) ", "\n".join(matrix))
        self.assertEqual((len(numbers), sum(map(int, numbers))), (5, 4000))

    def test_thousands_fit_on_a_screen(self):
        self.assert_fits_on_a_screen(step=400)

    def test_results_by_turns_fit_too(self):
        self.assert_fits_on_a_screen(step=3)

    def test_json_is_a_format(self):
        self.assertEqual(json.loads(self.audit("--format", "json"))["exit"], 5)


class JUnit(ReportCase):
    """The shape is that of Jenkins' junit-10, which GitLab reads as well."""

    SUITE = {"id", "name", "hostname", "tests", "failures", "errors", "skipped", "time",
             "timestamp"}

    def junit(self):
        file = self.folder / "report.xml"
        self.audit("--junit", file)
        return ElementTree.fromstring(file.read_bytes())

    def assert_shape(self, root):
        self.assertEqual(root.tag, "testsuites")
        self.assertLessEqual(set(root.attrib), {"name", "time", "tests", "failures", "errors"})
        for suite in root:
            self.assertEqual((suite.tag, set(suite.attrib)), ("testsuite", self.SUITE))
            self.assertRegex(suite.get("time"), r"^\d+\.\d{3}$")
            self.assertEqual(int(suite.get("tests")), len(suite))
            for kind in ("failure", "skipped"):
                told = suite.get({"failure": "failures"}.get(kind, kind))
                self.assertEqual(int(told), len(suite.findall("testcase/" + kind)))
            names = [case.get("name") for case in suite]
            self.assertEqual(len(names), len(set(names)))
            for case in suite:
                self.assertEqual(set(case.attrib), {"classname", "name", "time"})
                self.assertIn([child.tag for child in case],
                              (["failure"], ["skipped"], ["system-out"]))
        self.assertEqual(int(root.get("tests")), len(root.findall("testsuite/testcase")))
        self.assertEqual(int(root.get("failures")), len(root.findall("testsuite/testcase/failure")))

    def test_a_suite_for_each_host_and_a_case_for_each_rule_and_op(self):
        root = self.junit()
        self.assert_shape(root)
        self.assertEqual([suite.get("name") for suite in root],
                         ["node1", "node2", "node3", "node4"])
        failure = root.find("testsuite[@name='node2']/testcase[@name='gpu-image: scale']/failure")
        self.assertIn("no code for sm_70", failure.get("message"))
        self.assertIn("TORCH_CUDA_ARCH_LIST", failure.text)
        self.assertIsNotNone(root.find("testsuite[@name='node3']/testcase[@name='glibc']/skipped"))
        self.assertEqual(root.find("testsuite[@name='node1']").get("failures"), "0")

    def test_hostile_text(self):
        self.hostile()
        root = self.junit()
        self.assert_shape(root)
        self.assertEqual(root[0].get("name"), "<b>&'\"::error::\\x1b")
        self.assertIn("\\x1b[2J]]></script>", root[0].find("testcase/failure").get("message"))


class GitHub(ReportCase):
    def test_annotations_and_summary(self):
        summary = self.write("summary.md", "before\n")
        said = self.audit("--format", "github", GITHUB_STEP_SUMMARY=str(summary)).splitlines()
        stop = re.fullmatch(r"::stop-commands::([0-9a-f]{64})", said[0])
        commands = said[said.index("::%s::" % stop.group(1)) + 1:]
        self.assertEqual([line.partition("::node")[0] for line in commands],
                         ["::error title=ds-deploy%3A unreachable",
                          "::error title=ds-deploy%3A fail gpu-image",
                          "::error title=ds-deploy%3A fail reachable",
                          "::warning title=ds-deploy%3A unknown glibc",
                          "::warning title=ds-deploy%3A warn uniformity"])
        text = summary.read_text()
        self.assertTrue(text.startswith(
            "before\n### ds-deploy audit: 2 of 4 hosts are not ready (exit status 5)\n"))
        self.assertIn("| **fail** | gpu-image | node2 | scale has no code for sm\\_70", text)
        self.assertIn("      node2  refused      F . . w\n", text)

    def test_hostile_text(self):
        self.hostile()
        summary = self.folder / "summary.md"
        said = self.audit("--format", "github", GITHUB_STEP_SUMMARY=str(summary))
        self.assertNotIn("\x1b", said)
        resumed = said.index("::%s::\n" % said.splitlines()[0].rpartition("::")[2])
        for line in said[resumed:].splitlines()[1:]:
            self.assertRegex(line, r"^::(error|warning) title=ds-deploy%3A ")
        self.assertNotIn("<img", summary.read_text())

    def test_a_summary_that_cannot_be_written_costs_no_report(self):
        done = self.run_program("audit", self.wheel, "--facts", self.facts, "--format", "github",
                                env=clean_environment(GITHUB_STEP_SUMMARY=str(self.folder)))
        self.assertEqual(done.returncode, 5)
        self.assertIn("::error title=", done.stdout)
        self.assertIn("cannot write the summary", done.stderr)


class Deployed(DeployCase):
    """A run that changes a host says the same in each form."""

    def test_every_form_of_one_run(self):
        page, cases = self.folder / "report.html", self.folder / "report.xml"
        report = self.deploy("-l", "--python", self.make_environment(), "--html", page,
                             "--junit", cases)
        suite = ElementTree.parse(cases).getroot()[0]
        self.assertEqual(suite.get("failures"), "0")
        self.assertEqual(suite[0].get("name"), "is deployed to")
        self.assertEqual(suite[0].find("system-out").text, "confirmed")
        told = {case.get("name").partition(": ")[2]: case.find("skipped") is None
                for case in suite if case.get("name").startswith("self-test: ")}
        self.assertEqual(told, {line.partition(": ")[0]: line.endswith(": passed")
                                for line in report["hosts"][0]["self_tests"]})
        self.assertTrue(told)
        data = re.search(r'<script id="data" type="application/json">(.*?)</script>',
                         page.read_text(), re.S)
        host = json.loads(data.group(1))["hosts"][0]
        for key in ("state", "sent_bytes", "release", "self_tests"):
            self.assertEqual(host[key], report["hosts"][0][key])


class Files(ReportCase):
    def test_what_cannot_be_written_is_refused_before_hosts_are_asked(self):
        saved = self.folder / "saved.json"
        for option, name, said in (("--html", self.folder / "none" / "x", "No such file"),
                                   ("--junit", self.folder, "is a folder"),
                                   ("--html", "/dev/null", "is not a regular file")):
            done = self.run_program("audit", self.wheel, "-l", "--save-facts", saved, option, name)
            with self.subTest(said):
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertIn("%s: " % option, done.stderr)
                self.assertIn(said, done.stderr)
                self.assertFalse(saved.exists())

    def test_a_link_stays_one(self):
        target, link = self.write("page.html", "old"), self.folder / "link.html"
        link.symlink_to(target)
        self.audit("--html", link)
        self.assertTrue(link.is_symlink())
        self.assertTrue(target.read_text().startswith("<!doctype html>"))

    def test_standard_output(self):
        self.assertTrue(self.audit("--html", "-").startswith("<!doctype html>"))
        self.assertEqual(ElementTree.fromstring(self.audit("--junit", "-")).tag, "testsuites")

    def test_contradictions(self):
        for words in (("--html", "-", "--junit", "-"), ("--html", "-", "--json"),
                      ("--json", "--format", "text"), ("--json", "--format", "github")):
            with self.subTest(words):
                self.audit(*words, exit_status=2)


@unittest.skipUnless(chromium.PROGRAM, "chromium is not installed")
class Page(ReportCase):
    """The page in a browser."""

    def open(self, **look):
        file = self.folder / "report.html"
        self.audit("--html", file)
        browser = chromium.Browser(self.folder / "profile")
        browser.__enter__()
        self.addCleanup(browser.__exit__)
        self.page = browser.page(**look)
        self.url = file.as_uri()
        self.page.open(self.url)

    def value(self, expression):
        return self.page.evaluate(expression)

    def names(self):
        return self.value("[...document.querySelectorAll('tr.host button')]"
                          ".map(b => b.textContent)")

    def told(self):
        return self.value("document.getElementById('told').textContent")

    def focused(self):
        return self.value("document.activeElement.textContent || document.activeElement.id")

    def sorted_by(self):
        return self.value("[...document.querySelectorAll('th[aria-sort]')].map(h => "
                          "[h.textContent, h.getAttribute('aria-sort')])")

    def assert_quiet(self):
        """No script error, no word on the console, and no request but for the file itself."""
        self.assertEqual(self.page.problems(), [])
        self.assertEqual(self.page.requests(), [self.url])

    def test_it_sorts_filters_and_opens_by_keyboard(self):
        self.open()
        self.assertEqual(self.value("document.querySelector('h1').textContent"),
                         "2 of 4 hosts are not ready")
        self.assertEqual(self.names(), ["node4", "node2", "node1", "node3"])
        self.assertEqual(self.sorted_by(), [["State", "ascending"]])

        self.page.press("/")
        self.assertEqual(self.focused(), "filter")
        self.page.press("Tab")
        self.assertEqual(self.focused(), "Host")
        self.page.press("Enter")
        self.assertEqual(self.names(), ["node1", "node2", "node3", "node4"])
        self.page.press(" ")
        self.assertEqual(self.names(), ["node4", "node3", "node2", "node1"])
        self.assertEqual(self.sorted_by(), [["Host", "descending"]])

        self.page.press("/")
        self.page.type("gpu-image")
        self.assertEqual((self.names(), self.told()), (["node2"], "1 of 4 hosts"))
        self.page.press("Escape")
        self.assertEqual(self.told(), "4 hosts")
        self.page.press("ArrowDown")
        self.page.press("ArrowDown")
        self.assertEqual(self.focused(), "node3")
        self.page.press("Enter")
        self.assertIn("which version this host has is not known",
                      self.value("document.querySelector('tr.detail').textContent"))
        self.assertEqual(self.value("document.activeElement.getAttribute('aria-expanded')"), "true")
        self.page.press("Enter")
        self.assertIsNone(self.value("document.querySelector('tr.detail')"))
        self.page.press("End")
        self.assertEqual(self.focused(), "node1")
        self.page.press("ArrowUp")
        self.assertEqual(self.focused(), "node2")
        self.page.press("Home")
        self.page.press("ArrowUp")
        self.assertEqual(self.focused(), "filter")
        self.assert_quiet()

    def test_groups_and_states_choose_hosts(self):
        self.open()
        self.value("document.querySelector('[data-state=ready]').click()")
        self.assertEqual(self.names(), ["node1", "node3"])
        self.value("document.querySelector('[data-state=ready]').click()")
        self.value("document.querySelector('.findings .hosts').click()")
        self.assertEqual((self.names(), self.focused()), (["node2"], "node2"))
        self.value("document.getElementById('group').click()")
        self.assertEqual(self.told(), "4 hosts")
        self.value("document.querySelector('[data-grid=ops]').click()")
        self.assertEqual(self.value("[...document.querySelectorAll('.matrix thead th')].map("
                                    "h => h.textContent)"), ["Hosts", "State", "scale"])
        self.assert_quiet()

    def test_contrast_in_both_schemes_and_in_print(self):
        self.open()
        self.value("document.querySelectorAll('tr.host button').forEach(b => b.click())")
        self.value("document.querySelectorAll('details').forEach(d => d.open = true)")
        seen = set()
        for kind, dark in (("screen", False), ("screen", True), ("print", True)):
            self.page.media(kind, dark)
            seen.add(self.value("getComputedStyle(document.body).backgroundColor"))
            ratio, text = self.value(CONTRAST)
            self.assertGreaterEqual(ratio, 4.5, "%s, dark: %s: %s" % (kind, dark, text))
        self.assertEqual(len(seen), 2)

    def test_hostile_text_stays_text(self):
        self.hostile()
        self.open()
        self.value("document.querySelectorAll('tr.host button').forEach(b => b.click())")
        self.assertIsNone(self.value("window.hit"))
        self.assertEqual(self.value("document.querySelectorAll('img, script').length"), 2)
        self.assertIn("<b>&'\"::error::\\x1b", self.names())
        self.assertIn("\\x1b[2J]]></script><script>window.hit=1</script><!-- <img src=x",
                      self.value("document.querySelector('td.said').textContent"))
        self.assert_quiet()

    def test_it_can_be_read_without_its_script(self):
        self.open(script=False)
        text = self.value("document.body.innerText")
        self.assertIn("ds-deploy audit: 2 of 4 hosts are not ready", text)
        self.assertIn("node2  refused      F . .", text)
        self.assert_quiet()

    def test_thousands_are_sorted_filtered_and_walked_through(self):
        """How long that takes is measured by tests/bench/audit.py."""
        report_fleet.thousands(self.facts)
        self.open()
        self.assertEqual(self.value("document.documentElement.dataset.ready"), "true")
        self.assertEqual(self.told(), "4,000 hosts")
        self.value("document.querySelector('#hosts thead button').click()")
        self.assertEqual(self.names()[:2], ["rack001-node01", "rack001-node02"])
        self.page.press("/")
        self.page.type("rack25")
        self.assertEqual(self.told(), "16 of 4,000 hosts")
        self.page.press("Escape")
        self.page.press("ArrowDown")
        self.page.press("End")
        self.assertEqual(self.focused(), "rack250-node16")
        self.assertEqual(len(self.names()), 4000)
        self.assert_quiet()


if __name__ == "__main__":
    unittest.main()
