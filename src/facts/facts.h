// SPDX-License-Identifier: Apache-2.0
//
// Asks every host what it is: one probe, one remote command, read-only. What a host does not say
// stays empty; what it could not find out is a note.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inventory/inventory.h"
#include "transport/transport.h"
#include "ui/ui.h"

namespace ds {

struct Gpu {
  int index = 0;
  std::string name, uuid;
  std::string compute_capability;  ///< "9.0"
  std::string driver;              ///< "580.65.06"
  std::string mig;                 ///< "Enabled", "Disabled", "[N/A]"
  std::string ecc;
  std::int64_t memory_mb = 0;
  std::int64_t mig_devices = 0;
  std::string remapping;  ///< of damaged rows of its memory: "none", "pending", "failed"; "" not
                          ///< known, or no such GPU
  /// With a CUDA context on it: "python3 of alice (4711)"; nothing: not known.
  std::optional<std::vector<std::string>> processes;
  bool operator==(const Gpu&) const = default;
};

struct Tool {                 ///< a compiler
  std::string path, version;  ///< "13.0", "12.2.0"
  std::string include = {};   ///< of nvcc: the toolkit's headers, where they lie elsewhere than in
                              ///< ../include
  bool operator==(const Tool&) const = default;
};

struct PythonFacts {
  std::string asked;       ///< the interpreter that was asked for; empty: none was named
  std::string executable;  ///< empty: it could not be run, see HostFacts::notes
  std::string version;     ///< "3.11.2"
  std::string soabi;       ///< "cpython-311-x86_64-linux-gnu"
  std::string prefix, base_prefix, site_packages;
  std::string prefix_id;  ///< device:inode of the prefix: one folder under two names
  bool virtual_environment = false;
  bool externally_managed = false;  ///< PEP 668
  std::string pip;                  ///< version, empty if absent
  bool operator==(const PythonFacts&) const = default;
};

struct TorchFacts {
  std::string version, cuda, folder;
  std::optional<bool> cxx11_abi;
  bool operator==(const TorchFacts&) const = default;
};

/// An active release, held against its own seal.
struct CheckedRelease {
  std::string sha256;
  std::string file;    ///< of the wheel that it came from
  std::string damage;  ///< what is not as it was sealed; empty: nothing
  bool operator==(const CheckedRelease&) const = default;
};

/// What the host notes of an activation of its environment.
struct Activation {
  std::string id = {};
  std::vector<std::string> releases = {};  ///< sha256; empty: what pip installed, or nothing
  std::vector<std::string> previous = {};  ///< what was active before it
  std::vector<std::vector<std::string>> before = {};  ///< to go back to, the newest last
  std::string because = {};                           ///< why it went back
  std::int64_t at = 0;                                ///< by the host's clock, seconds since 1970
  std::int64_t seconds_left = 0;  ///< of a trial: until the host takes it back; 0: it is overdue
  bool back = false;              ///< to a release of before
  bool watched = true;            ///< of a trial: a process there waits to take it back
  bool operator==(const Activation&) const = default;
};

struct Activations {
  std::optional<Activation> trial;        ///< active, and not yet confirmed
  std::optional<Activation> confirmed;    ///< the last that was
  std::optional<Activation> rolled_back;  ///< the last one, if it went back
  std::vector<std::string> problems;      ///< notes that are damaged
  bool operator==(const Activations&) const = default;
};

/// Who holds the lock of an environment, by what it wrote there.
struct LockFacts {
  std::string run, who, from, since;
  std::string holder;  ///< runs; ended, without giving it back; or elsewhere: on another machine
  bool operator==(const LockFacts&) const = default;
};

/// What of ours, or of the same package, is in the target environment.
struct InstalledFacts {
  std::string root;                 ///< our folder beside the environment, see rollout
  bool root_writable = false;       ///< it, or the folder it would be made in, and site-packages
  std::vector<std::string> sealed;  ///< sha256 of the releases that are whole
  std::vector<std::string> active;  ///< sha256 of the active release set; empty: none
  Activations activations;
  std::optional<LockFacts> lock;                       ///< nothing: nobody holds it
  std::int64_t epoch = 0;                              ///< the highest that came; 0: none did
  std::string last_run;                                ///< whose that is
  std::string owner_group;                             ///< whose root is; empty: no group's
  bool hook = false;                                   ///< our module is in site-packages
  std::map<std::string, std::string> packages;         ///< op wheels: name -> "version path"
  std::optional<std::vector<CheckedRelease>> checked;  ///< nothing: they were not looked at
  bool operator==(const InstalledFacts&) const = default;
};

/// Python packages of the target environment by their normalised names (PEP 503), without those of
/// our releases. One text: a fleet has thousands of such lists.
class Distributions {
 public:
  /// Not if a name or version has not the form of one, is there already, or is one too many.
  void add(std::string_view name, std::string_view version);
  std::optional<std::string> find(std::string_view name) const;  ///< its version
  std::vector<std::pair<std::string, std::string>> all() const;
  std::size_t size() const { return count_; }
  bool operator==(const Distributions&) const = default;

