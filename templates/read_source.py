# SPDX-License-Identifier: Apache-2.0
"""Asks the op builders of a DeepSpeed tree for every op, or the setup.py of another project for its
extensions: one line "NONCE {json}". Writes nothing to the tree, needs no GPU and no network.
torch_stub.py, in_child.py and ask_op.py stand before this text. Python 3.8, standard library."""
import importlib
import importlib.util
import pkgutil
import re
import resource
import runpy
import subprocess
import sysconfig

sys.path[:] = [entry for entry in sys.path if entry]  # with -c, "" is the current folder
sys.dont_write_bytecode = True

ALL_LIMIT = 32 << 20   # characters of JSON, for all ops
FILE_LIMIT = 64 << 20  # bytes, for any file that the tree's code writes, its output too
# An op that is loaded with the symbols of another: setup.py says it, no builder does.
NEEDS = {"async_io": ["pin_memory"], "gds": ["pin_memory"]}
NAME = re.compile(r"(?=.{1,200}\Z)[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*\Z")


def telling_line(noise):
    printed = noise.splitlines()
    return next((line for line in printed if re.search("error|cannot|not found", line, re.I)),
                printed[-1])


def describe(builder):
    name = one_line(builder.name)
    variable = getattr(builder, "BUILD_VAR", None) or "DS_BUILD_" + name.upper()
    return {"name": name, "builder": type(builder).__name__, "build_variable": one_line(variable)}


def ask_all(find, request, environment, deadline, say):
    """find() imports what it must and gives builders; each is asked in a child."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, request["op_limit"])
    builders = list(find())[:LIST_LIMIT]
    signal.setitimer(signal.ITIMER_REAL, 0)
    say({"ops": [describe(builder) for builder in builders]})
    for number, builder in enumerate(builders):
        limit = min(request["op_limit"], deadline - time.monotonic())
        if limit <= 0:
            break
        said, ended, noise = in_child(
            lambda tell: ask(builder, request, environment, tell), limit)
        facts = said[-1] if said else {"compatible": False,
                                       "because": "its builder " + (ended or "gave no answer")}
        if "raised" in facts:
            facts = {"compatible": False, "because": "its builder raised " + facts["raised"]}
        if facts["because"] == NO_REASON and noise:
            facts["because"] += "; it printed: " + telling_line(noise)
        say({"number": number, "facts": facts, "said": "" if facts["compatible"] else noise})


def enter(tree):
    sys.modules["deepspeed"] = None  # an installed one would be asked instead of the tree
    sys.path.insert(0, tree)
    os.chdir(tree)


def builders_of_tree(tree):
    """As setup.py finds them."""
    enter(tree)
    from op_builder.all_ops import ALL_OPS
    return ALL_OPS.values()


def builders_of_module(tree, name):
    """Of one module, where another is broken: without the package's own __init__."""
    enter(tree)
    package = type(sys)("op_builder")
    package.__path__ = [os.path.join(tree, "op_builder")]
    package.__deepspeed__ = True
    sys.modules["op_builder"] = package
    module = importlib.import_module("op_builder." + name)
    for found, kind in sorted(vars(module).items()):
        own = inspect.isclass(kind) and kind.__module__ == module.__name__
        if own and found.endswith("Builder") and not inspect.isabstract(kind):
            yield kind()


def modules_of(tree):
    names = [module.name for module in pkgutil.iter_modules([os.path.join(tree, "op_builder")])
             if not module.ispkg and module.name not in ("all_ops", "builder")]
    # The host-side optimizers of newer trees.
    hosts = [module.name for module in pkgutil.iter_modules([os.path.join(tree, "op_builder/cpu")])
             if module.name.startswith("cpu_") and module.name not in names]
    return names + ["cpu." + name for name in hosts]


