# SPDX-License-Identifier: Apache-2.0
# GPUs as the driver's own libraries tell of them: what nvidia-smi does not say, or all of it where
# that is missing. libcuda is asked for its version alone, so that no CUDA context is made.
# ask_child.py stands before this text. Sources: NVML API Reference Guide; CUDA Driver API, "Version Management".
DRIVER_LIMIT = 8  # seconds
NO_PERMISSION = 4  # NVML_ERROR_NO_PERMISSION


class Nvml:
    """libnvidia-ml.so.1: each call gives NVML's status, -1 for a function that it has not."""

    def __init__(self, ctypes):
        self.ctypes = ctypes
        self.library = ctypes.CDLL("libnvidia-ml.so.1")

    def call(self, name, *arguments):
        function = getattr(self.library, name, None)
        return -1 if function is None else function(*arguments)

    def numbers(self, name, count, *before):
        """The `count` unsigned integers that it stores, or None."""
        values = [self.ctypes.c_uint() for _ in range(count)]
        done = self.call(name, *(before + tuple(map(self.ctypes.byref, values))))
        return [value.value for value in values] if done == 0 else None

    def text(self, name, *before):
        room = self.ctypes.create_string_buffer(96)
        done = self.call(name, *(before + (room, self.ctypes.c_uint(96))))
        return room.value.decode("utf-8", "replace") if done == 0 else ""

    def memory_mb(self, gpu):
        room = (self.ctypes.c_ulonglong * 3)()  # total, free, used: bytes
        return room[0] >> 20 if self.call("nvmlDeviceGetMemoryInfo", gpu, room) == 0 else 0

    def processes(self, gpu):
        """Process ids of those with a CUDA context on it, or None."""
        ctypes = self.ctypes

        class Process(ctypes.Structure):  # nvmlProcessInfo_t
            _fields_ = [("pid", ctypes.c_uint), ("memory", ctypes.c_ulonglong),
                        ("gpu_instance", ctypes.c_uint), ("compute_instance", ctypes.c_uint)]

        for version in ("_v3", "_v2"):
            count, room = ctypes.c_uint(256), (Process * 256)()
            if self.call("nvmlDeviceGetComputeRunningProcesses" + version, gpu,
                         ctypes.byref(count), room) == 0:
                return [room[at].pid for at in range(min(count.value, 256))]
        return None

    def mig_devices(self, gpu):
        most = (self.numbers("nvmlDeviceGetMaxMigDeviceCount", 1, gpu) or [0])[0]
        part = self.ctypes.c_void_p()
        return sum(self.call("nvmlDeviceGetMigDeviceHandleByIndex", gpu, self.ctypes.c_uint(at),
                             self.ctypes.byref(part)) == 0 for at in range(min(most, 64)))


def who(pid):
    """"python3 of alice (4711)"; another PID namespace shows no more than the number."""
    import pwd
    try:
        user = os.stat("/proc/%d" % pid).st_uid
        with open("/proc/%d/comm" % pid) as source:
            name = source.read(64).strip()
        try:
            user = pwd.getpwuid(user).pw_name
        except KeyError:
            pass
        return "%s of %s (%d)" % (name, user, pid)
    except (OSError, ValueError):
        return "process %d" % pid


def switch(pair):
    return "[N/A]" if pair is None else ("Disabled", "Enabled")[pair[0] == 1]


def one_gpu(nvml, index, driver):
    """Its facts, or what NVML gave instead of it: its status."""
    gpu = nvml.ctypes.c_void_p()
    done = nvml.call("nvmlDeviceGetHandleByIndex_v2", nvml.ctypes.c_uint(index),
                     nvml.ctypes.byref(gpu))
    if done != 0:
        return done
    capability = nvml.numbers("nvmlDeviceGetCudaComputeCapability", 2, gpu)
    rows = nvml.numbers("nvmlDeviceGetRemappedRows", 4, gpu)  # ..., pending, failed
    pids = nvml.processes(gpu)
    return {"index": index, "uuid": nvml.text("nvmlDeviceGetUUID", gpu),
            "name": nvml.text("nvmlDeviceGetName", gpu), "driver": driver,
            "compute_capability": "%d.%d" % tuple(capability) if capability else "",
            "memory_mb": nvml.memory_mb(gpu),
            "mig": switch(nvml.numbers("nvmlDeviceGetMigMode", 2, gpu)),
            "ecc": switch(nvml.numbers("nvmlDeviceGetEccMode", 2, gpu)),
            "mig_devices": nvml.mig_devices(gpu),
            "remapping": "" if rows is None else "failed" if rows[3] else
                         "pending" if rows[2] else "none",
            "processes": None if pids is None else [who(pid) for pid in pids[:16]]}


def ask_nvml(ctypes, found):
    nvml = Nvml(ctypes)
    done = nvml.call("nvmlInit_v2")
    if done != 0:
        found["notes"].append("NVML cannot be used: status %d" % done)
        return
    found["driver"] = nvml.text("nvmlSystemGetDriverVersion")
    count = nvml.numbers("nvmlDeviceGetCount_v2", 1) or [0]
    for index in range(min(count[0], 64)):
        gpu = one_gpu(nvml, index, found["driver"])
        if isinstance(gpu, dict):
            found["gpus"].append(gpu)
        elif gpu != NO_PERMISSION:
            found["lost"].append("GPU %d (NVML status %d)" % (index, gpu))


def ask_libcuda(ctypes, found):
    version = ctypes.c_int()
    if ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version)) == 0:
        found["cuda"] = "%d.%d" % (version.value // 1000, version.value % 1000 // 10)
    with open("/proc/self/maps") as maps:
        found["libcuda"] = next((line.split(None, 5)[5].strip() for line in maps
                                 if "/libcuda.so" in line), "")


def ask_driver(say):
    import ctypes
    found = {"gpus": [], "lost": [], "notes": []}
    for ask in (ask_nvml, ask_libcuda):
        try:
            ask(ctypes, found)
        except (OSError, AttributeError):  # no such library, or not this function
            pass
    say(found)


def driver_facts():
    """{} where nothing speaks for a driver. A crash or a hang of its libraries is a note."""
    tools = [os.path.join(folder, "nvidia-smi") for folder in os.get_exec_path()]
    if not (os.path.exists("/proc/driver/nvidia") or any(map(os.path.exists, tools))):
        return {}
    said, ended = ask_child(ask_driver, DRIVER_LIMIT)
    if not said:
        how = "ended the process that asked" if ended else "gave no answer in %d s" % DRIVER_LIMIT
        return {"notes": ["the NVIDIA driver's libraries " + how]}
    return said[0]
