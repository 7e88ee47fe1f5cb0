# SPDX-License-Identifier: Apache-2.0
"""Wheels that others made, and one of this machine, against fleets that were written down.

What must refuse a host was written before an audit of ours saw the wheel, from readelf (symbol
versions, needed libraries), cuobjdump (architectures) and METADATA; the reason stands beside it.
"""
import json
import os
import unittest

from support import report_fleet, third_party
from support.deploy_case import DeployCase, clean_environment

WHEELS = os.environ.get("DS_DEPLOY_TEST_WHEELS", "")
REASON = os.environ.get("DS_DEPLOY_TEST_WHEELS_MISSING",
                        "DS_DEPLOY_TEST_WHEELS names no folder with wheels of others")

PACKAGES = {"torch": "2.9.1+cu128", "numpy": "2.3.4", "packaging": "25.0", "pillow": "12.0.0",
            "pyyaml": "6.0.3", "scipy": "1.16.3", "narwhals": "2.10.0", "huggingface-hub": "0.36.0",
            "nvidia-cuda-runtime-cu12": "12.8.90", "nvidia-cublas-cu12": "12.8.4.1"}
LIBRARIES = ["libc.so.6", "libdl.so.2", "libgcc_s.so.1", "libgomp.so.1", "libm.so.6",
             "libpthread.so.0", "librt.so.1", "libstdc++.so.6", "libz.so.1"]


def gpus(name, capability, driver, number=2):
    return [{"index": at, "uuid": "GPU-%d" % at, "name": name, "compute_capability": capability,
             "driver": driver, "memory_mb": 40000, "mig": "Disabled", "ecc": "Enabled",
             "remapping": "none", "processes": []} for at in range(number)]


def host(name, devices=(), driver="", glibc="2.35", glibcxx="3.4.30", cxxabi="1.3.13", cuda="12.8"):
    torch = "2.9.1+cu128" if cuda else "2.9.1+cpu"
    return report_fleet.host(
        name, gpus=list(devices), driver=driver, glibc=glibc, glibcxx=glibcxx, cxxabi=cxxabi,
        libraries=LIBRARIES + (["libcuda.so.1"] if devices else []),
        torch={"version": torch, "cuda": cuda, "folder": "/opt/venv/torch", "cxx11_abi": True},
        distributions={**PACKAGES, "torch": torch})


# The GPU of each, its driver and its system.
FLEETS = {
    "t4": [host("t4", gpus("Tesla T4", "7.5", "535.104.05"), "535.104.05",  # Ubuntu 20.04
                glibc="2.31", glibcxx="3.4.28", cxxabi="1.3.12")],
    "v100-a100": [host("v100", gpus("Tesla V100-SXM2-16GB", "7.0", "550.54.15"), "550.54.15"),
                  host("a100", gpus("NVIDIA A100-SXM4-40GB", "8.0", "550.54.15"), "550.54.15")],
    "h100": [host("h100", gpus("NVIDIA H100 80GB HBM3", "9.0", "570.86.15"), "570.86.15")],
    "b200": [host("b200", gpus("NVIDIA B200", "10.0", "580.65.06"), "580.65.06",
                  glibc="2.39", glibcxx="3.4.33", cxxabi="1.3.15")],
    "mixed-drivers": [
        host("new", gpus("NVIDIA A100-SXM4-40GB", "8.0", "580.65.06"), "580.65.06"),
        host("old", gpus("NVIDIA A100-SXM4-40GB", "8.0", "470.82.01"), "470.82.01")],
    "cpu-only": [host("cpu", glibc="2.36", cuda="")],
    "old-glibc": [host("el7", gpus("NVIDIA A100-SXM4-40GB", "8.0", "580.65.06"), "580.65.06",
                       glibc="2.17", glibcxx="3.4.19", cxxabi="1.3.7")],
}
EVERYWHERE = ("t4", "v100", "a100", "h100", "b200", "new", "old", "cpu", "el7")

