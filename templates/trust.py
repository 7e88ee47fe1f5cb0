# SPDX-License-Identifier: Apache-2.0
# Who may own what lies in our folders, and write there: the caller, root, whoever can change the
# environment anyway (the owner of sys.prefix and, where it can write there, its group), and the
# group that ROOT was given to (--owner-group). All others are strangers. durable.py stands before
# this text.
import contextlib
import grp
import os
import pwd
import stat
import sys

USERS = set()   # ids of those that are trusted, as far as they were asked about
GROUPS = set()  # ids of groups whose members are


def user_text(uid):
    try:
        return "user %s" % pwd.getpwuid(uid).pw_name
    except KeyError:
        return "user %d" % uid


def group_text(gid):
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return "%d" % gid


def is_trusted(uid):
    if uid not in USERS and GROUPS:
        try:
            user = pwd.getpwuid(uid)
        except KeyError:
            return False
        if not GROUPS.isdisjoint(os.getgrouplist(user.pw_name, user.pw_gid)):
            USERS.add(uid)
    return uid in USERS


def owner_of_unmapped():
    """Of files whose real owner, such as root, a container does not know: nobody can judge them."""
    try:
        with open("/proc/self/uid_map", encoding="ascii") as source:
            if source.read().split() == ["0", "0", "4294967295"]:
                return set()
    except FileNotFoundError:  # a kernel without user namespaces
        return set()
    with open("/proc/sys/kernel/overflowuid", encoding="ascii") as source:
        return {int(source.read())}


def group_asked(request):
    """Id of --owner-group, or None. Refused where the caller cannot give files to it."""
    name = request.get("owner_group")
    if not name:
        return None
    try:
        gid = grp.getgrnam(name).gr_gid
    except KeyError:
        raise Refused("this host has no group %s; make it, or name another one: --owner-group"
                      % name) from None
    refuse_other_group(gid)
    return gid


def is_own_group(gid):
    return gid in os.getgroups() + [os.getegid()]


def refuse_other_group(gid):
    if os.geteuid() != 0 and not is_own_group(gid):
        raise Refused("%s is no member of group %s and cannot give files to it; log in as a "
                      "member, or as root (--sudo)" % (user_text(os.geteuid()), group_text(gid)))


def learn_owners(request):
    """Fills USERS and GROUPS, but for ROOT's group."""
    prefix = os.stat(sys.prefix)
    USERS.update({0, os.geteuid(), prefix.st_uid} | owner_of_unmapped())
    if prefix.st_mode & stat.S_IWGRP:
        GROUPS.add(prefix.st_gid)
    asked = group_asked(request)
    if asked is not None:
        GROUPS.add(asked)


def what_is_wrong(status, is_kind, kind, sticky_will_do=False):
    """Why what lstat() says so of is not to be used, or an empty text."""
    if stat.S_ISLNK(status.st_mode):
        return "is a symbolic link of %s" % user_text(status.st_uid)
    if not is_kind(status.st_mode):
        return "is no %s" % kind
    if not is_trusted(status.st_uid):
        return "belongs to %s" % user_text(status.st_uid)
    if status.st_mode & stat.S_IWOTH and not (sticky_will_do and status.st_mode & stat.S_ISVTX):
        return "can be written by every user"
    return ""


def refuse_stranger(path, status):
    if not is_trusted(status.st_uid):
        raise Refused("%s belongs to %s; look at it, then remove it"
                      % (path, user_text(status.st_uid)))


def refuse_folder(path, status, sticky_will_do):
    wrong = what_is_wrong(status, stat.S_ISDIR, "folder", sticky_will_do)
    if not wrong:
        return
    more = "; look at it, then remove it"
    if stat.S_ISDIR(status.st_mode):
        more = ", who could put anything in the place of a release; "
        if is_trusted(status.st_uid):
            more += "first: chmod o-w " + path
        else:
            more += ("trusted are the caller, root, the owner of %s and the members of a group "
                     "that is named: --owner-group" % sys.prefix)
    raise Refused("%s %s%s" % (path, wrong, more))


def folders_to(path):
    """(path, lstat) of each folder from / to `path`, and of a stranger's link among them. Others'
    links are followed. Ends where nothing is."""
    at, left, links = "/", path.split("/"), 0
    yield at, os.lstat(at)
    while left:
        piece = left.pop(0)
        if piece == "..":
            at = os.path.dirname(at)
        if piece in ("", ".", ".."):
            continue
        here = os.path.join(at, piece)
        try:
            status = os.lstat(here)
        except FileNotFoundError:
            return
        if stat.S_ISLNK(status.st_mode) and is_trusted(status.st_uid):
            links += 1
            if links > 40:
                raise Refused("%s goes round in circles of symbolic links" % path)
            target = os.readlink(here)
            left[:0] = target.split("/")
            at = "/" if target.startswith("/") else at
            continue
        yield here, status
        at = here


