# SPDX-License-Identifier: Apache-2.0
"""Asks a tree's setup.py for the wheel that it makes without a compiled op, in a copy of the tree,
and unpacks that: one line "NONCE {json}". in_child.py stands before this text. Python 3.8, standard
library; setuptools of the interpreter, and wheel if it is there."""
import ast
import importlib
import importlib.util
import re
import runpy
import shutil
import stat
import types
import zipfile

sys.path[:] = [entry for entry in sys.path if entry]  # with -c, "" is the current folder
sys.dont_write_bytecode = True

RECORD = "deepspeed/git_version_info_installed.py"
LIMIT = 2 << 30  # bytes of a copy, and of a wheel


def is_left_out(folder, relative):
    """What a build leaves in a tree goes into the next wheel of it; a .git says other things here
    than at its place."""
    name = os.path.basename(relative)
    if name == "__pycache__" or os.path.exists(os.path.join(folder, "pyvenv.cfg")):
        return True
    return relative in (".git", "build", "dist")


def copy_tree(tree, copy):
    """Links within the tree stay links, as setup.py would find them; other files become what they
    lead to. What is no file (sockets, devices) stays behind."""
    left = LIMIT
    for folder, folders, files in os.walk(tree):
        relative = os.path.relpath(folder, tree)
        to = os.path.normpath(os.path.join(copy, relative))
        os.makedirs(to, exist_ok=True)
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders[:] = [name for name in folders if name not in links and not is_left_out(
            os.path.join(folder, name), os.path.normpath(os.path.join(relative, name)))]
        for name in links + files:
            source, target = os.path.join(folder, name), os.path.join(to, name)
            if os.path.islink(source) and leads_inside(source, tree):
                os.symlink(os.readlink(source), target)
            elif os.path.isdir(source):
                raise OSError("%s is a link to a folder outside of the tree" % source)
            elif os.path.isfile(source) and not name.endswith(".pyc") and name != ".git":
                left -= os.path.getsize(source)
                if left < 0:
                    raise OSError("the tree has more than %d GiB of files" % (LIMIT >> 30))
                shutil.copyfile(source, target)
                os.chmod(target, os.stat(source).st_mode & 0o777 | 0o600)


def leads_inside(link, tree):
    if os.path.isabs(os.readlink(link)):
        return False
    end = os.path.relpath(os.path.realpath(link), os.path.realpath(tree))
    return end != ".." and not end.startswith("../")


def quiet_builders(accelerator):
    """No op is compiled, so none is asked: one that cannot be used costs nothing here."""
    sys.modules["deepspeed"] = None  # an installed one would be asked instead of the tree
    try:
        all_ops = importlib.import_module("op_builder.all_ops")
    except (Exception, SystemExit):
        for name in [name for name in sys.modules if name.split(".")[0] == "op_builder"]:
            del sys.modules[name]
        package = sys.modules["op_builder"] = types.ModuleType("op_builder")
        package.__path__ = [os.path.join(os.getcwd(), "op_builder")]
        vars(package).update(vars(importlib.import_module("op_builder.builder")),
                             __name__="op_builder", __path__=package.__path__)
        all_ops = sys.modules["op_builder.all_ops"] = types.ModuleType("op_builder.all_ops")
        all_ops.ALL_OPS, all_ops.accelerator_name = {}, accelerator
        package.all_ops = all_ops
    for builder in all_ops.ALL_OPS.values():
        builder.is_compatible = lambda *words, **settings: False


