# SPDX-License-Identifier: Apache-2.0
# Wheels that the environment's own pip installs (--mode pip): no release, and no way back of ours.
# durable.py, receive.py, release.py and call_pip.py stand before this text; host.py, behind it, has
# the lock.
#
#     ROOT/wheels.<pid>.new/    wheels as they came, until this process ends
import hashlib
import os
import re
import sys
import sysconfig

WHEELS = re.compile(r"^wheels\.[0-9]+\.new$")
# What pip writes into .dist-info itself, whatever the wheel has there.
OF_PIP = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
# In place of these a script has its interpreter once pip has installed it.
FIRST_LINES = {b"#!python\n", b"#!pythonw\n", b"#!python3\n"}


def site_folders():
    paths = sysconfig.get_paths()
    return list(dict.fromkeys((paths["purelib"], paths["platlib"])))


def dist_info_of(manifest):
    found = [entry["path"] for entry in manifest["files"]
             if re.match(r"^[^/]+\.dist-info/RECORD$", entry["path"])]
    if len(found) != 1:
        raise Refused("the wheel has no RECORD, or several")
    return found[0].partition("/")[0]


def recorded(dist_info):
    """The site-packages that it lies in, and every path of its RECORD; None where it is not."""
    import csv

    for site in site_folders():
        path = os.path.join(site, dist_info, "RECORD")
        if os.path.isfile(path):
            with open(path, encoding="utf-8", newline="") as source:
                try:
                    return site, [os.path.normpath(os.path.join(site, row[0]))
                                  for row in csv.reader(source) if row]
                except (ValueError, csv.Error):
                    return site, []
    return None, []


def is_rewritten(place, entry):
    """A script, which is as it was packed but for its interpreter."""
    if os.path.islink(place) or not os.path.isfile(place):
        return False
    with open(place, "rb") as script:
        first, rest = script.readline(), script.read(entry["size"] + 1)
    return first == b"#!" + os.fsencode(sys.executable) + b"\n" and any(
        hashlib.sha256(line + rest).hexdigest() == entry["sha256"] for line in FIRST_LINES)


def installed_problem(entry, site, paths):
    """What is wrong with what pip made of the wheel's file; empty: nothing."""
    data = re.match(r"^[^/]+\.data/([^/]+)/(.+)$", entry["path"])
    if not data:
        return content_problem(os.path.join(site, entry["path"]), entry)
    # Where it is to be differs from system to system; pip noted where it is.
    places = [path for path in paths if path.endswith("/" + data.group(2))]
    problems = [content_problem(place, entry) for place in places] or ["is missing"]
    rewritten = data.group(1) == "scripts" and any(is_rewritten(place, entry) for place in places)
    return "" if rewritten or "" in problems else problems[0]


def is_made_anew(path, dist_info):
    """By pip, so that its content is not the wheel's."""
    own = path in ["%s/%s" % (dist_info, name) for name in OF_PIP]
    return own or (path.endswith(".pyc") and "__pycache__" in path.split("/"))


def not_installed(manifest):
    """What of the wheel is not in the environment as pip would put it there; empty: nothing."""
    check_places(manifest["files"])
    dist_info = dist_info_of(manifest)
    site, paths = recorded(dist_info)
    if site is None:
        return "%s is missing" % dist_info
    problems = []
    for entry in manifest["files"]:
        problem = "" if is_made_anew(entry["path"], dist_info) else installed_problem(
            entry, site, paths)
        if problem:
            problems.append("%s %s" % (entry["path"], problem))
    return ", ".join(few_of(problems))


def lacking_by_pip(request, _root):
    """SHA-256 of the wheels that are not there, whole; changes nothing."""
    import importlib.util

    lacking = [manifest["wheel"]["sha256"] for manifest in request["manifests"]
               if not_installed(manifest)]
    if lacking and importlib.util.find_spec("pip") is None:
        raise Refused(no_pip())
    return {"lacking": lacking}


