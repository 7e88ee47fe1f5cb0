# SPDX-License-Identifier: Apache-2.0
# Releases of this environment: staged from a wheel's stream and earlier releases, sealed, held
# against their seal. layout.py, durable.py, trust.py, receive.py, relay.py, unpack.py and
# earlier.py stand before this text.
#
#     ROOT/releases/<sha256>/        an unpacked wheel, read-only
#     ROOT/releases/<sha256>.json    its seal: the coordinator's manifest and what was compiled here
#     ROOT/releases/<sha256>.part    its stream as it arrives, and its lock
#     ROOT/releases/.stage-<sha256>  is being filled by who holds that lock
import contextlib
import hashlib
import json
import os
import py_compile
import re
import shutil
import stat
import sys

# The folder that is being filled, the seal that is being written.
HALF_MADE = re.compile(r"^(?:\.stage-([0-9a-f]{64})|([0-9a-f]{64})\.json\.[0-9]+\.new)$")


def release_folder(root, sha256):
    if not HEX64.match(sha256):
        raise Refused("%r is no SHA-256" % sha256)
    return os.path.join(root, "releases", sha256)


def remove_tree(path):
    """Removes a folder of ours, also a sealed one. A stranger's may change under our hands."""
    if os.path.islink(path) or os.path.isfile(path):
        os.unlink(path)
    if not os.path.lexists(path):
        return
    refuse_stranger(path, os.lstat(path))
    for folder, _, _ in os.walk(path):
        with contextlib.suppress(PermissionError):  # of one whose group can remove it all the same
            os.chmod(folder, stat.S_IMODE(os.lstat(folder).st_mode) | 0o700)
    shutil.rmtree(path)