def collect(said, ended, noise):
    """The ops of one process, also of those that it did not come to; None if it named none."""
    if not said or "ops" not in said[0]:
        return None
    ops = said[0]["ops"]
    why = ended or next((one["raised"] for one in said if "raised" in one), "took too long")
    lost = {"compatible": False, "because": "it was not asked: those before it " + why,
            "said": noise}
    answers = {one["number"]: dict(one["facts"], said=one["said"]) for one in said[1:]
               if "number" in one}
    return [dict(op, **answers.get(number, lost)) for number, op in enumerate(ops)]


def read_ops(request, environment, deadline):
    """Every op, and what was wrong with the tree as a whole."""
    def listed(find):
        said, ended, noise = in_child(
            lambda say: ask_all(find, request, environment, deadline, say),
            max(0, deadline + 2 - time.monotonic()))
        failure = next((one["raised"] for one in said if "raised" in one), ended)
        return collect(said, ended, noise), failure or "gave no answer", noise

    tree = request["tree"]
    ops, failure, noise = listed(lambda: builders_of_tree(tree))
    if ops is not None:
        return ops, "", ""
    ops = []
    for name in modules_of(tree):
        found, why, said = listed(lambda: builders_of_module(tree, name))
        if found is None:
            short = one_line(name.split(".")[-1])
            found = [{"name": short, "build_variable": "DS_BUILD_" + short.upper(), "builder": "",
                      "compatible": False, "said": said,
                      "because": "op_builder/%s.py: %s" % (name.replace(".", "/"), why)}]
        ops += found
    return ops, "op_builder cannot be imported as a whole: " + failure, noise


def extensions_of_setup(request, environment, say):
    """What setup.py hands to setup(), which is not run."""
    import setuptools  # its distutils, where Python has none
    import distutils.core
    tree, given = request["tree"], {}

    def setup(**settings):
        given.update(settings)
        raise SystemExit(0)

    os.environ.update(environment)
    os.chdir(tree)
    sys.path.insert(0, tree)
    sys.argv[:] = ["setup.py", "bdist_wheel"]
    pretend_gpu(True, request["toolkit"])
    record_extensions()
    setuptools.setup = distutils.core.setup = setup
    try:
        runpy.run_path("setup.py", run_name="__main__")
    except SystemExit:
        pass
    say({key: one_line(given.get(key)) for key in ("name", "version")})
    for extension in (given.get("ext_modules") or [])[:LIST_LIMIT]:
        name = one_line(extension.name).split(".")[-1]
        facts = {"name": name, "builder": "", "minimum": "", "warnings": [], "said": "",
                 "build_variable": "DS_BUILD_" + re.sub(r"\W", "_", name.upper())}
        try:
            facts.update(extension_facts(extension, tree))
            problem = problem_of(facts, tree)
        except Exception as error:
            problem = "its extension cannot be used: " + text_of(error)
        say(dict(facts, compatible=not problem, because=problem))


def read_setup(request, environment):
    """name and version of the project, its ops, what was wrong, what it printed."""
    said, ended, noise = in_child(lambda say: extensions_of_setup(request, environment, say),
                                  request["limit"])
    problem = next(("setup.py raised " + one["raised"] for one in said if "raised" in one),
                   ended and "setup.py " + ended)
    said = [one for one in said if "raised" not in one]
    project = said.pop(0) if said else {"name": "", "version": ""}
    return project, said, problem, noise


def read_text(*path):
    try:
        with open(os.path.join(*path), encoding="utf-8", errors="replace") as file:
            return one_line(file.read(4096)).strip()
    except OSError:
        return None


def git(tree, *words):
    """"" where git is missing or refuses."""
    try:
        done = subprocess.run(["git", "--no-optional-locks", "-C", tree, *words], timeout=20,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, check=True)
        return one_line(done.stdout.decode("utf-8", "replace").strip())
    except (OSError, subprocess.SubprocessError):
        return ""


def tree_facts(tree):
    facts = {"build_string": read_text(tree, "build.txt"),
             "git_hash": "", "git_branch": "", "dirty": False}
    if os.path.exists(os.path.join(tree, ".git")):  # not that of a folder around an sdist
        facts["git_hash"] = git(tree, "rev-parse", "--short", "HEAD")
        facts["git_branch"] = git(tree, "rev-parse", "--abbrev-ref", "HEAD")
        facts["dirty"] = bool(git(tree, "status", "--porcelain", "--untracked-files=no"))
    return facts


