# SPDX-License-Identifier: Apache-2.0
# What this machine is: "key TAB value" lines between two lines that carry the nonce. Writes
# nothing. A tool that is missing or hangs is a note, never a failure.
cd /
t='	'
nonce=@NONCE@
python=@PYTHON@
env_script=@ENV_SCRIPT@
login=@LOGIN@

say() { printf '%s\t%s\n' "$1" "$2"; }
limited() {
    if command -v timeout > /dev/null 2>&1; then
        timeout -k 1 "$@" < /dev/null
    else
        shift
        "$@" < /dev/null
    fi
}
first() { while IFS= read -r line; do printf '%s' "$line"; return; done; }

compiler() {
    path=$(command -v "$1" 2> /dev/null) || return 0
    version=$(limited 5 "$path" -dumpfullversion -dumpversion 2> /dev/null | first)
    [ -z "$version" ] || say cxx "$version$t$path"
}

# /usr/local/cuda is a link to one of /usr/local/cuda-*: each toolkit is told once.
toolkits=:
toolkit() {
    [ -x "$1" ] || return 0
    real=$(readlink -f "$1" 2> /dev/null) || real=$1
    case $toolkits in *":$real:"*) return 0 ;; esac
    toolkits=$toolkits$real:
    version=$(limited 5 "$1" --version 2> /dev/null |
        sed -n 's/.*release \([0-9.]*\).*/\1/p' | first)
    [ -n "$version" ] || return 0
    home=${1%/bin/nvcc}
    for include in "$home/include" "$home/targets/$(uname -m)-linux/include" ''; do
        [ ! -e "$include/cuda_runtime.h" ] || break
    done
    say nvcc "$version$t$1$t$include"
}

query() { limited 10 nvidia-smi --format=csv,noheader,nounits "--query-gpu=$1" 2>&1; }

# Drivers before R510 do not know compute_cap: its column stays empty.
rows() {
    tail=driver_version,memory.total,mig.mode.current,ecc.mode.current
    all=$(query "index,uuid,name,compute_cap,$tail")
    status=$?
    case $all in *'"compute_cap" is not a valid field'*)
        all=$(query "index,uuid,name,$tail")
        status=$?
        all=$(printf '%s\n' "$all" | sed 's/^\([^,]*,[^,]*,[^,]*\),/\1,,/')
    esac
    printf '%s\n' "$all" | sed 's/^/:/'
    printf '=%s\n' "$status"
}

late() {
    trap 'kill "$nap"' TERM
    sleep 13 &
    nap=$!
    wait "$nap" && printf '=124\n'
}

# A process in uninterruptible sleep outlives SIGKILL, and its reader would wait for it. So the rows
# come through a pipe, and whichever ends first, they or the clock, ends the reading.
gpus() {
    if ! command -v nvidia-smi > /dev/null 2>&1; then
        [ ! -d /proc/driver/nvidia ] || say note 'nvidia-smi is missing, though a driver is loaded'
        return 0
    fi
    { rows < /dev/null 2> /dev/null & late < /dev/null 2> /dev/null & printf '+%s\n' "$!"; } | {
        said=
        while IFS= read -r row; do
            case $row in
                +*) clock=${row#+} ;;
                =0) [ -z "$said" ] || say note "nvidia-smi said: $said"; break ;;
                =124 | =137) say note 'nvidia-smi gave no answer in 10 s'; break ;;
                =*) say note "nvidia-smi failed with status ${row#=}: $said"; break ;;
                :*,*,*,*) say gpu "${row#:}" ;;
                :?*) said=${said:-${row#:}} ;;
            esac
        done
        kill "$clock" 2> /dev/null
    }
}