def hash_file(path):
    digest = hashlib.sha256()
    with open(path, "rb") as content:
        for block in iter(lambda: content.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def installed_path(path):
    """Where a wheel's file goes: NAME.data/purelib and platlib are merged (wheel specification)."""
    found = re.match(r"^[^/]+\.data/(?:purelib|platlib)/(.+)$", path)
    return found.group(1) if found else path


def read_seal(root, sha256):
    """None where there is none. Refused if a stranger could have made it."""
    refuse_planted(root, sha256)
    try:
        with open(release_folder(root, sha256) + ".json", "rb") as seal:
            return json.loads(seal.read().decode("utf-8"))
    except (OSError, ValueError):
        return None


def sealed_mode(entry):
    """A wheel need not say that its scripts can be run (wheel specification)."""
    script = re.match(r"^[^/]+\.data/scripts/", entry["path"])
    return 0o555 if script or entry["mode"] & 0o111 else 0o444


def check_places(files):
    """No file of the manifest leaves the release's folder, takes another's place or needs a folder
    where another lies."""
    places, folders = set(), set()
    for entry in files:
        path = installed_path(entry["path"])
        pieces = path.split("/")
        if not {"", ".", ".."}.isdisjoint(pieces) or "\0" in path:
            raise Refused("%r leaves the release folder" % entry["path"])
        if path in places:
            raise Refused("%r is there twice" % path)
        places.add(path)
        folders.update("/".join(pieces[:end]) for end in range(1, len(pieces)))
    for path in sorted(places & folders):
        raise Refused("%r is both a file and a folder" % path)


def write_file(full, entry, content):
    """As many bytes of `content` as the file has, checked while they are written. The name must be
    new, a link to elsewhere included."""
    digest = hashlib.sha256()
    with about(full), open(full, "xb") as out:
        left = copy_into(digest, content, entry["size"], out)
        out.flush()
        os.fchmod(out.fileno(), sealed_mode(entry))
        os.fsync(out.fileno())
    if left:
        raise Refused("the stream ends in %s" % entry["path"])
    if digest.hexdigest() != entry["sha256"]:
        raise Damaged("%s was damaged on its way" % entry["path"])


def fill(folder, request, root, part):
    """Every file of the manifest and nothing else: from the stream what it holds, from earlier
    releases the rest."""
    files, stream = request["manifest"]["files"], request["stream"]
    check_places(files)
    full = [os.path.join(folder, installed_path(entry["path"])) for entry in files]
    for parent in sorted({os.path.dirname(path) for path in full}):
        os.makedirs(parent, mode=mode_in(folder, 0o755), exist_ok=True)
    sent = from_runs(stream["files"], len(files))
    held = held_files(root, request["manifest"])
    for at in sorted(set(range(len(files))) - set(sent)):
        places = held.get(files[at]["sha256"], ())
        if not any(take_over(place, full[at], files[at]) for place in places):
            raise Refused("what this host held of the wheel has changed since it was asked; deploy "
                          "again")
    with unpacked(part, stream["packing"]) as content:
        for at in sent:
            write_file(full[at], files[at], content)
        if content.read(1):
            raise Refused("the stream goes on behind its last file")


def byte_compile(folder, final):
    """Unchecked hash-based .pyc files (PEP 552), so that no import ever writes here again: root may
    write to a read-only folder, also under -O and -OO. What is no source for this Python has none;
    one that cannot be written is an error, which compileall passes over."""
    for path in [path for path in walk_files(folder) if path.endswith(".py")]:
        for level in (0, 1, 2):
            full = os.path.join(folder, path)
            with about(full), contextlib.suppress(py_compile.PyCompileError):
                py_compile.compile(
                    full, dfile=os.path.join(final, path), doraise=True, optimize=level,
                    invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    compiled = []
    for path in sorted(walk_files(folder)):
        if path.endswith(".pyc") and "__pycache__" in path.split("/"):
            full = os.path.join(folder, path)
            os.chmod(full, 0o444)
            sync_folder(full)
            compiled.append({"path": path, "size": os.path.getsize(full), "mode": 0o444,
                             "sha256": hash_file(full)})
    return compiled


def walk_files(folder):
    """Everything that is no folder, links to folders among it."""
    for parent, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in names + links:
            yield os.path.relpath(os.path.join(parent, name), folder).replace(os.sep, "/")


def break_seal(root, sha256):
    """A release that is damaged stops counting, so that it can be staged again."""
    refuse_in_use(root, sha256)
    seal = release_folder(root, sha256) + ".json"
    if os.path.lexists(seal):
        os.unlink(seal)
        sync_folder(os.path.dirname(seal))
    remove_tree(release_folder(root, sha256))


def lacking(request, root):
    """What of the wheel has to be sent, and what came of it before; changes nothing."""
    manifest = request["manifest"]
    check_places(manifest["files"])
    sha256 = manifest["wheel"]["sha256"]
    if not request["again"] and is_sealed(root, sha256):
        return {"sealed": True}
    files = find_lacking(root, manifest)
    return {"sealed": False, "lacking": as_runs(files),
            "zstd": bool(files) and zstd_unpacker() is not None,
            "part": kept_facts(release_folder(root, sha256) + ".part")}


def is_sealed(root, sha256):
    return read_seal(root, sha256) is not None and os.path.isdir(release_folder(root, sha256))


def stage(request, root):
    sha256 = request["manifest"]["wheel"]["sha256"]
    final = release_folder(root, sha256)
    os.makedirs(os.path.dirname(final), mode=mode_in(root, 0o755), exist_ok=True)
    path = final + ".part"
    part, _ = open_part(path)
    with part:
        keep = False
        try:
            if request["again"]:
                break_seal(root, sha256)
            if is_sealed(root, sha256):
                return {"changed": False}
            clear_killed(os.path.dirname(final), sha256)
            with about(path):
                bring(request, part, path)
            seal_release(request, root, part)
        except BaseException as error:
            keep = isinstance(error, CutShort)
            stop_passing_on(request["stream"], keep)
            raise
        finally:
            if not keep and os.path.lexists(path):
                os.unlink(path)
    return {"changed": True}


def clear_killed(releases, own):
    """Removes what runs that were killed left half made. Who makes it holds the lock of its part;
    that of `own` is held by the caller."""
    for name in os.listdir(releases):
        found = HALF_MADE.match(name)
        if not found:
            continue
        sha256 = found.group(1) or found.group(2)
        if sha256 == own:
            remove_tree(os.path.join(releases, name))
            continue
        path = os.path.join(releases, sha256 + ".part")
        try:
            part, locked = open_part(path)
        except (Refused, OSError):
            continue
        with part:
            if locked:
                remove_tree(os.path.join(releases, name))
            if os.fstat(part.fileno()).st_size == 0:
                os.unlink(path)


def refuse_in_use(root, sha256):
    """Of a release that is active, or that an activation on trial goes back to."""
    trial = on_trial(root)
    if sha256 in read_pointer(root) or (trial and sha256 in trial["previous"] + trial["releases"]):
        raise Refused("release %s is active, so it is not staged again; deploy another wheel first"
                      % sha256[:12])


def seal_release(request, root, part):
    """Fills a folder beside the release's place, then takes the place."""
    manifest = request["manifest"]
    sha256 = manifest["wheel"]["sha256"]
    final = release_folder(root, sha256)
    if os.path.lexists(final):
        refuse_in_use(root, sha256)
    releases = os.path.dirname(final)
    folder = os.path.join(releases, ".stage-" + sha256)
    os.mkdir(folder, mode_in(releases, 0o755))
    try:
        fill(folder, request, root, part)
        compiled = byte_compile(folder, final)
        sealed = mode_in(releases, 0o555, is_folder=True)
        for parent, folders, _ in os.walk(folder, topdown=False):
            for name in folders:
                os.chmod(os.path.join(parent, name), sealed)
                sync_folder(os.path.join(parent, name))
        sync_folder(folder)
        remove_tree(final)  # a folder without a seal is what a killed run left
        os.rename(folder, final)
        os.chmod(final, sealed)
        sync_folder(releases)
        seal = {"schema": "ds-deploy.seal/1", "manifest": manifest, "compiled": compiled,
                "record": request.get("record"), "python": sys.version.split()[0],
                "run": request["run"]}
        os.unlink(final + ".part")  # nobody would look for it beside a seal
        write_whole(final + ".json", json.dumps(seal, sort_keys=True).encode("utf-8"), 0o444)
    finally:
        remove_tree(folder)
        if read_seal(root, sha256) is None:
            remove_tree(final)  # it would only take space


def content_problem(full, entry):
    """What is wrong with the content of the file that should be there; empty: nothing."""
    if not os.path.lexists(full):
        return "is missing"
    if os.path.islink(full) or not stat.S_ISREG(os.lstat(full).st_mode):
        return "is no regular file"
    if os.path.getsize(full) != entry["size"] or hash_file(full) != entry["sha256"]:
        return "has other content"
    return ""


def few_of(problems):
    more = ["and %d more" % (len(problems) - 4)] if len(problems) > 4 else []
    return problems[:4] + more


def compare(folder, manifest, compiled):
    """What differs between the folder and what it must hold; a few examples of it."""
    expected = {installed_path(entry["path"]): entry for entry in manifest["files"]}
    expected.update((entry["path"], entry) for entry in compiled)
    problems = []
    for path in sorted(walk_files(folder)):
        entry = expected.pop(path, None)
        full = os.path.join(folder, path)
        problem = content_problem(full, entry) if entry else "does not belong there"
        if not problem and not is_trusted(os.lstat(full).st_uid):
            problem = "belongs to %s" % user_text(os.lstat(full).st_uid)
        if problem:
            problems.append("%s %s" % (path, problem))
        elif stat.S_IMODE(os.lstat(full).st_mode) != sealed_mode(entry):
            problems.append("%s has mode %03o, not %03o"
                            % (path, stat.S_IMODE(os.lstat(full).st_mode), sealed_mode(entry)))
    return few_of(problems + ["%s is missing" % path for path in sorted(expected)])


def differences(root, sha256, seal, files=None):
    """What differs between a release and its seal, and from the manifest's `files` if they are
    given, or an empty text."""
    try:
        if files is not None and seal.get("manifest", {}).get("files") != files:
            return "it is sealed with another manifest"
        return ", ".join(compare(release_folder(root, sha256), seal["manifest"],
                                 seal.get("compiled", [])))
    except (KeyError, TypeError, AttributeError):
        return "its seal is damaged"


def find_damage(root, manifest):
    """Why the release is not what the manifest says, or an empty text. A wheel may have been
    renamed since it was staged."""
    sha256 = manifest["wheel"]["sha256"]
    seal = read_seal(root, sha256)
    if seal is None:
        return "it is not sealed"
    return differences(root, sha256, seal, manifest["files"])


def verify(request, root):
    active = read_pointer(root)
    problems, again = [], []
    for manifest in request["manifests"]:
        sha256 = manifest["wheel"]["sha256"]
        damage = find_damage(root, manifest)
        if not damage:
            continue
        problem = "release %s is damaged: %s" % (sha256[:12], damage)
        if sha256 in active:
            problem += ("; it is active and jobs may use it, so it is not replaced: deploy another "
                        "wheel first, or end the jobs, delete %s and deploy again"
                        % os.path.join(root, "active"))
        else:
            again.append(sha256)
        problems.append(problem)
    if problems:
        # What is active stays as it is, so that staging the others again would help nobody.
        raise Damaged("; ".join(problems), again if len(again) == len(problems) else ())
    return {}


def check(request, root):
    """The releases of the request, else the active ones, each held against its own seal; changes
    nothing."""
    releases = []
    for sha256 in request.get("releases", read_pointer(root)):
        seal, damage = None, "it is not sealed"
        try:
            seal = read_seal(root, sha256)
        except Refused as planted:
            damage = str(planted)
        manifest = seal.get("manifest", {}) if seal else {}
        damage = differences(root, sha256, seal) if seal else damage
        wheel = manifest.get("wheel", {})
        releases.append({"sha256": sha256, "file": str(wheel.get("file", "")), "damage": damage})
    return {"releases": releases}