def torch_words(torch):
    """What torch adds by itself to a library of each kind, in the spelling of Extension."""
    from torch.utils import cpp_extension
    added = {}
    for kind, source in (("CppExtension", "x.cpp"), ("CUDAExtension", "x.cu")):
        try:
            made = getattr(cpp_extension, kind)("x", [source])
            added[kind] = {name: texts(getattr(made, name), name)
                           for name in ("include_dirs", "library_dirs", "libraries")}
        except Exception as error:
            added[kind] = {"problem": text_of(error)}
    defines = {name: str(getattr(torch._C, name)) for name in (
        "_GLIBCXX_USE_CXX11_ABI", "_PYBIND11_COMPILER_TYPE", "_PYBIND11_STDLIB",
        "_PYBIND11_BUILD_ABI") if getattr(torch._C, name, None) is not None}
    return {"cpp": added["CppExtension"], "cuda": added["CUDAExtension"], "abi": defines,
            "nvcc_flags": texts(getattr(cpp_extension, "COMMON_NVCC_FLAGS", []), "nvcc flags")}


def python_facts():
    values = {name: sysconfig.get_config_var(name) or "" for name in ("EXT_SUFFIX", "SOABI")}
    return {"version": "%d.%d.%d" % sys.version_info[:3], "executable": sys.executable or "",
            "include": sysconfig.get_paths()["include"], "ext_suffix": values["EXT_SUFFIX"],
            "soabi": values["SOABI"]}


