# SPDX-License-Identifier: Apache-2.0
"""The host's target interpreter about itself: one line "python TAB {json}". Standard library only,
reads only, imports nothing of the environment. layout.py and the other probe_*.py stand before this
text. Python 3.6."""
import json
import re
import signal
import subprocess
import sys
import sysconfig

HEX64 = re.compile(r"^[0-9a-f]{64}$")
HOOK = ("_ds_deploy.py", "ds_deploy.pth", "ds_deploy.start")


def read(path, limit=1 << 20):
    try:
        with open(path, "rb") as source:
            return source.read(limit)
    except OSError:
        return b""


def python_facts(found):
    paths = sysconfig.get_paths()
    virtual = sys.prefix != sys.base_prefix
    managed = os.path.exists(os.path.join(paths["stdlib"], "EXTERNALLY-MANAGED"))
    place = os.stat(sys.prefix)
    return {"executable": sys.executable, "version": "%d.%d.%d" % sys.version_info[:3],
            "soabi": sysconfig.get_config_var("SOABI") or "", "prefix": sys.prefix,
            "prefix_id": "%d:%d" % (place.st_dev, place.st_ino),
            "base_prefix": sys.base_prefix, "site_packages": paths["purelib"],
            "virtual_environment": virtual, "externally_managed": managed and not virtual,
            "pip": found.get("pip", ("",))[0]}


def is_ours(folder, root):
    return folder.startswith(os.path.join(root, "releases") + os.sep)


def distributions(names, root):
    """Version and folder of each, and of all in our releases; the first on sys.path, as
    importlib.metadata finds it."""
    form = re.compile(r"^([^-]+)-([^-]+)(?:-py.*)?\.(?:dist|egg)-info$")
    found = {}
    for folder in sys.path:
        for name in names_in(folder):
            match = form.match(name)
            if match and match.group(1) not in found and (match.group(1) in names
                                                          or is_ours(folder, root)):
                found[match.group(1)] = (match.group(2), folder)
    return found


def described(folder, name):
    """Name and version of one .dist-info or .egg-info, or None: what has no metadata is what a
    broken removal left. An .egg-info may be a file itself."""
    path = os.path.join(folder, name)
    if not (name.endswith(".egg-info") and os.path.isfile(path)):
        path = os.path.join(path, "METADATA" if name.endswith(".dist-info") else "PKG-INFO")
        if not os.path.isfile(path):
            return None
    plain = re.match(r"([A-Za-z0-9][\w.]*)-(\d[^-]*)(?:-py.*)?\.[a-z]+-info$", name, re.A)
    if plain:
        return plain.group(1), plain.group(2)
    head = read(path, 65536).decode("utf-8", "replace").replace("\r", "").partition("\n\n")[0]
    said = [re.search(r"^%s:[ \t]*(\S+)" % field, head, re.M) for field in ("Name", "Version")]
    return (said[0].group(1), said[1].group(1)) if all(said) else None


def all_distributions(root):
    """Normalised name -> version of all but our releases, which a run replaces; the first on
    sys.path, as importlib.metadata finds it."""
    found = {}
    for folder in sys.path:
        if is_ours(folder, root):
            continue
        for entry in names_in(folder):
            one = described(folder, entry) if entry.endswith((".dist-info", ".egg-info")) else None
            name = re.sub(r"[-_.]+", "-", one[0]).lower() if one else ""
            if name and len(name) + len(one[1]) < 300 and len(found) < 5000:
                found.setdefault(name, one[1])
    return found


def has_bytes(path, wanted):
    """None if the file cannot be read. In blocks: libraries are large."""
    try:
        with open(path, "rb") as source:
            tail = b""
            for block in iter(lambda: source.read(1 << 20), b""):
                if wanted in tail + block:
                    return True
                tail = block[-len(wanted):]
    except OSError:
        return None
    return False


def torch_facts(found):
    places = [place for place in sys.path
              if os.path.isfile(os.path.join(place, "torch", "version.py"))]
    if not places:
        return {}
    folder = os.path.join(places[0], "torch")
    text = read(os.path.join(folder, "version.py")).decode("utf-8", "replace")
    exact = re.search(r"^__version__\s*(?::[^=]*)?=\s*['\"]([^'\"]+)", text, re.M)
    cuda = re.search(r"^cuda\s*(?::[^=]*)?=\s*['\"]([^'\"]+)", text, re.M)
    version = exact.group(1) if exact else found.get("torch", ("unknown",))[0]
    numbers = [int(part) for part in re.findall(r"\d+", version)[:2]]
    abi = has_bytes(os.path.join(folder, "lib", "libc10.so"), b"__cxx11")
    if abi is None and numbers >= [2, 7]:
        abi = True  # what official builds use since then
    return {"version": version, "cuda": cuda.group(1) if cuda else "", "folder": folder,
            "cxx11_abi": abi}


def conda_libraries():
    """conda's interpreters have their own lib folder in their run path."""
    return [os.path.join(prefix, "lib") for prefix in (sys.prefix, sys.base_prefix)
            if os.path.isdir(os.path.join(prefix, "conda-meta"))]


