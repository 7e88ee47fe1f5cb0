# SPDX-License-Identifier: Apache-2.0
"""Saved facts of a fleet of any size, made from one recorded host, and a wheel to audit."""
import copy
import json

from support import recorded_wheel

V100 = {"index": 0, "name": "Tesla V100-SXM2-16GB", "uuid": "GPU-1", "compute_capability": "7.0",
        "driver": "580.65.06", "mig": "[N/A]", "ecc": "Enabled", "memory_mb": 16160,
        "remapping": "none", "processes": []}

# What differs from the recorded host; the words are the test's own, not the program's.
KINDS = {
    "good": {},
    "v100": {"gpus": [V100]},
    "old-driver": {"driver": "470.57.02"},
    "no-glibc": {"glibc": ""},
    "away": {"state": "unreachable", "problem": "no answer in 15 s"},
}


def host(name, **changes):
    with open(recorded_wheel.DATA / "facts" / "a100.json", encoding="utf-8") as file:
        made = copy.deepcopy(json.load(file)["hosts"][0])
    made.update(name=name, machine_id="id-" + name, boot_id="boot-" + name, hostname=name,
                clock_ahead=0, earlier_modules={}, xids=[],
                shared_memory={"bytes": 64 << 30, "free_bytes": 64 << 30})
    made["disk"]["noexec"] = False
    for gpu in made["gpus"]:
        gpu.update(remapping="none", processes=[])
    made.update(changes)
    return made


def save(path, hosts):
    path.write_text(json.dumps({"schema": "ds-deploy.facts/1", "hosts": hosts}))
    return path


def four(path):
    """One good host, a GPU without code, an unknown glibc, one that is away."""
    kinds = ("good", "v100", "no-glibc", "away")
    return save(path, [host("node%d" % (at + 1), **KINDS[kind]) for at, kind in enumerate(kinds)])


def thousands(path, number=4000, step=400):
    """Racks of 16 nodes; one host in `step` is bad, in four ways by turns."""
    bad = [kind for kind in KINDS if kind != "good"]
    hosts = []
    for at in range(number):
        kind = bad[at // step % len(bad)] if at % step == step - 1 else "good"
        hosts.append(host("rack%03d-node%02d" % (at // 16 + 1, at % 16 + 1), **KINDS[kind]))
    return save(path, hosts)


def wheel(folder):
    """One CUDA op with code for sm_80 alone."""
    return recorded_wheel.pack(folder, {
        "ds_ops/__init__.py": b"", "ds_ops/scale/libscale.so": recorded_wheel.cuda_library()},
        ops=[{"name": "scale", "self_test": "ds_ops.scale:self_test"}])