# NVIDIA's display and 3D controllers, whether the driver has them or lost them.
bus() {
    on_bus=0
    for device in /sys/bus/pci/devices/*; do
        vendor='' class=''
        { IFS= read -r vendor < "$device/vendor" && IFS= read -r class < "$device/class"; } \
            2> /dev/null
        case $vendor:$class in 0x10de:0x0300* | 0x10de:0x0302*) on_bus=$((on_bus + 1)) ;; esac
    done
    say gpus_on_bus "$on_bus"
}

# "NVRM: Xid (PCI:0000:3b:00): 79, ..." in the kernel's log, which not everybody may read.
xids() {
    [ -d /proc/driver/nvidia ] || command -v nvidia-smi > /dev/null 2>&1 || return 0
    log=$(limited 5 dmesg 2> /dev/null) || return 0
    say kernel_log read
    printf '%s\n' "$log" | sed -n 's/.*NVRM: Xid (PCI:\([^)]*\)): \([0-9]*\).*/\2 \1/p' | sort |
        uniq -c | head -n 64 | while read -r times number place; do
        say xid "$number$t$place$t$times"
    done
}

cached() {
    for tool in ldconfig /sbin/ldconfig /usr/sbin/ldconfig; do
        command -v "$tool" > /dev/null 2>&1 || continue
        # Libraries for 32-bit programs have no second word in the brackets.
        limited 5 "$tool" -p 2> /dev/null | grep '(libc6,[^ ]'
        break
    done
}

sonames() {
    cached | sed -n 's/^[[:space:]]*\([^ ]*\.so[^ ]*\) .*/\1/p'
    IFS=:
    for folder in ${LD_LIBRARY_PATH:-}; do
        for file in "$folder"/*.so*; do [ ! -e "$file" ] || printf '%s\n' "${file##*/}"; done
    done
    unset IFS
}

# `exit`, `exec` or an error in a sourced file would end this script: it is tried in a subshell.
environment() {
    if [ ! -r "$env_script" ]; then
        say env_script_problem "env-script $env_script: not found"
        return 0
    fi
    status=$(. "$env_script" > /dev/null 2>&1 < /dev/null; printf '=%s' "$?")
    case $status in
        *=0) ;;
        *=*) say env_script_problem "env-script $env_script ended with status ${status##*=}" ;;
        *)
            say env_script_problem "env-script $env_script did not run to its end under /bin/sh"
            return 0
            ;;
    esac
    . "$env_script" > /dev/null 2>&1 < /dev/null
    set +efu
    unset IFS
}

interpreter() {
    if ! command -v "$python" > /dev/null 2>&1; then
        say note "python $python: not found"
        return 0
    fi
    limit=
    ! command -v timeout > /dev/null 2>&1 || limit='timeout -k 1 25'
    DS_ASK_LOGIN=$login DS_LIBSTDCXX=$(cached | sed -n 's/.*libstdc++\.so\.6 .*=> //p' | first) \
        $limit "$python" -B -c 'import sys
sys.path[:] = [entry for entry in sys.path if entry]
exec(compile(sys.stdin.buffer.read(@SOURCE_BYTES@), "probe.py", "exec"))' ||
        say note "python $python ended with status $?"
}

printf '\n%s begin\n' "$nonce"
[ -z "$env_script" ] || environment
LC_ALL=C
export LC_ALL
unset DS_DEPLOY_RELEASE
say kernel "$(uname -r)"
say machine "$(uname -m)"
say hostname "$(uname -n)"
say user "$(id -un 2> /dev/null || id -u)"
[ ! -r /etc/os-release ] || say os "$(. /etc/os-release && printf '%s' "${PRETTY_NAME:-}")"
[ ! -r /etc/machine-id ] || say machine_id "$(first < /etc/machine-id)"
[ ! -r /proc/sys/kernel/random/boot_id ] || say boot_id "$(first < /proc/sys/kernel/random/boot_id)"
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
[ -z "${CUDA_HOME:-}" ] || toolkit "$CUDA_HOME/bin/nvcc"
found=$(command -v nvcc 2> /dev/null) && toolkit "$found"
for place in /usr/local/cuda/bin/nvcc /usr/local/cuda-*/bin/nvcc; do toolkit "$place"; done
[ ! -r /proc/driver/nvidia/version ] || say driver "$(sed -n \
    's/^NVRM version:.*[[:space:]]\([0-9][0-9]*\.[0-9][0-9.]*\)[[:space:]].*/\1/p' \
    /proc/driver/nvidia/version | first)"
gpus
bus
xids
say libraries "$(sonames | sort -u | tr '\n' ' ')"
[ -z "$python" ] || interpreter
printf '\n%s end\n' "$nonce"