def has_strangers(gid):
    """Whether somebody else is in this group. Those whose first group it is are not listed there: a
    user's private group has the user's name."""
    try:
        group = grp.getgrgid(gid)
        return not all(is_trusted(pwd.getpwnam(name).pw_uid)
                       for name in [group.gr_name] + group.gr_mem)
    except KeyError:
        return True


def refuse_strangers(root):
    """Nobody but trusted users, or a group that they gave a folder to, can put anything in the
    place of ROOT, ROOT/releases and our notes."""
    for path, status in folders_to(root):
        refuse_folder(path, status, True)
    if is_shared(root):  # and only those could have given it to a group
        GROUPS.add(os.stat(root).st_gid)
    for path, status in folders_to(os.path.join(root, "releases")):
        refuse_folder(path, status, True)
    for path in (root, os.path.join(root, "releases")):
        if os.path.isdir(path):
            refuse_folder(path, os.stat(path), False)
    for name in NOTES:
        with contextlib.suppress(FileNotFoundError):
            path = os.path.join(root, name)
            wrong = what_is_wrong(os.lstat(path), stat.S_ISREG, "regular file")
            if wrong:
                raise Refused("%s %s; look at it, then remove it" % (path, wrong))


def groups_that_write(root):
    """What is worth knowing of them, or an empty text."""
    for path, status in folders_to(os.path.join(root, "releases")):
        can_write = status.st_mode & (stat.S_IWGRP | stat.S_ISVTX) == stat.S_IWGRP
        if can_write and status.st_gid not in GROUPS and has_strangers(status.st_gid):
            return ("members of group %s can write to %s; if that is meant: --owner-group %s"
                    % (group_text(status.st_gid), path, group_text(status.st_gid)))
    return ""


def refuse_planted(root, sha256):
    """A release, or its seal, that a stranger could have made."""
    folder = os.path.join(root, "releases", sha256)
    for path, is_kind, kind in ((folder, stat.S_ISDIR, "folder"),
                                (folder + ".json", stat.S_ISREG, "regular file")):
        with contextlib.suppress(FileNotFoundError):
            wrong = what_is_wrong(os.lstat(path), is_kind, kind)
            # A link without a seal is replaced.
            if wrong and (os.path.lexists(folder + ".json") or not os.path.islink(path)):
                raise Refused("%s %s, so release %s is not used; look at it, then remove it and "
                              "deploy again" % (path, wrong, sha256[:12]))


def refuse_new_group(root, gid):
    """Whether ROOT is, or can be made, the group's."""
    if not os.path.isdir(root):
        return
    status = os.stat(root)
    if is_shared(root) and gid in (None, status.st_gid):
        refuse_other_group(status.st_gid)
    elif gid is not None and os.geteuid() not in (0, status.st_uid):
        raise Refused("%s belongs to %s: only they or root can give it to group %s, by a run with "
                      "--owner-group" % (root, user_text(status.st_uid), group_text(gid)))


def give_to_group(path, gid):
    """What lies in ROOT; what the owner can write its members can write from now on."""
    status = os.lstat(path)
    is_folder = stat.S_ISDIR(status.st_mode)
    if not is_trusted(status.st_uid) or not (is_folder or stat.S_ISREG(status.st_mode)):
        return
    if status.st_gid != gid:
        os.chown(path, -1, gid)
    mode = stat.S_IMODE(status.st_mode)
    if is_folder or group_mode(mode) != mode:
        os.chmod(path, group_mode(mode, is_folder))


def give_as_root_is(path, root):
    """A file of ours elsewhere: only folders decide who can replace it."""
    if is_shared(root) and os.lstat(path).st_gid != os.stat(root).st_gid:
        with contextlib.suppress(PermissionError):
            os.chown(path, -1, os.stat(root).st_gid, follow_symlinks=False)


def make_root(root, gid):
    """ROOT, the group's if one is named, and what is missing of the folders to it, which other
    environments may have too."""
    missing, at = [], root
    while not os.path.isdir(at):
        missing.append(at)
        at = os.path.dirname(at)
    for path in reversed(missing):
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o755)
    if gid is not None and root in missing:
        give_to_group(root, gid)


def share_root(root, gid):
    """What was made without --owner-group becomes the group's, ROOT last: a kill leaves it to be
    done. What is somebody else's, such as root's, stays so."""
    if gid is None or (is_shared(root) and os.stat(root).st_gid == gid):
        return
    paths = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders
                      if is_trusted(os.lstat(os.path.join(folder, name)).st_uid)]
        paths += [folder] + [os.path.join(folder, name) for name in names]
    for path in reversed(paths):
        with contextlib.suppress(PermissionError):
            give_to_group(path, gid)
