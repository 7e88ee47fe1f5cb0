# SPDX-License-Identifier: Apache-2.0
# The Debian packages that the README's two commands need; read by deploy/quickstart and tests/run.
# shellcheck shell=sh disable=SC2034
build_packages="g++ cmake ninja-build pkg-config git openssh-client python3 python3-venv
    libssh2-1-dev libyaml-cpp-dev libarchive-dev libzip-dev libzstd-dev libelf-dev libssl-dev
    libc-ares-dev libsqlite3-dev libfmt-dev
    libcli11-dev nlohmann-json3-dev libzydis-dev"
test_packages="doctest-dev openssh-server binutils tcsh fish mandoc shellcheck procps zstd
    python3-dev libaio-dev"
# Where they cannot be had the tests of a scheduler, of shared file systems and of failing ones are
# skipped.
optional_packages="munge slurm-client slurmctld slurmd bindfs fuse3 libfuse3-dev"
