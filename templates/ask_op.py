# SPDX-License-Identifier: Apache-2.0
"""One op's builder, asked: what it compiles, with which words, and whether it can be built here.
read_source.py follows this text. Python 3.8."""
import inspect

ANSWER_LIMIT = 1 << 20  # characters of JSON, for one op
LIST_LIMIT = 4096
NO_REASON = "is_compatible() gives no reason"
# Only those of one digit: old builders compare the first character.
CAPABILITIES = ("3.5", "3.7", "5.0", "5.2", "6.0", "6.1", "7.0", "7.5", "8.0", "8.6", "8.9", "9.0")


def one_line(value):
    return "".join(sign for sign in clean(value or "") if sign.isprintable())


def texts(value, what):
    if value is None:
        return []
    if not isinstance(value, (list, tuple)) or len(value) > LIST_LIMIT:
        raise TypeError("%s is no list that can be used: %s" % (what, ascii(value)[:200]))
    for item in value:
        text = os.fspath(item) if isinstance(item, (str, os.PathLike)) else None
        if not isinstance(text, str) or len(text) > TEXT_LIMIT or not text.isprintable():
            raise TypeError("an item of %s cannot be used: %s" % (what, ascii(item)[:200]))
    return [os.fspath(item) for item in value if os.fspath(item)]


def inside(path, tree):
    """Relative to the tree where it lies there, else absolute."""
    whole = os.path.normpath(os.path.join(tree, path))
    relative = os.path.relpath(whole, tree)
    return whole if relative == ".." or relative.startswith("../") else relative


class Recorded:
    """Stands for torch's CppExtension and CUDAExtension, which add their own words to an op's."""

    def __init__(self, kind, name, sources, **settings):
        self.kind, self.name, self.sources, self.settings = kind, name, sources, settings

    def __getattr__(self, name):
        return self.__dict__["settings"].get(name)


def recorder(kind):
    return lambda name, sources, *rest, **settings: Recorded(kind, name, sources, **settings)


def record_extensions():
    from torch.utils import cpp_extension
    for kind in ("CppExtension", "CUDAExtension"):
        setattr(cpp_extension, kind, recorder(kind))


def pretend_gpu(there, toolkit=""):
    """Verdicts are asked without a GPU and builders with one of the asked architecture: that of
    this machine, if it has any, says nothing about the hosts. That torch's CUDA and the toolkit go
    together is for the plan to judge; to old builders, a difference is an end of everything."""
    import torch
    if toolkit and torch.version.cuda:
        torch.version.cuda = toolkit
    torch.cuda.is_available = lambda: there
    torch.cuda.device_count = lambda: int(there)
    torch.cuda.is_initialized = lambda: False
    torch.cuda.get_device_capability = lambda *_: (8, 0)
    torch.cuda.get_device_properties = lambda *_: type("Properties", (), {
        "major": 8, "minor": 0, "name": "", "total_memory": 0})


def flags_of(extension):
    given = getattr(extension, "extra_compile_args", None)
    given = given if isinstance(given, dict) else {"cxx": given}
    macros = getattr(extension, "define_macros", None) or []
    return {"cxx_flags": texts(given.get("cxx"), "the C++ flags"),
            "nvcc_flags": texts(given.get("nvcc"), "the nvcc flags"),
            "defines": texts([name if value is None else "%s=%s" % (name, value)
                              for name, value in macros], "define_macros")}


def extension_facts(extension, tree):
    sources = texts(extension.sources, "sources")
    facts = {"module": one_line(extension.name),
             "sources": [inside(path, tree) for path in sources],
             "include": [inside(path, tree) for path in texts(
                 getattr(extension, "include_dirs", None), "include_dirs")],
             "link_flags": texts(getattr(extension, "extra_link_args", None), "the link flags"),
             "links_cuda": getattr(extension, "kind", "") == "CUDAExtension"}
    for name in ("libraries", "library_dirs"):
        facts[name] = texts(getattr(extension, name, None), name)
    facts.update(flags_of(extension))
    facts["cuda"] = any(path.endswith(".cu") for path in sources)
    return facts


def problem_of(facts, tree):
    """Why what a builder gave cannot be built; "" if it can."""
    missing = [path for path in facts["sources"] if not os.path.isfile(os.path.join(tree, path))]
    if not facts["sources"]:
        return "it has no sources"
    if any(os.path.isabs(path) for path in facts["sources"]):
        return "its sources lie outside of the tree"
    if missing:
        return "%d of its sources are not there, such as %s" % (len(missing), missing[0])
    if facts["cuda"] and not facts["links_cuda"]:
        return "it has CUDA sources, and torch knows no CUDA toolkit (CUDA_HOME)"
    return ""


def minimum_capability(builder):
    """The lowest that the op serves; "" if that is any, or if it cannot say."""
    for one in CAPABILITIES if hasattr(builder, "filter_ccs") else ():
        try:
            if len(builder.filter_ccs([one])) > 0:
                return "" if one == CAPABILITIES[0] else one
        except Exception:
            pass
    return ""


def verdict_of(builder, warnings):
    """The builder's own: whether it can be built, and why not."""
    pretend_gpu(False)
    try:
        spoken = "verbose" in inspect.signature(builder.is_compatible).parameters
        if builder.is_compatible(**({"verbose": True} if spoken else {})):
            return ""
    except Exception as error:
        return "is_compatible() raised " + text_of(error)
    return " ".join(warnings) or NO_REASON


def ask(builder, request, environment, say):
    """One op, in a process of its own."""
    tree, warnings = request["tree"], []
    os.environ.clear()
    os.environ.update(environment)
    # Builders that lack it are of another kind; those that have it say it to the terminal only.
    builder.warning = lambda message: warnings.append(clean(message))
    problem = verdict_of(builder, warnings)
    facts = {}
    pretend_gpu(True, request["toolkit"])
    record_extensions()
    try:
        facts.update(extension_facts(builder.builder(), tree))
        problem = problem or problem_of(facts, tree)
    except Exception as error:
        problem = problem or "builder() raised " + text_of(error)
    facts["warnings"] = warnings[:64]
    facts["minimum"] = minimum_capability(builder) if facts.get("cuda") else ""
    facts.update({"compatible": not problem, "because": problem})
    if len(json.dumps(facts)) > ANSWER_LIMIT:
        raise ValueError("its answer is too long")
    say(facts)