def nvcc_version(path):
    try:
        said = subprocess.run([path, "--version"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, timeout=5, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    release = re.search(rb"release ([0-9.]+)", said)
    return release.group(1).decode() if release else ""


def toolkits():
    """Every nvcc of this environment: conda's, and those of NVIDIA's packages for pip."""
    homes = [os.path.dirname(folder) for folder in conda_libraries()]
    for entry in sys.path:
        packages = os.path.join(entry, "nvidia")
        homes += [os.path.join(packages, name) for name in names_in(packages)]
    found = []
    for home in homes[:200]:
        path = os.path.join(home, "bin", "nvcc")
        version = nvcc_version(path) if os.access(path, os.X_OK) else ""
        headers = [os.path.join(home, "include"),
                   os.path.join(home, "targets", os.uname().machine + "-linux", "include"),
                   os.path.join(os.path.dirname(home), "cuda_runtime", "include"), ""]
        if version:
            found.append({"path": path, "version": version, "include": next(
                (folder for folder in headers
                 if not folder or os.path.exists(os.path.join(folder, "cuda_runtime.h"))), "")})
    return found


def library_paths():
    name = "libstdc++.so.6"
    machine = os.uname().machine
    folders = [entry for entry in os.environ.get("LD_LIBRARY_PATH", "").split(":") if entry]
    yield from (os.path.join(folder, name) for folder in folders + conda_libraries())
    yield os.environ.get("DS_LIBSTDCXX", "")
    for base in ("/lib/%s-linux-gnu" % machine, "/usr/lib/%s-linux-gnu" % machine, "/lib64",
                 "/usr/lib64", "/lib", "/usr/lib"):
        yield os.path.join(base, name)


def highest(data, family):
    versions = set(re.findall(family + rb"_(\d+(?:\.\d+)*)\x00", data))
    best = max((tuple(int(part) for part in one.split(b".")) for one in versions), default=())
    return ".".join(str(part) for part in best)


def libstdcxx_facts():
    """The libstdc++ that this interpreter would load, and its newest symbol versions."""
    for path in library_paths():
        data = read(path, 64 << 20) if path else b""
        if data:
            return {"path": os.path.realpath(path), "glibcxx": highest(data, b"GLIBCXX"),
                    "cxxabi": highest(data, b"CXXABI")}
    return {}


def nearest(path):
    while path and not os.path.exists(path):
        path = os.path.dirname(path)
    return path or "/"


def activation_facts(root):
    """How far the last activations came; one that is damaged is a note, and decides nothing here."""
    facts, problems = {}, []
    for name, key in ((UNCONFIRMED, "trial"), (OVERDUE, "trial"), (CONFIRMED, "confirmed"),
                      (ROLLED_BACK, "rolled_back")):
        try:
            record = read_record(root, name)
        except ValueError as damaged:
            if name != ROLLED_BACK:  # that one only tells
                problems.append(str(damaged))
            continue
        if record:
            facts[key] = {"id": record["id"], "releases": record["releases"],
                          "previous": record["previous"], "before": record["before"],
                          "because": str(record.get("because", "")), "at": int(record["at"]),
                          "seconds_left": int(seconds_left(record)) if name == UNCONFIRMED else 0,
                          "back": record.get("back") is True,
                          "watched": is_there(root, ARMED, record["id"])}
    return dict(facts, problems=problems)


def installed_facts(root, site, found):
    names = set(names_in(os.path.join(root, "releases")))
    sealed = [name for name in sorted(names) if HEX64.match(name) and name + ".json" in names]
    pointer = read(os.path.join(root, "active"), 65536).decode("ascii", "replace")
    return {"root": root, "sealed": sealed[:1000],
            "root_writable": all(os.access(nearest(path), os.W_OK) for path in (root, site)),
            "active": [name for name in pointer.split() if HEX64.match(name)][:100],
            "activations": activation_facts(root), "lock": lock_facts(root),
            "epoch": last_epoch(root), "last_run": last_run(root),
            "owner_group": group_of(root),
            "hook": all(os.path.isfile(os.path.join(site, name)) for name in HOOK),
            "packages": {name: "%s %s" % found[name] for name in sorted(found)
                         if name in ("ds_ops", "deepspeed") or is_ours(found[name][1], root)}}


def main():
    signal.alarm(20)
    facts = {"notes": []}
    site = sysconfig.get_paths()["purelib"]
    root = release_root(sys.prefix)
    found = distributions(("ds_ops", "deepspeed", "torch", "pip"), root)
    parts = (("python", lambda: python_facts(found)), ("torch", lambda: torch_facts(found)),
             ("libstdcxx", libstdcxx_facts), ("nvcc", toolkits),
             ("installed", lambda: installed_facts(root, site, found)),
             ("distributions", lambda: all_distributions(root)),
             ("disk", lambda: disk_facts(nearest(root))),
             ("shared_memory", shared_memory_facts), ("jit", jit_facts),
             ("earlier_modules", lambda: earlier_modules(os.path.join(root, "releases"))),
             ("nvidia", driver_facts),
             ("runtime", lambda: runtime_facts(facts.get("torch", {}).get("folder", ""))),
             ("libraries", lambda: [name for folder in conda_libraries()
                                    for name in names_in(folder) if ".so" in name]),
             ("login", login_facts), ("use", lambda: use_facts(root)))
    for name, ask in parts:
        try:
            facts[name] = ask()
        except Exception as error:
            facts["notes"].append("%s facts: %s: %s" % (name, type(error).__name__, error))
    line = "python\t%s\n" % json.dumps(facts, ensure_ascii=False)
    sys.stdout.buffer.write(line.encode("utf-8", "replace"))  # names that are no UTF-8: "?"
    sys.stdout.buffer.flush()


main()