def make(request, commands, say):
    """setup.py with `commands`, in the copy; without extensions, and without a command of the
    project's own that gets a finished wheel from elsewhere."""
    os.chdir(request["copy"])
    sys.path.insert(0, request["copy"])
    import setuptools  # its distutils
    import distutils.core
    real = distutils.core.setup  # that of setuptools calls it

    def setup(**settings):
        settings["ext_modules"] = []
        command = dict(settings.get("cmdclass") or {})
        command.pop("bdist_wheel", None)
        settings["cmdclass"] = command
        made = real(**settings)
        say({"egg_info": os.path.abspath(made.get_command_obj("egg_info").egg_info),
             "other": [key for key in ("data_files", "headers") if settings.get(key)]})
        return made

    distutils.core.setup = setup
    if os.path.isdir("op_builder"):
        quiet_builders(request["accelerator"])
    sys.argv[:] = ["setup.py", "--no-user-cfg"] + commands
    runpy.run_path("setup.py", run_name="__main__")


def run_setup(request, commands):
    """What it said, or raises; and the end of what was printed."""
    said, ended, noise = in_child(lambda say: make(request, commands, say), request["limit"])
    raised = [one["raised"] for one in said if "raised" in one]
    if raised or ended:
        raise Failed("setup.py " + (ended or "raised " + raised[0]), noise)
    return said


class Failed(Exception):
    def __init__(self, because, noise=""):
        super().__init__(because)
        self.because, self.noise = because, noise


def unpack_wheel(file, out):
    with zipfile.ZipFile(file) as archive:
        if sum(info.file_size for info in archive.infolist()) > LIMIT:
            raise Failed("its wheel has more than %d GiB" % (LIMIT >> 30))
        for info in archive.infolist():
            if info.filename.startswith("/") or ".." in info.filename.split("/"):
                raise Failed("its wheel has the name %s" % ascii(info.filename)[:200])
            path = archive.extract(info, out)
            if not info.is_dir():
                os.chmod(path, 0o755 if info.external_attr >> 16 & 0o111 else 0o644)


def by_wheel(request, out):
    dist = os.path.join(request["work"], "dist")
    run_setup(request, ["bdist_wheel", "--dist-dir", dist])
    made = os.listdir(dist) if os.path.isdir(dist) else []
    if len(made) != 1 or not made[0].endswith(".whl"):
        raise Failed("setup.py made no wheel, but %s" % ascii(made)[:200])
    unpack_wheel(os.path.join(dist, made[0]), out)


def requires_of(egg_info):
    """requires.txt as the fields of METADATA: its sections are "[extra:marker]"."""
    fields, extra, marker = [], "", ""
    for line in read_lines(os.path.join(egg_info, "requires.txt")):
        section = re.match(r"\[(.*)\]\Z", line)
        if section:
            extra, _, marker = section.group(1).partition(":")
            if extra:
                fields.append("Provides-Extra: " + extra)
        elif line:
            conditions = [marker] if marker else []
            if extra:
                conditions = ["(%s)" % marker] if " or " in marker else conditions
                conditions.append('extra == "%s"' % re.sub(r"[-_.]+", "-", extra).lower())
            name = re.match(r"[A-Za-z0-9._-]*", line).group()
            fields.append("Requires-Dist: " + re.sub(r"[^A-Za-z0-9.]+", "-", name) +
                          line[len(name):].split(";")[0].strip() +
                          ("; " + " and ".join(conditions) if conditions else ""))
    return list(dict.fromkeys(fields))


def read_lines(path):
    try:
        with open(path, encoding="utf-8") as file:
            return [line.strip() for line in file]
    except FileNotFoundError:
        return []


def metadata_of(egg_info):
    """PKG-INFO, which older setuptools write without what is required."""
    with open(os.path.join(egg_info, "PKG-INFO"), encoding="utf-8") as file:
        head, gap, body = file.read().partition("\n\n")
    if "\nRequires-Dist:" not in head:
        head = "\n".join([line for line in head.split("\n") if line and
                          not line.startswith("Provides-Extra:")] + requires_of(egg_info))
    return head.rstrip("\n") + "\n" + (gap and "\n" + body)


