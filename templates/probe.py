# SPDX-License-Identifier: Apache-2.0
"""The host's target interpreter about itself: one line "python TAB {json}". Standard library only,
reads only, imports nothing of the environment. layout.py stands before this text."""
import json
import re
import sys
import sysconfig

HEX64 = re.compile(r"^[0-9a-f]{64}$")


def read(path, limit=1 << 20):
    try:
        with open(path, "rb") as source:
            return source.read(limit)
    except OSError:
        return b""


def python_facts():
    paths = sysconfig.get_paths()
    virtual = sys.prefix != getattr(sys, "base_prefix", sys.prefix)
    managed = os.path.exists(os.path.join(paths["stdlib"], "EXTERNALLY-MANAGED"))
    return {"executable": sys.executable, "version": "%d.%d.%d" % sys.version_info[:3],
            "soabi": sysconfig.get_config_var("SOABI") or "", "prefix": sys.prefix,
            "base_prefix": getattr(sys, "base_prefix", sys.prefix),
            "site_packages": paths["purelib"], "virtual_environment": virtual,
            "externally_managed": managed and not virtual}


def distributions(names):
    """Versions and places, as a normal start of this interpreter finds them."""
    found = {}
    try:
        import importlib.metadata as metadata
    except ImportError:
        return found
    for name in names:
        try:
            dist = metadata.distribution(name)
            found[name] = (dist.version, str(dist.locate_file("")))
        except Exception:
            continue
    return found


def torch_facts(found):
    if "torch" not in found:
        return {}
    version, place = found["torch"]
    folder = os.path.join(place, "torch")
    text = read(os.path.join(folder, "version.py")).decode("utf-8", "replace")
    exact = re.search(r"^__version__\s*(?::[^=]*)?=\s*['\"]([^'\"]+)", text, re.M)
    cuda = re.search(r"^cuda\s*(?::[^=]*)?=\s*['\"]([^'\"]+)", text, re.M)
    version = exact.group(1) if exact else version
    numbers = [int(part) for part in re.findall(r"\d+", version)[:2]]
    # Official builds use the new C++ ABI from 2.7 on; older ones have either.
    abi = True if numbers >= [2, 7] else None
    return {"version": version, "cuda": cuda.group(1) if cuda else "", "folder": folder,
            "cxx11_abi": abi}


def library_folders():
    folders = [entry for entry in os.environ.get("LD_LIBRARY_PATH", "").split(":") if entry]
    folders.append(os.path.join(sys.prefix, "lib"))
    machine = os.uname().machine
    for base in ("/lib/%s-linux-gnu" % machine, "/usr/lib/%s-linux-gnu" % machine, "/lib64",
                 "/usr/lib64", "/usr/lib", "/lib"):
        folders.append(base)
    return folders


def highest(data, family):
    versions = set(re.findall(family.encode() + rb"_(\d+(?:\.\d+)*)\x00", data))
    best = max((tuple(int(part) for part in one.split(b".")) for one in versions), default=())
    return ".".join(str(part) for part in best)


def libstdcxx_facts():
    """The libstdc++ that this interpreter would load, and its newest symbol versions."""
    for folder in library_folders():
        path = os.path.join(folder, "libstdc++.so.6")
        data = read(path, 64 << 20)
        if data:
            return {"path": os.path.realpath(path), "glibcxx": highest(data, "GLIBCXX"),
                    "cxxabi": highest(data, "CXXABI")}
    return {}


def installed_facts(root, site, found):
    sealed, active = [], []
    releases = os.path.join(root, "releases")
    if os.path.isdir(releases):
        for name in sorted(os.listdir(releases)):
            whole = name.endswith(".json") and HEX64.match(name[:-5])
            if whole and os.path.isdir(os.path.join(releases, name[:-5])):
                sealed.append(name[:-5])
    for name in read(os.path.join(root, "active"), 65536).decode("ascii", "replace").split():
        if HEX64.match(name):
            active.append(name)
    writable = all(os.access(nearest(path), os.W_OK) for path in (root, site))
    return {"root": root, "root_writable": writable, "sealed": sealed[:1000], "active": active[:100],
            "hook": os.path.exists(os.path.join(site, "_ds_deploy.py")),
            "packages": {name: "%s %s" % found[name] for name in found if name != "torch"}}


def nearest(path):
    while path and not os.path.exists(path):
        path = os.path.dirname(path)
    return path or "/"


def disk_facts(path):
    space = os.statvfs(path)
    filesystem, best = "", ""
    for line in read("/proc/self/mountinfo").decode("utf-8", "replace").splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        if len(fields) < 5:
            continue
        mount = fields[4]
        inside = path == mount or path.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, filesystem = mount, right.split()[0] if right else ""
    # Some file systems count no inodes (btrfs: 0 of 0).
    inodes = space.f_favail if space.f_files else -1
    return {"path": path, "filesystem": filesystem, "free_bytes": space.f_bavail * space.f_frsize,
            "free_inodes": inodes}


def main():
    facts = {"python": python_facts(), "notes": []}
    site = facts["python"]["site_packages"]
    root = release_root(sys.prefix)
    found = distributions(("ds_ops", "deepspeed", "torch", "pip"))
    facts["python"]["pip"] = found.pop("pip", ("",))[0]
    parts = (("torch", lambda: torch_facts(found)), ("libstdcxx", libstdcxx_facts),
             ("installed", lambda: installed_facts(root, site, found)),
             ("disk", lambda: disk_facts(nearest(root))))
    for name, ask in parts:
        try:
            facts[name] = ask()
        except Exception as error:
            facts["notes"].append("%s facts: %s: %s" % (name, type(error).__name__, error))
    sys.stdout.write("python\t%s\n" % json.dumps(facts))
    sys.stdout.flush()


main()
