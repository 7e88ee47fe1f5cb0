# SPDX-License-Identifier: Apache-2.0
# What this machine is: "key TAB value" lines between two lines that carry the nonce. Writes nothing.
# A tool that is missing or hangs is a note, never a failure.
cd /
LC_ALL=C
export LC_ALL
t='	'
nonce=@NONCE@
python=@PYTHON@
env_script=@ENV_SCRIPT@

say() { printf '%s\t%s\n' "$1" "$2"; }
limited() {
    if command -v timeout > /dev/null 2>&1; then timeout "$@" < /dev/null; else shift; "$@" < /dev/null; fi
}
first() { while IFS= read -r line; do printf '%s' "$line"; return; done; }

compiler() {
    path=$(command -v "$1" 2> /dev/null) || return 0
    version=$(limited 10 "$path" -dumpfullversion -dumpversion 2> /dev/null | first)
    [ -z "$version" ] || say cxx "$version$t$path"
}

toolkit() {
    [ -x "$1" ] || return 0
    version=$(limited 20 "$1" --version 2> /dev/null | sed -n 's/.*release \([0-9.]*\).*/\1/p' | first)
    [ -z "$version" ] || say nvcc "$version$t$1"
}

gpus() {
    if ! command -v nvidia-smi > /dev/null 2>&1; then
        [ ! -d /proc/driver/nvidia ] || say note "the NVIDIA driver is loaded, but nvidia-smi is missing"
        return 0
    fi
    rows=$(limited 10 nvidia-smi --format=csv,noheader,nounits \
        --query-gpu=index,uuid,name,compute_cap,driver_version,memory.total,mig.mode.current,ecc.mode.current 2>&1)
    status=$?
    if [ "$status" -eq 124 ]; then
        say note "nvidia-smi gave no answer in 10 s"
    elif [ "$status" -ne 0 ]; then
        say note "nvidia-smi failed with status $status: $(printf '%s\n' "$rows" | first)"
    else
        printf '%s\n' "$rows" | while IFS= read -r row; do say gpu "$row"; done
    fi
}

sonames() {
    for tool in ldconfig /sbin/ldconfig /usr/sbin/ldconfig; do
        command -v "$tool" > /dev/null 2>&1 || continue
        limited 10 "$tool" -p 2> /dev/null | sed -n 's/^[[:space:]]*\([^ ]*\.so[^ ]*\) .*/\1/p'
        break
    done
    IFS=:
    for folder in ${LD_LIBRARY_PATH:-}; do
        for file in "$folder"/*.so*; do [ ! -e "$file" ] || printf '%s\n' "${file##*/}"; done
    done
    unset IFS
}

printf '\n%s begin\n' "$nonce"
if [ -n "$env_script" ]; then
    if [ -r "$env_script" ]; then . "$env_script" > /dev/null 2>&1 < /dev/null; else
        say note "env-script $env_script: not found"
    fi
fi
say kernel "$(uname -r)"
say machine "$(uname -m)"
say hostname "$(uname -n)"
say user "$(id -un 2> /dev/null || id -u)"
[ ! -r /etc/os-release ] || say os "$(. /etc/os-release && printf '%s' "${PRETTY_NAME:-}")"
[ ! -r /etc/machine-id ] || say machine_id "$(first < /etc/machine-id)"
if [ -r /proc/cpuinfo ]; then
    say cpu_model "$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | first)"
    say cpu_flags "$(sed -n 's/^\(flags\|Features\)[[:space:]]*: //p' /proc/cpuinfo | first)"
    say cpu_count "$(grep -c '^processor' /proc/cpuinfo)"
fi
[ ! -r /proc/meminfo ] || say memory_kb "$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)"
say glibc "$(getconf GNU_LIBC_VERSION 2> /dev/null | sed 's/^glibc //')"
say clock "$(date -u +%s)"
[ -z "${CXX:-}" ] || compiler "$CXX"
compiler g++
compiler c++
compiler clang++
{
    [ -z "${CUDA_HOME:-}" ] || toolkit "$CUDA_HOME/bin/nvcc"
    found=$(command -v nvcc 2> /dev/null) && toolkit "$found"
    for place in /usr/local/cuda/bin/nvcc /usr/local/cuda-*/bin/nvcc; do toolkit "$place"; done
}
[ ! -r /proc/driver/nvidia/version ] ||
    say driver "$(sed -n 's/.*Kernel Module[^0-9]*\([0-9][0-9.]*\).*/\1/p' /proc/driver/nvidia/version | first)"
gpus
say libraries "$(sonames | sort -u | tr '\n' ' ')"
if [ -n "$python" ]; then
    if command -v "$python" > /dev/null 2>&1; then
        limit=
        command -v timeout > /dev/null 2>&1 && limit='timeout 40'
        $limit "$python" -B -c 'import sys; exec(compile(sys.stdin.buffer.read(@SOURCE_BYTES@), "probe.py", "exec"))' ||
            say note "python $python ended with status $?"
    else
        say note "python $python: not found"
    fi
fi
printf '%s end\n' "$nonce"
