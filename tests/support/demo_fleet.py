# SPDX-License-Identifier: Apache-2.0
"""Makes deploy/fleet/facts.json.gz, the saved answers of 512 hosts; see the README.md there.

    PYTHONPATH=tests python3 -m support.demo_fleet
"""
import gzip
import json
import pathlib

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "fleet"
CLOCK = 1795657085  # of the coordinator, 2026-11-26
FLAGS = ("abm avx avx2 bmi1 bmi2 cx16 f16c fma fpu lahf_lm mmx movbe popcnt sse sse2 sse4_1 sse4_2 "
         "ssse3 xsave").split()
PRODUCTS = {"9.0": ("NVIDIA H100 80GB HBM3", 81559), "8.0": ("NVIDIA A100-SXM4-80GB", 81920),
            "7.0": ("Tesla V100-SXM2-16GB", 16160)}


def host(number, name, capability="9.0", driver="580.65.06"):
    """A node with eight GPUs that nothing is wrong with."""
    hopper = capability == "9.0"
    product, memory = PRODUCTS[capability]
    gpus = [{"index": at, "uuid": "GPU-6d1c%04x-5a0b-9f3e-1c2d-%012x" % (at, number * 7919),
             "name": product, "compute_capability": capability, "driver": driver,
             "memory_mb": memory, "mig": "Disabled" if capability != "7.0" else "[N/A]",
             "ecc": "Enabled", "mig_devices": 0, "remapping": "none", "processes": []}
            for at in range(8)]
    return {
        "name": name, "state": "reached", "problem": "", "os": "Ubuntu 22.04.5 LTS",
        "kernel": "5.15.0-131-generic", "machine": "x86_64",
        "machine_id": "%032x" % (number * 7907),
        "boot_id": "0b8f2f6e-3c8a-4a54-8f61-%012x" % (number * 7901), "hostname": name,
        "user": "train", "cpu_count": 224 if hopper else 128,
        "cpu_model": "Intel(R) Xeon(R) Platinum 8480C" if hopper else "AMD EPYC 7742",
        "cpu_flags": sorted(FLAGS + (["avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"]
                                     if hopper else [])),
        "cpu_level": 4 if hopper else 3, "memory_mb": 2063923 if hopper else 1031961,
        "glibc": "2.35", "libstdcxx": "/usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.30",
        "glibcxx": "3.4.30", "cxxabi": "1.3.13", "env_script_problem": "",
        "python": {
            "asked": "/opt/train/bin/python", "executable": "/opt/train/bin/python",
            "version": "3.10.12", "soabi": "cpython-310-x86_64-linux-gnu", "prefix": "/opt/train",
            "prefix_id": "66306:%d" % (1835017 + number), "base_prefix": "/usr",
            "site_packages": "/opt/train/lib/python3.10/site-packages",
            "virtual_environment": True, "externally_managed": False, "pip": "24.0"},
        "torch": {"version": "2.9.1+cu130", "cuda": "13.0", "cxx11_abi": True,
                  "folder": "/opt/train/lib/python3.10/site-packages/torch"},
        "installed": {"root": "/opt/.ds-deploy/train", "root_writable": True, "sealed": [],
                      "active": [], "hook": False, "packages": {}},
        "cxx": [{"path": "/usr/bin/g++", "version": "11.4.0", "include": ""}], "nvcc": [],
        "driver": driver, "nvidia": {
            "cuda": "13.0", "lost": [],
            "libcuda": "/usr/lib/x86_64-linux-gnu/libcuda.so." + driver},
        "gpus": gpus, "gpus_on_bus": 8, "xids": [],
        "libraries": ["libaio.so.1", "libc.so.6", "libcuda.so.1", "libgcc_s.so.1", "libgomp.so.1",
                      "libibverbs.so.1", "libm.so.6", "libpthread.so.0", "libstdc++.so.6"],
        "earlier_modules": {}, "login": {"asked": True, "differs": []},
        "disk": {"path": "/opt", "filesystem": "ext4", "source": "/dev/nvme0n1p2",
                 "free_bytes": 812345678901, "free_inodes": 58212345, "quota_bytes": -1,
                 "noexec": False},
        "shared_memory": {"bytes": 1082128842752, "free_bytes": 1082100000000},
        "jit": {"folder": "/home/train/.cache/torch_extensions", "locks": []},
        "use": {"jobs": [], "processes": [], "releases": [], "all_seen": True},
        "clock": CLOCK, "clock_ahead": 0, "seconds": 0.9, "notes": []}


def away(name, problem):
    return {"name": name, "state": "unreachable", "problem": problem,
            "python": {"asked": "/opt/train/bin/python"}}


def fleet():
    """448 nodes with H100 and 64 with A100: nine down, three too old, twenty busy, some odd."""
    hosts = {name: host(at, name, "9.0" if name.startswith("gpu") else "8.0")
             for at, name in enumerate(["gpu%03d" % at for at in range(1, 449)]
                                       + ["amp%02d" % at for at in range(1, 65)])}
    number = {name: at for at, name in enumerate(hosts)}
    for at in range(209, 217):  # one switch
        hosts["gpu%03d" % at] = away("gpu%03d" % at, "no connection within 15 s")
    hosts["gpu402"] = away("gpu402", "connect to 10.4.4.2:22: Connection refused")

    hosts["amp64"] = host(number["amp64"], "amp64", "7.0")
    hosts["gpu117"] = host(number["gpu117"], "gpu117", driver="550.54.15")
    hosts["gpu117"]["nvidia"]["cuda"] = "12.4"
    hosts["gpu330"]["python"].update(
        version="3.7.17", soabi="cpython-37m-x86_64-linux-gnu",
        site_packages="/opt/train/lib/python3.7/site-packages")

    for at in list(range(17, 33)) + [441, 442, 443, 444]:
        busy = hosts["gpu%03d" % at]
        busy["use"]["jobs"] = ["Slurm job %d" % (48213 if at < 100 else 48240)]
        for gpu in busy["gpus"]:
            gpu["processes"] = ["python3 of mira (%d)" % (31000 + gpu["index"])]

    hosts["gpu088"]["gpus"][3]["remapping"] = "pending"
    hosts["gpu088"]["xids"] = [{"number": 63, "gpu": "0000:5d:00", "times": 2}]
    hosts["gpu251"]["clock_ahead"] = -94
    hosts["gpu289"]["jit"]["locks"] = ["py310_cu130/fused_adam"]
    hosts["amp07"]["shared_memory"] = {"bytes": 67108864, "free_bytes": 67108864}
    return {"schema": "ds-deploy.facts/1", "hosts": list(hosts.values())}


def packed():
    text = json.dumps(fleet(), separators=(",", ":"))
    return gzip.compress(text.encode(), 9, mtime=0)


if __name__ == "__main__":
    (FOLDER / "facts.json.gz").write_bytes(packed())
