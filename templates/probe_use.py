# SPDX-License-Identifier: Apache-2.0
# Who works on this host: jobs of Slurm, and processes that have files of this environment mapped.
# layout.py, ask_child.py, probe_driver.py (who) and holder.py stand before this text. Source: proc_pid_maps(5);
# slurmstepd's process titles.
STEP = re.compile(rb"^slurmstepd: \[(\d+)\.")
# What ds-deploy runs on a host, for this run or another one.
OWN = re.compile(rb'exec\(compile\(sys\.stdin\.buffer\.read\(\d+\), '
                 rb'"(?:probe\.py|ds-deploy)", "exec"\)\)')
USE_LIMIT = 5  # seconds


def places_of_environment(root):
    """Files below them are of the environment. Of the system's Python that is site-packages."""
    paths = sysconfig.get_paths()
    places = {paths["purelib"], paths["platlib"], os.path.join(root, "releases")}
    if sys.prefix != sys.base_prefix or os.path.isdir(os.path.join(sys.prefix, "conda-meta")):
        places.add(sys.prefix)
    return sorted({b" " + os.fsencode(os.path.realpath(place)) + b"/" for place in places})


def pids_of_ours(root):
    """This process and those that began it, and those that runs leave here to watch and to wait."""
    pids, pid = set(), os.getpid()
    while pid > 1 and pid not in pids:
        pids.add(pid)
        try:
            with open("/proc/%d/stat" % pid, encoding="ascii", errors="replace") as source:
                pid = int(source.read().rpartition(")")[2].split()[1])
        except OSError:  # hidden (hidepid)
            break
    notes = [read_note(root, name) for name in (ARMED, LOCK, OUTLIVES)]
    return pids | {note["pid"] for note in notes if still_runs(note)}


def use_facts(root):
    """What was found in time: reading about a process that hangs can hang too."""
    said, _ = ask_child(lambda say: look_for_users(root, say), USE_LIMIT)
    found = {"jobs": [], "processes": [], "releases": [], "all_seen": False}
    for key, value in said:
        if key == "all_seen":
            found[key] = value
        elif value not in found[key] and len(found[key]) < 200:
            found[key].append(value)
    return dict(found, jobs=found["jobs"][:16], processes=found["processes"][:16])


def look_for_users(root, say):
    """Tells each finding as it comes, as the pair of its key and what it is."""
    places, ours = places_of_environment(root), pids_of_ours(root)
    release = paths_of_releases(root)
    seen = os.path.exists("/proc/1")  # else /proc hides others (hidepid)
    for pid in sorted(map(int, filter(str.isdigit, os.listdir("/proc")))):
        try:
            with open("/proc/%d/cmdline" % pid, "rb") as source:
                title = source.read(4096)
            step = STEP.match(title)
            if step:
                say(["jobs", "Slurm job %d" % int(step.group(1))])
            # The kernel's, and what has ended, have no words.
            if not title or pid in ours or OWN.search(title):
                continue
            with open("/proc/%d/maps" % pid, "rb") as source:
                maps = source.read(64 << 20)
            if any(place in maps for place in places):
                say(["processes", who(pid)])
            for name in sorted(set(release.findall(maps))):
                say(["releases", {"sha256": name.decode(), "process": who(pid)}])
        except PermissionError:
            seen = False
        except OSError:
            pass  # it has ended
    say(["all_seen", seen])
