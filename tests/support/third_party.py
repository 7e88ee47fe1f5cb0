# SPDX-License-Identifier: Apache-2.0
"""Wheels that others made, from the package index: fetched once, kept where prepare_torch keeps the
rest, known by their SHA-256 (240 MB)."""
import hashlib
import os
import subprocess

from support.prepare_torch import Unprepared, Workshop, named, say

PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_24_x86_64",
             "manylinux_2_17_x86_64", "manylinux2014_x86_64")
# What pip calls it -> file, SHA-256.
WHEELS = {
    "bitsandbytes==0.50.2": (
        "bitsandbytes-0.50.2-py3-none-manylinux_2_24_x86_64.whl",
        "55348a9a4a21bfd99cf8c7b32fe67b4030ae5c2a05738e03c1747f65fa6ec283"),
    "ctranslate2==4.8.5": (
        "ctranslate2-4.8.5-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
        "79a30a2c974530dbb5083f4922d28ffad87e08542f423aa91c53fbf4543cc35f"),
    "faiss-gpu-cu12==1.9.0.post1": (
        "faiss_gpu_cu12-1.9.0.post1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "2c93038304ddbf51cc260422c4adf7ab001bfa30eb69203b3fe88899b02ca11b"),
    "lightgbm==4.7.0": (
        "lightgbm-4.7.0-py3-none-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
        "d23e922acd891e77212e4d0fbcee9ba973c96dee479491341d05ba595357ebb7"),
    "numpy==2.4.6": (
        "numpy-2.4.6-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
        "89cd468399cfd2504718f0ba50e410dca55a170b61a02ad92bb18c8a65186e93"),
    "nvidia-cuda-runtime-cu12==12.9.79": (
        "nvidia_cuda_runtime_cu12-12.9.79-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "25bba2dfb01d48a9b59ca474a1ac43c6ebf7011f1b0b8cc44f54eb6ac48a96c3"),
    "spconv-cu120==2.3.6": (
        "spconv_cu120-2.3.6-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "f9e116962e9777558a96101a5d9252db5d46845ad5e5b32f473594984dfee983"),
    "tokenizers==0.22.1": (
        "tokenizers-0.22.1-cp39-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "e2ef6063d7a84994129732b47e7915e8710f27f99f3a3260b8a38fc7ccd083f4"),
    "torchaudio==2.9.1": (
        "torchaudio-2.9.1-cp311-cp311-manylinux_2_28_x86_64.whl",
        "8327e21f51dced2b6de3ac6a63f04bae9be9bc213e151f85c76164568c7ebc3d"),
    "torchvision==0.24.1": (
        "torchvision-0.24.1-cp311-cp311-manylinux_2_28_x86_64.whl",
        "a0f106663e60332aa4fcb1ca2159ef8c3f2ed266b0e6df88de261048a840e0df"),
}


def is_whole(path, sha256):
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def fetched(workshop):
    """The folder with all of them."""
    home = workshop.root / "wheels"
    missing = [name for name, (file, sha256) in WHEELS.items()
               if not is_whole(home / file, sha256)]
    if not missing:
        return home
    workshop.may_download("wheels of others")
    pip = [os.environ.get("DS_DEPLOY_TEST_TORCH_PYTHON", ""), "-m", "pip"]
    if not pip[0]:
        raise Unprepared("wheels of others are fetched by the pip that torch came with")
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    with workshop.alone(), workshop.temporary() as folder:
        workshop.reach_index(pip, folder)
        workshop.pip("wheels of others", pip, "download", "-q", "--no-deps", "--only-binary",
                     ":all:", "--implementation", "cp", "--python-version", "311", *platforms,
                     "-d", folder / "wheels", *missing)
        home.mkdir(exist_ok=True)
        for name in missing:
            file, sha256 = WHEELS[name]
            if not is_whole(folder / "wheels" / file, sha256):
                raise Unprepared("%s on the index is not the one that is meant" % file)
            (folder / "wheels" / file).rename(home / file)
    return home


def prepare():
    """Names the folder in the environment, or says why there is none."""
    try:
        named("DS_DEPLOY_TEST_WHEELS", lambda: fetched(Workshop()))
    except (Unprepared, OSError, subprocess.CalledProcessError) as error:
        os.environ["DS_DEPLOY_TEST_WHEELS_MISSING"] = str(error)
        say("left out: %s" % error)