 private:
  std::string text_;  ///< "NAME VERSION", one a line
  std::size_t count_ = 0;
};

struct DiskFacts {
  std::string path, filesystem;
  std::int64_t free_bytes = -1, free_inodes = -1;
  std::string source = {};          ///< device, or "server:/export"
  std::int64_t quota_bytes = -1;    ///< that the user's quota leaves; -1: none, or not known
  std::optional<bool> noexec = {};  ///< mount option: nothing on it can be run or loaded
  bool operator==(const DiskFacts&) const = default;
};

/// What a job that starts from a login shell would find otherwise than this probe.
struct LoginFacts {
  bool asked = false;  ///< over SSH, where no environment script is named
  /// Variables that decide what is loaded: "LD_LIBRARY_PATH"; nothing: not known.
  std::optional<std::vector<std::string>> differs;
  bool operator==(const LoginFacts&) const = default;
};

/// The driver as its libraries tell of it (NVML, libcuda).
struct DriverFacts {
  std::string cuda;     ///< newest CUDA that the libcuda of this environment takes: "13.0"
  std::string libcuda;  ///< its path: a forward-compatible one lies elsewhere
  std::vector<std::string> lost;  ///< GPUs that it cannot open: "GPU 3 (NVML status 15)"
  bool operator==(const DriverFacts&) const = default;
};

/// An error that the driver wrote to the kernel's log.
struct Xid {
  int number = 0;   ///< NVIDIA's "Xid Errors"
  std::string gpu;  ///< PCI address
  std::int64_t times = 0;
  bool operator==(const Xid&) const = default;
};

struct SharedMemoryFacts {  ///< /dev/shm
  std::int64_t bytes = -1, free_bytes = -1;
  bool operator==(const SharedMemoryFacts&) const = default;
};

/// Where PyTorch compiles extensions at first use.
struct JitFacts {
  std::string folder;
  std::vector<std::string> locks;  ///< folders in it that hold a lock no process can still own
  bool operator==(const JitFacts&) const = default;
};

struct ReleaseUse {
  std::string sha256, process;  ///< that has files of it mapped: "python3 of alice (4711)"
  bool operator==(const ReleaseUse&) const = default;
};

/// Who works on it.
struct UseFacts {
  std::vector<std::string> jobs;  ///< of a scheduler: "Slurm job 4711"
  /// With files of the environment mapped: "python3 of alice (4711)"
  std::vector<std::string> processes;
  std::vector<ReleaseUse> releases = {};  ///< of ours there
  bool all_seen = false;                  ///< nobody's processes were hidden from the probe
  bool operator==(const UseFacts&) const = default;
};

struct HostFacts {
  enum class State { reached, unreachable, login_refused, key_refused, failed };
  std::string host;
  State state = State::failed;
  std::string problem;  ///< why not `reached`; clean, one line
  std::string os, kernel, machine, machine_id, boot_id, hostname, user;
  std::string cpu_model;
  std::vector<std::string> cpu_flags;  ///< sorted
  int cpu_level = 0;                   ///< x86-64 psABI micro-architecture level 1..4; 0 unknown
  int cpu_count = 0;
  std::int64_t memory_mb = 0;
  std::string glibc;                       ///< "2.36"
  std::string libstdcxx, glibcxx, cxxabi;  ///< path, "3.4.30", "1.3.13"
  std::string env_script_problem;          ///< "env-script /x: not found"; empty: none, or it works
  PythonFacts python;
  TorchFacts torch;
  InstalledFacts installed;
  std::optional<Distributions> distributions;  ///< nothing: not known
  std::vector<Tool> cxx;                       ///< C++ compilers
  std::vector<Tool> nvcc;  ///< all that were found, CUDA_HOME's and PATH's first
  std::string driver;      ///< NVIDIA kernel driver
  DriverFacts nvidia;
  std::vector<Gpu> gpus;
  int gpus_on_bus = -1;                  ///< NVIDIA's on the PCI bus; -1: not known
  std::optional<std::vector<Xid>> xids;  ///< nothing: the kernel's log could not be read
  std::vector<std::string> libraries;    ///< sonames the dynamic loader knows, sorted
  /// Build-ids of the interpreter ("python"), its library and those of its PyTorch, by name.
  std::map<std::string, std::string> runtime;
  /// Top-level modules that come before those of site-packages, and the folder of each; nothing:
  /// not known.
  std::optional<std::map<std::string, std::string>> earlier_modules;
  LoginFacts login;
  DiskFacts disk;
  SharedMemoryFacts shared_memory;
  JitFacts jit;
  std::optional<UseFacts> use;              ///< nothing: not known
  std::int64_t clock = 0;                   ///< seconds since 1970, UTC
  std::optional<std::int64_t> clock_ahead;  ///< seconds before the coordinator's; below 0: behind
  double seconds = 0;                       ///< what the probe took
  std::vector<std::string> notes;           ///< "nvidia-smi gave no answer in 10 s"
  bool operator==(const HostFacts&) const = default;
};

/// "9.0", "12.1": a GPU whose driver does not say it has another text, or none.
bool is_capability(const std::string& text);

/// Whose jobs and processes use the host and its GPUs, as far as the probe could see: "Slurm job
/// 4711, python3 of alice (4711) on its GPUs"; empty: nobody's.
std::string users_of(const HostFacts& host);

/// Nobody uses its GPUs: each of them tells that it has no process, and nobody else was seen.
bool are_gpus_free(const HostFacts& host);

struct Fleet {
  std::vector<HostFacts> hosts;  ///< in the inventory's order
  const HostFacts* find(const std::string& host) const;
};

struct ProbeOptions {
  std::string python;            ///< --python; wins over the host's own
  std::string inherited_python;  ///< $VIRTUAL_ENV's or $CONDA_PREFIX's, for hosts that name none
  std::chrono::milliseconds time_limit = std::chrono::seconds(60);
  std::string own_job = {};  ///< of Slurm: hosts are this run's by it, and not in use
};

/// The interpreter of the environment to deploy to on `host`, or "" if none is named.
std::string target_python(const Host& host, const ProbeOptions& options);

Fleet gather_facts(const Inventory& inventory, const ProbeOptions& options, Transport& transport,
                   Status& status);

/// Files of templates/, put together.
SharedText program_text(const std::vector<std::string>& files);

/// Such a program, run by the host's interpreter `python`; `request` is the line of its stdin
/// behind it, if it is not empty. It begins in /, after the host's environment script. `as_job`:
/// with the PYTHON* variables and the user site, as a job has them.
Exec host_program(const Host& host, const std::string& python, const SharedText& program,
                  const std::string& request, bool as_job);

/// What a library of an interpreter's process gives to others, and needs of them. Its text: the
/// sonames that it needs in the first line, then one symbol a line.
class Exports {
 public:
  explicit Exports(std::string text);
  Exports(const Exports&) = delete;
  Exports& operator=(const Exports&) = delete;
  bool has(std::string_view symbol) const;
  const std::vector<std::string>& needed() const { return needed_; }

 private:
  const std::string text_;
  std::vector<std::string> needed_;
  std::vector<std::string_view> symbols_;  ///< sorted, in text_
};

/// By build-id, which names one build of a library wherever it lies.
using RuntimeExports = std::map<std::string, Exports>;

/// Those of the fleet's `runtime` that are kept in `folder`.
RuntimeExports kept_exports(const Fleet& fleet, const std::filesystem::path& folder);

/// Adds those that are lacking: each is asked for once, of the first host that has it, and kept.
/// About 10 MB and 0.3 s of a host's CPU for one PyTorch.
void fetch_exports(const Fleet& fleet, const Inventory& inventory, Transport& transport,
                   const std::filesystem::path& folder, RuntimeExports& exports);

/// Replay and record (--facts, --save-facts): {"schema":"ds-deploy.facts/1","hosts":[...]}.
std::string facts_to_json(const Fleet& fleet);
Fleet facts_from_json(const std::string& text, const std::string& file);  ///< InputError

/// What the probe printed, framed by `nonce`, as facts. Hostile text in, clean values out; an
/// answer that is cut or malformed gives state `failed` with the reason.
HostFacts parse_probe_answer(const std::string& out, const std::string& nonce);

}  // namespace ds