# Wheel -> host -> the rules that refuse it. A host that is not named is ready.
REFUSED = {
    # GLIBC_2.27, GLIBCXX_3.4.21; no device code.
    "numpy==2.4.6": {"el7": {"glibc", "libstdc++"}},
    # GLIBC_2.27, GLIBCXX_3.4.22; no device code.
    "lightgbm==4.7.0": {"el7": {"glibc", "libstdc++"}},
    # GLIBC_2.16, GLIBCXX_3.4, abi3 from Python 3.9.
    "tokenizers==0.22.1": {},
    # GLIBC_2.17, C alone, no device code of its own.
    "nvidia-cuda-runtime-cu12==12.9.79": {},
    # sm_53 to sm_86 and PTX of 8.6: compiled by the driver for newer ones. GLIBC_2.27,
    # GLIBCXX_3.4.22. CUDA 12: no driver before 525.
    "ctranslate2==4.8.5": {"old": {"driver"}, "el7": {"glibc", "libstdc++"}},
    # sm_70 and sm_80 alone, no PTX: sm_70 serves 7.5, nothing serves 9.0 and 10.0. It wants numpy
    # below 2. GLIBC_2.17 and GLIBCXX_3.4.19: just old enough.
    "faiss-gpu-cu12==1.9.0.post1": {
        **{name: {"requirements"} for name in EVERYWHERE},
        "h100": {"requirements", "gpu-image"}, "b200": {"requirements", "gpu-image"},
        "old": {"requirements", "driver"},
        # Its Python modules have no device code and are linked with CUDA's libraries all the same.
        "cpu": {"requirements", "needed-libraries"}},
    # sm_52 to sm_89, PTX of 5.2. It wants pccm, ccimport, fire and more. GLIBC_2.17.
    "spconv-cu120==2.3.6": {**{name: {"requirements"} for name in EVERYWHERE},
                            "old": {"requirements", "driver"}},
    # sm_70 to sm_120, torch 2.9.1 with CUDA 12. GLIBC_2.27, GLIBCXX_3.4.21. A torch without CUDA
    # has not the libraries that it is linked with, its modules without device code too.
    "torchaudio==2.9.1": {"old": {"driver"}, "cpu": {"torch", "needed-libraries"},
                          "el7": {"glibc", "libstdc++"}},
    # The same; GLIBC_2.17, GLIBCXX_3.4.21.
    "torchvision==0.24.1": {"old": {"driver"}, "cpu": {"torch", "needed-libraries"},
                            "el7": {"libstdc++"}},
    # One library for each CUDA, ROCm and XPU in one wheel, of which no host has all libraries. Those
    # for CUDA 13 have no sm_70 and want driver 580, those up to CUDA 12.6 have no sm_100. GLIBC_2.32
    # and CXXABI_1.3.13, whatever the label manylinux_2_24 says. (cuobjdump gives that for CUDA 12.1
    # up as damaged after its first image; it has sm_60 to sm_90, as its neighbours have.)
    "bitsandbytes==0.50.2": {
        "t4": {"needed-libraries", "driver", "glibc", "libstdc++"},
        "v100": {"needed-libraries", "driver", "gpu-image"},
        "a100": {"needed-libraries", "driver"}, "h100": {"needed-libraries", "driver"},
        "b200": {"needed-libraries", "gpu-image"}, "new": {"needed-libraries"},
        "old": {"needed-libraries", "driver"}, "cpu": {"needed-libraries"},
        "el7": {"needed-libraries", "glibc", "libstdc++"}},
}


class Wheels(DeployCase):
    def refused(self, wheel):
        """Host -> rules that refuse it. All fleets are asked at once: no host's failures depend on
        the others."""
        saved = report_fleet.save(self.folder / "fleets.json",
                                  [one for hosts in FLEETS.values() for one in hosts])
        done = self.run_program("audit", wheel, "--facts", saved, "--json")
        self.assertIn(done.returncode, (0, 3), done.stdout + done.stderr)
        found = {}
        for said in json.loads(done.stdout)["hosts"]:
            rules = {one["rule"] for one in said["findings"] if one["severity"] == "fail"}
            self.assertEqual(said["state"], "refused" if rules else "ready")
            if rules:
                found[said["name"]] = rules
        return found

    def test_one_of_this_machine(self):
        env = clean_environment(DS_BUILD_OPS="0", DS_BUILD_UTILS="1")
        built = self.run_program("build", "-l", "--cpu-level", "1", "--output", self.folder / "dist",
                                 "--build-dir", self.folder / "build", env=env)
        self.assertEqual(built.returncode, 0, built.stderr)
        wheel = built.stdout.strip()
        self.assertIn("-linux_x86_64.whl", wheel)
        needs = json.loads(self.run_program("inspect", "--json", wheel).stdout)["requirements"]
        found = self.refused(wheel)
        for name in EVERYWHERE:
            system = next(one for hosts in FLEETS.values() for one in hosts if one["name"] == name)
            expected = {rule for rule, key in (("glibc", "glibc"), ("libstdc++", "glibcxx"))
                        if [int(part) for part in needs[key].split(".") if part]
                        > [int(part) for part in system[key].split(".")]}
            self.assertEqual(found.get(name, set()), expected, name)


def case(name):
    def run(self):
        self.assertEqual(self.refused(os.path.join(WHEELS, third_party.WHEELS[name][0])),
                         REFUSED[name])
    return unittest.skipUnless(WHEELS, REASON)(run)


for wheel_name in REFUSED:
    setattr(Wheels, "test_" + wheel_name.split("==")[0].replace("-", "_"), case(wheel_name))
