# SPDX-License-Identifier: Apache-2.0
# What compiled ops the interpreter's environment holds, for which GPUs they have code, and whether
# each can be loaded, tried in a process of its own. ask_child.py and probe_runtime.py stand before
# this text; one line of JSON follows it. Answer: "NONCE {json}".
import ast
import ctypes
import glob
import importlib
import json
import subprocess

LOAD_LIMIT = 90   # seconds, for PyTorch and all libraries of a package
TEST_LIMIT = 120  # seconds, for the self-tests of a package
PACKAGES = ("ds_ops", "deepspeed")


def folder_of(name):
    return next((folder for folder in (os.path.join(entry, name) for entry in sys.path)
                 if os.path.isfile(os.path.join(folder, "__init__.py"))), None)


def version_of(name, folder):
    for entry in sorted(glob.glob(os.path.join(os.path.dirname(folder), name + "-*.dist-info"))):
        return os.path.basename(entry)[len(name) + 1:-len(".dist-info")]
    return ""


def op_of(path):
    """"fused_adam" of ".../fused_adam_op.cpython-311-x86_64-linux-gnu.so", ".../libfused_adam.so"."""
    name = os.path.basename(path).split(".")[0]
    return name[3:] if name.startswith("lib") else re.sub(r"_op$", "", name)


def architectures(image):
    """("80", "90a"), ("90",): machine code and PTX of the containers in .nv_fatbin."""
    sections = image.sections()
    names = image.strings(sections, struct.unpack_from("<H", image.bytes, 62)[0])
    sass, ptx = set(), set()
    for name, _, _, _, at, length, _, _, _, _ in sections:
        if names[name:names.find(b"\0", name)] != b".nv_fatbin":
            continue
        end = at + length
        while at + 16 <= end:
            magic, _, head, size = struct.unpack_from("<IHHQ", image.bytes, at)
            if magic != 0xBA55ED50:
                at += 8
                continue
            entry, stop = at + head, min(at + head + size, end)
            while entry + 64 <= stop:
                kind, _, head, padded = struct.unpack_from("<HHIQ", image.bytes, entry)
                arch, = struct.unpack_from("<I", image.bytes, entry + 28)
                flags, = struct.unpack_from("<Q", image.bytes, entry + 40)
                form = "a" if flags & 0x100000 else "f" if flags & 0x200000 else ""
                {1: ptx, 2: sass}.get(kind, set()).add("%d%s" % (arch, form))
                entry += max(head + padded, 64)
            at = stop + -stop % 8
    order = lambda text: (int(re.sub(r"\D", "", text)), text)
    return sorted(sass, key=order), sorted(ptx, key=order)


def describe(path):
    found = {"name": op_of(path), "path": path, "installed": True, "torch": False, "sass": [],
             "ptx": [], "loads": None, "message": "", "self_test": ""}
    try:
        image = Image(path)
        found["torch"] = any(name.startswith((b"libtorch", b"libc10")) for name in image.needed())
        found["sass"], found["ptx"] = architectures(image)
    except (OSError, ValueError, IndexError, struct.error):
        pass  # the loader will say what is wrong with it
    return found


def try_one(path, others):
    """What the loader says against it, or ""; an op may need those of others, loaded before it."""
    try:
        ctypes.CDLL(path)
        return ""
    except OSError as error:
        if "undefined symbol" not in str(error):
            return str(error)
    for other in others:
        try:
            ctypes.CDLL(other, ctypes.RTLD_GLOBAL)
        except OSError:
            pass
    try:
        ctypes.CDLL(path)
        return ""
    except OSError as error:
        return str(error)


def load_all(ops):
    """Fills in whether each op loads. Those that need PyTorch are tried where it is imported."""
    for needs_torch in (False, True):
        chosen = [op for op in ops if op["torch"] == needs_torch]
        others = [op["path"] for op in ops]

        def work(say, chosen=chosen, needs_torch=needs_torch, others=others):
            if needs_torch:
                try:
                    importlib.import_module("torch")
                except BaseException as error:  # pylint: disable=broad-except
                    say({"problem": "torch cannot be imported: %s" % error})
                    return
            for op in chosen:
                said, _ = ask_child(lambda tell, path=op["path"]: tell(try_one(path, others)), 30)
                say({"path": op["path"], "said": said[0] if said else
                     "it ended the process that loaded it, or gave no answer in 30 s"})

        answers, _ = ask_child(work, LOAD_LIMIT) if chosen else ([], True)
        problem = next((one["problem"] for one in answers if "problem" in one),
                       "no answer in %d s" % LOAD_LIMIT)
        by_path = {one["path"]: one["said"] for one in answers if "path" in one}
        for op in chosen:
            op["message"] = by_path.get(op["path"], problem)
    for op in ops:
        op["loads"] = not op["message"]


def record_of(folder):
    """What DeepSpeed itself has recorded; its text is read, never run."""
    found = {}
    try:
        with open(os.path.join(folder, "git_version_info_installed.py"), encoding="utf-8") as source:
            tree = ast.parse(source.read(1 << 20))
        for line in tree.body:
            if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
                found[line.targets[0].id] = ast.literal_eval(line.value)
    except (OSError, ValueError, SyntaxError, RecursionError):
        pass
    torch = found.get("torch_info") if isinstance(found.get("torch_info"), dict) else {}
    ops = found.get("installed_ops") if isinstance(found.get("installed_ops"), dict) else {}
    return {"torch": str(torch.get("version", "")), "cuda": str(torch.get("cuda_version", "")),
            "accelerator": str(found.get("accelerator_name", "")),
            "ops": [str(name) for name in ops][:1000]}


def self_tests():
    """Op -> (state, message), as `python -m ds_ops --json` says; a text that is none is a note."""
    try:
        said = subprocess.run([sys.executable, "-B", "-m", "ds_ops", "--json"], cwd="/",
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=TEST_LIMIT,
                              stderr=subprocess.DEVNULL, check=False).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return {}, "ds_ops gave no answer: %s" % error
    for line in said.decode("utf-8", "replace").splitlines():
        try:
            ops = json.loads(line)["ops"]
            states = {op["name"]: (op["state"], op.get("message", "")) for op in ops}
            if all(isinstance(text, str) for name in states for text in (name,) + states[name]):
                return states, ""
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
    return {}, "ds_ops answered in a form that cannot be read" if said.strip() else ""


def package(name):
    folder = folder_of(name)
    if folder is None:
        return None
    pattern = "lib*.so" if name == "ds_ops" else "*_op*.so"
    paths = sorted(glob.glob(os.path.join(folder, "**", pattern), recursive=True))[:1000]
    ops = [describe(path) for path in paths]
    load_all(ops)
    found = {"name": name, "folder": folder, "version": version_of(name, folder), "problem": "",
             "record": record_of(folder), "ops": ops}
    states = {}
    if name == "ds_ops":
        states, found["problem"] = self_tests()
    known = {op["name"] for op in ops}
    for other in list(states) + found["record"].pop("ops"):
        if other not in known:
            known.add(other)
            ops.append({"name": other, "installed": other in states, "loads": None, "message": "",
                        "sass": [], "ptx": [], "self_test": ""})
    for op in ops:
        op["self_test"], message = states.get(op["name"], ("", ""))
        op["message"] = op["message"] or message
    return found


def main():
    asked = json.loads(sys.stdin.buffer.readline().decode())
    found = [one for one in map(package, PACKAGES) if one]
    sys.stdout.write("\n%s %s\n" % (asked["nonce"], json.dumps({"packages": found})))
    sys.stdout.flush()


main()