def toolkit_version(folder):
    """"13.0"; "" without nvcc."""
    try:
        said = subprocess.run([os.path.join(folder, "bin", "nvcc"), "-V"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
                              check=True).stdout.decode("utf-8", "replace")
    except (OSError, subprocess.SubprocessError):
        return ""
    found = re.search(r"release (\d+\.\d+)", said)
    return found.group(1) if found else ""


def torch_facts(stub):
    """Imports torch, or puts the stub in its place."""
    if stub:
        install_torch_stub(stub["version"], stub["cuda"] or None)
    import torch
    from torch.utils import cpp_extension
    home = cpp_extension.CUDA_HOME or ""
    facts = {"version": str(torch.__version__), "cuda": torch.version.cuda or "",
             "cuda_home": home, "toolkit": toolkit_version(home) if home else "",
             "stub": bool(stub), "adds": {}}
    if not stub:
        facts["adds"] = torch_words(torch)
    return facts


def kind_of(tree):
    """"deepspeed", "setup", or "" with what is missing."""
    wanted = ("version.txt", "op_builder/all_ops.py", "op_builder/builder.py")
    missing = [name for name in wanted if not os.path.isfile(os.path.join(tree, name))]
    if not missing:
        return "deepspeed", ""
    try:
        with open(os.path.join(tree, "setup.py"), encoding="utf-8", errors="replace") as setup:
            if re.search(r"\b(Cpp|CUDA)Extension\b", setup.read(FILE_LIMIT)):
                return "setup", ""
    except OSError:
        pass
    return "", ("it has no %s, and no setup.py that names torch's CppExtension or CUDAExtension"
                % ", no ".join(missing))


def refusal(kind, why, request):
    """Why nothing can be asked here, or None. Imports nothing of the tree."""
    if not kind:
        return {"refused": "no-source", "because": why}
    has = {name: importlib.util.find_spec(name) is not None for name in ("torch", "setuptools")}
    if not has["torch"] and not request["stub"]:
        return {"refused": "no-torch", "because": "there is no module torch"}
    # torch.utils.cpp_extension needs it always, old trees need its distutils.
    needed = has["torch"] or kind == "setup" or sys.version_info >= (3, 12)
    if needed and not has["setuptools"]:
        return {"refused": "no-setuptools", "because": "there is no module setuptools"}
    return None


def use_name(op, key, problem):
    """Text that is a name already, or one made of it and a problem of the op."""
    if not NAME.match(op[key]):
        op.update({"compatible": False, "because": problem % ascii(op[key][:80])})
        op[key] = re.sub(r"[^A-Za-z0-9_]", "_", op[key])[:100] or "_"


def judge(ops, kind):
    """Names become those of files and modules: each is one, and is there once."""
    taken = set()
    for number, op in enumerate(ops):
        use_name(op, "name", "%s cannot be the name of an op")
        use_name(op, "build_variable", "%s cannot be the name of its variable")
        if op["compatible"] and not NAME.match(op["module"]):
            op.update(compatible=False, because="%s is no module" % ascii(op["module"][:80]))
        same = {op["name"], op["module"]} if op["compatible"] else {op["name"]}
        if same & taken:
            op.update(compatible=False, because="another op has its name or its module")
            op["name"] += ".%d" % number if op["name"] in taken else ""
        taken |= {op["name"], op["module"]} if op["compatible"] else {op["name"]}
    for op in ops:
        needed = NEEDS.get(op["name"], []) if kind == "deepspeed" else []
        op["needs"] = [name for name in needed if any(name == one["name"] for one in ops)]


def prepare():
    """The environment in which every op is asked."""
    for name in [name for name in os.environ if name.startswith("DS_BUILD_")]:
        del os.environ[name]
    os.environ.update({"DS_ACCELERATOR": "cuda", "TORCH_CUDA_ARCH_LIST": "8.0",
                       "DS_SKIP_CUDA_CHECK": "1", "PYTHONDONTWRITEBYTECODE": "1",
                       "GIT_ALLOW_PROTOCOL": "", "PIP_NO_INDEX": "1"})
    for name, limit in (("RLIMIT_FSIZE", FILE_LIMIT), ("RLIMIT_CORE", 0)):
        most = resource.getrlimit(getattr(resource, name))[1]
        limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
        resource.setrlimit(getattr(resource, name), (limit, most))
    return dict(os.environ)


def answer_of(request):
    deadline = time.monotonic() + request["limit"]
    kind, why = kind_of(request["tree"])
    refused = refusal(kind, why, request)
    if refused:
        return refused
    environment = prepare()
    if importlib.util.find_spec("setuptools"):
        import setuptools  # before anything imports distutils
    try:
        stub = request["stub"] if importlib.util.find_spec("torch") is None else None
        torch = torch_facts(stub)
    except Exception as error:
        return {"refused": "broken-torch", "because": "import torch: " + text_of(error)}
    request["toolkit"] = torch["toolkit"]
    project = {"name": "deepspeed", "version": read_text(request["tree"], "version.txt") or ""}
    if kind == "deepspeed":
        ops, problem, noise = read_ops(request, environment, deadline)
    else:
        project, ops, problem, noise = read_setup(request, environment)
    if not any(op.get("sources") for op in ops):
        because = problem or "none of its %d ops has sources" % len(ops)
        first = next((op["because"] for op in ops if op["because"]), "")
        return {"refused": "broken-tree", "said": noise,
                "because": because + ("; " + first if first else "")}
    judge(ops, kind)
    return dict(project, kind=kind, torch=torch, ops=ops, problem=problem,
                python=python_facts(), **tree_facts(request["tree"]))


def main():
    nonce, request = sys.argv[1], json.loads(sys.argv[2])
    request["toolkit"] = ""
    sys.argv[1:] = []
    ours = os.dup(1)  # not inherited by programs; 1 is for whatever the tree prints
    PRIVATE.append(ours)
    os.dup2(2, 1)
    answer = json.dumps(answer_of(request))
    if len(answer) > ALL_LIMIT:
        answer = json.dumps({"refused": "broken-tree", "because": "its answers are too long"})
    line = "%s %s\n" % (nonce, answer)
    with os.fdopen(ours, "w") as out:
        out.write(line)


main()