def verify_by_pip(request, _root):
    problems = []
    for manifest in request["manifests"]:
        problem = not_installed(manifest)
        if problem:
            problems.append("what pip installed of %s is not what was sent: %s"
                            % (manifest["wheel"]["file"], problem))
    if problems:
        raise Damaged("; ".join(problems))
    return {}


def wheels_folder(root):
    """This process's own. What a killed one left goes: the lock says that it is not at work."""
    folder = os.path.join(root, "wheels.%d.new" % os.getpid())
    if folder not in HELD_WHEELS:
        for name in os.listdir(root):
            if WHEELS.match(name):
                remove_tree(os.path.join(root, name))
        os.mkdir(folder, 0o700)
        HELD_WHEELS.append(folder)
    return folder


HELD_WHEELS = []  # that folder, once it is made


def drop_wheels():
    while HELD_WHEELS:
        remove_tree(HELD_WHEELS.pop())


def take_wheel(request, root):
    name, stream = request["file"], request["stream"]
    if os.path.basename(name) != name or not name.endswith(".whl"):
        raise Refused("%r is no name of a wheel" % name)
    path = os.path.join(wheels_folder(root), name)
    try:
        with about(path), open(path, "x+b", 0) as part:
            receive(stream, {"bytes": 0, "sha256": hashlib.sha256().hexdigest()}, part)
        # What lies there is what pip is given.
        if hash_file(path) != stream["sha256"]:
            raise Damaged("the wheel was damaged on this host's disk")
    except BaseException:
        if os.path.lexists(path):
            os.unlink(path)
        raise
    return {"changed": True}


def learn_first_lines(wheel):
    import zipfile

    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if re.match(r"^[^/]+\.data/scripts/", name):
                with archive.open(name) as script:
                    line = script.readline(1000)
                if line.startswith(b"#!python"):
                    FIRST_LINES.add(line)


def own_environment():
    """That of this process without what would change where pip installs, or what. SOURCE_DATE_EPOCH
    would change the .pyc files."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("PIP_", "PYTHON", "_PIP", "_PYTHON"))
            and name != "SOURCE_DATE_EPOCH"}
    return dict(kept, PIP_CONFIG_FILE=os.devnull)


def there_now(name):
    """What a failed pip left of a distribution: it puts back what it had begun to replace, mostly,
    and may leave a part of what it was to bring."""
    normal, told = re.sub(r"[-_.]+", "_", name).lower(), []
    for entry in sorted({entry for site in site_folders() if os.path.isdir(site)
                         for entry in os.listdir(site)}):
        found = re.match(r"^([^-]+)-([^-]+)\.dist-info$", entry)
        if not found or re.sub(r"[-_.]+", "_", found.group(1)).lower() != normal:
            continue
        paths = recorded(entry)[1]
        gone = sum(not os.path.lexists(path) for path in paths)
        files = "%d of its %d files missing" % (gone, len(paths)) if gone \
            else "all of its %d files" % len(paths)
        told.append("%s with %s" % (found.group(2), files) if paths
                    else "a part of %s" % found.group(2))
    return "of %s there is now %s" % (name, ", and ".join(told) or "nothing")


def install_by_pip(request, root):
    """pip outlives this process, where the host lets it, and has the lock as long."""
    names = [wheel["name"] for wheel in request["wheels"]]
    files = [os.path.join(wheels_folder(root), wheel["file"]) for wheel in request["wheels"]]
    for file in files:
        if not os.path.isfile(file):
            raise Refused("the wheel that was sent is gone, as its connection broke; nothing was "
                          "installed")
        learn_first_lines(file)
    status, said = call_pip(
        ["install", "--isolated", "--no-deps", "--force-reinstall", "--no-index", "--no-cache-dir",
         "--", *files], own_environment(), ["-I", "-B"], start_new_session=True,
        pass_fds=[held.fileno() for held in HELD])
    if status != 0:
        raise Refused("pip could not install it: %s; %s"
                      % (last_error(said), "; ".join(there_now(name) for name in names)))
    return {"changed": True}