def by_parts(request, out):
    """What bdist_wheel would put together, where there is none."""
    copy, scripts = request["copy"], os.path.join(request["work"], "scripts")
    said = run_setup(request, ["egg_info", "build", "--build-lib", out, "--build-scripts", scripts,
                               "--executable", "python"])
    if not said or said[-1]["other"]:
        raise Failed("it has data files or headers, for which the module wheel is needed"
                     if said else "setup.py does not call setup()")
    egg_info = said[-1]["egg_info"]
    text = metadata_of(egg_info)
    name = re.search(r"^Name: (.*)$", text, re.M).group(1)
    version = re.search(r"^Version: (.*)$", text, re.M).group(1)
    stem = "%s-%s" % (re.sub(r"[-_.]+", "_", name).lower(), version)
    info = os.path.join(out, stem + ".dist-info")
    os.makedirs(info)
    with open(os.path.join(info, "METADATA"), "w", encoding="utf-8") as file:
        file.write(text)
    for name in ("entry_points.txt", "top_level.txt"):
        if os.path.exists(os.path.join(egg_info, name)):
            shutil.copyfile(os.path.join(egg_info, name), os.path.join(info, name))
    for name in re.findall(r"^License-File: (.*)$", text, re.M):
        shutil.copyfile(os.path.join(copy, name), os.path.join(info, os.path.basename(name)))
    if os.path.isdir(scripts):
        shutil.copytree(scripts, os.path.join(out, stem + ".data", "scripts"))


def make_plain(folder):
    """Nothing but folders and files that their owner may read."""
    for place, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(place, name)
            mode = os.lstat(path).st_mode
            if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
                raise Failed("its wheel has %s, which is no file" % ascii(name)[:200])
            executable = stat.S_ISDIR(mode) or mode & 0o111
            os.chmod(path, 0o755 if executable else 0o644)


def installed_record(out):
    """What setup.py wrote about the build, as values; None where it writes no such file."""
    path = os.path.join(out, RECORD)
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        statements = ast.parse(file.read(1 << 20)).body
    return {one.targets[0].id: ast.literal_eval(one.value) for one in statements}


def prepare(request):
    for name in [name for name in os.environ if name.startswith("DS_BUILD_")]:
        del os.environ[name]
    os.environ.update({"DS_ACCELERATOR": request["accelerator"], "DS_BUILD_OPS": "0",
                       "DS_SKIP_CUDA_CHECK": "1", "CUDA_VISIBLE_DEVICES": "",
                       "PYTHONDONTWRITEBYTECODE": "1", "GIT_ALLOW_PROTOCOL": "",
                       "GIT_CEILING_DIRECTORIES": request["work"], "PIP_NO_INDEX": "1"})


def answer_of(request):
    if importlib.util.find_spec("setuptools") is None:
        return {"refused": "no-setuptools", "because": "there is no module setuptools"}
    prepare(request)
    request["copy"] = os.path.join(request["work"], "tree")
    try:
        copy_tree(request["tree"], request["copy"])
    except OSError as error:
        return {"refused": "no-copy", "because": text_of(error)}
    import setuptools  # its distutils, before anything else imports one
    has_wheel = (importlib.util.find_spec("wheel") is not None or
                 importlib.util.find_spec("setuptools.command.bdist_wheel") is not None)
    try:
        os.makedirs(request["out"])
        (by_wheel if has_wheel else by_parts)(request, request["out"])
        make_plain(request["out"])
        return {"installed": installed_record(request["out"]), "whole": has_wheel}
    except Failed as failed:
        return {"refused": "failed", "because": failed.because, "said": failed.noise}
    except Exception as error:
        return {"refused": "failed", "because": "its wheel cannot be used: " + text_of(error)}


def main():
    nonce, request = sys.argv[1], json.loads(sys.argv[2])
    sys.argv[1:] = []
    ours = os.dup(1)  # not inherited by programs; 1 is for whatever the tree prints
    PRIVATE.append(ours)
    os.dup2(2, 1)
    line = "%s %s\n" % (nonce, json.dumps(answer_of(request)))
    with os.fdopen(ours, "w") as out:
        out.write(line)


main()
