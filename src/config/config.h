// SPDX-License-Identifier: Apache-2.0
//
// Reads our YAML files: op manifests (op.yaml, see ds-deploy-op(5)), policies of a rollout
// (ds-deploy-policy(5)) and the catalog.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ds {

/// One op, as its manifest says. Paths are as written: relative to the op's folder.
struct Op {
  enum class Kind { cpu, cuda };
  std::string name;
  std::string summary;
  Kind kind = Kind::cpu;
  std::string build_variable;  ///< DS_BUILD_...
  std::vector<std::string> sources;
  std::vector<std::string> include;
  std::vector<std::string> flags;       ///< for the C++ compiler
  std::vector<std::string> nvcc_flags;  ///< for nvcc
  std::vector<std::string> link_flags;
  std::vector<std::string> libraries;      ///< -l names
  std::string minimum_compute_capability;  ///< "7.0"; empty for cpu ops
  bool links_torch = false;
  std::vector<std::string> host_needs;    ///< sonames that must be on a host
  std::string self_test;                  ///< "module:function"
  std::int64_t self_test_gpu_memory = 0;  ///< MiB that it takes, with its CUDA context; 0: not said
  std::filesystem::path folder;           ///< absolute
  bool operator==(const Op&) const = default;
};

/// The op library: every folder of `root` that holds an op.yaml, sorted by name.
struct OpLibrary {
  std::filesystem::path root;  ///< absolute
  std::string version;         ///< root/VERSION
  std::string source_digest;   ///< sha256 over paths and contents of all files below root but tests
  std::vector<std::filesystem::path>
      files;           ///< what source_digest covers, relative to root, sorted
  std::string commit;  ///< filled in by the caller: git commit, or empty
  bool dirty = false;  ///< filled in by the caller: files differ from the commit
  std::vector<Op> ops;
};

/// Reads one manifest. Every problem of the file is in the InputError (unknown keys, wrong types,
/// missing keys, sources that do not exist), with line and column.
Op parse_op(const std::string& text, const std::filesystem::path& file);

/// Reads a whole library. InputError with the problems of all manifests, Error (usage) if there is
/// no op or no VERSION.
OpLibrary load_ops(const std::filesystem::path& root);

/// How a rollout proceeds. Without a file it is what `Policy{}` says.
struct Policy {
  enum class Strategy { all_at_once, rolling, canary };
  /// `stop_class`: as stop, but where all that failed are of one class (HostClass) others go on.
  enum class OnFailure { roll_back_all, stop, stop_class };
  /// A number of hosts, or a percentage of the hosts that the run targets.
  struct Share {
    int number = 0;
    bool percent = false;
    bool operator==(const Share&) const = default;
  };
  /// What becomes of hosts that the run would rather do without.
  struct Treatment {
    enum class What { stop, leave_out, proceed };
    What what = What::stop;
    Share most{100, true};         ///< of leave_out: more of them stop the run
    std::chrono::seconds wait{0};  ///< first, whether they are otherwise by then
    bool operator==(const Treatment&) const = default;
  };
  /// For one attempt on one host.
  struct TimeLimits {
    std::chrono::seconds stage{1800}, verify{1800}, activate{60}, confirm{300};
    bool operator==(const TimeLimits&) const = default;
  };
  /// A command of the user's, for a host or for the run.
  struct Hook {
    std::string command = {};  ///< for /bin/sh -c; empty: none
    bool on_coordinator = false;
    std::chrono::seconds time_limit{60};
    bool operator==(const Hook&) const = default;
  };
  /// Hosts pass wheels on to each other: never, where it is faster, wherever two lack the same.
  enum class Relay { off, automatic, on };
  struct Hooks {
    Hook run_start{.on_coordinator = true}, run_end{.on_coordinator = true};
    Hook drain{.time_limit = std::chrono::hours(4)};  ///< the scheduler takes the host out of work
    Hook undrain;                                     ///< and brings it back
    Hook before_host, after_host;
    bool takes_drained = false;  ///< also hosts that somebody else drained; they stay drained
    bool operator==(const Hooks&) const = default;
  };
  Strategy strategy = Strategy::all_at_once;
  Share max_in_flight{100, true};    ///< of all but all-at-once
  Share max_unavailable{100, true};  ///< likewise
  /// Of a canary: so many hosts each, one wave after the other, the last of them again and again.
  std::vector<Share> waves{{1, false}, {5, true}, {25, true}, {100, true}};
  std::chrono::seconds bake{0};  ///< the first wave is watched so long before the others follow
  bool prove_rollback = false;   ///< the first wave goes forward, back and forward
  Share max_failures;
  Share shared_failures;  ///< hosts of one shared environment that may fail to confirm it
  std::chrono::seconds shared_wait{60};  ///< until a host sees what another one wrote
  OnFailure on_failure = OnFailure::roll_back_all;
  Treatment unreachable;                             ///< gives no answer, or refuses the login
  Treatment incompatible;                            ///< the audit refuses it
  Treatment busy{.what = Treatment::What::proceed};  ///< a job has it, see UseFacts
  Treatment without_dead_man;                        ///< it could not go back by itself
  bool accept_left_out = false;  ///< hosts that were left out count for no exit status
  Relay relay = Relay::automatic;
  std::string relay_net;  ///< "10.1.0.0/16": by addresses in it alone; empty: by any
  int retries = 1;        ///< attempts after the first
  TimeLimits time_limits;
  std::chrono::seconds confirm_timeout{630};  ///< from the wave's activation on
  Hook health;                                ///< within the time limit of confirm
  Hooks hooks;
  std::string text;  ///< that it was read from; empty: none
  bool operator==(const Policy&) const = default;

  // What the shares are of so many targeted hosts. Percentages are rounded down, so that none is
  // ever exceeded, but to no less than 1 where 0 would let nothing proceed.
  std::size_t most_in_flight(std::size_t hosts) const;    ///< 1 or more
  std::size_t most_unavailable(std::size_t hosts) const;  ///< 1 or more
  std::size_t most_failures(std::size_t hosts) const;
  std::size_t most_shared_failures(std::size_t hosts) const;     ///< of those of the environment
  std::vector<std::size_t> wave_sizes(std::size_t hosts) const;  ///< each 1 or more
  std::size_t most_left_out(const Treatment& treatment, std::size_t hosts) const;
};

/// A key of a policy that says how hosts of one kind are treated; so does the flag of its name.
struct TreatmentKey {
  std::string name;  ///< "unreachable"
  Policy::Treatment Policy::*place;
  bool may_wait, may_proceed;
  std::string summary;  ///< one line of help

  std::string flag() const;  ///< "--without-dead-man"
};
const std::vector<TreatmentKey>& treatment_keys();

/// "stop", "leave-out", "leave-out=5%", "wait=30m", "wait=30m,leave-out=5%", "proceed"; nothing: it
/// is none of those that the key takes, which treatment_forms() names.
std::optional<Policy::Treatment> parse_treatment(const TreatmentKey& key, std::string_view text);
std::string treatment_forms(const TreatmentKey& key);
/// What the flag says in place of what the policy says. UsageError for what it cannot be.
void apply_treatment(Policy& policy, const TreatmentKey& key, const std::string& text);

/// "90", "90s", "5m", "1h": 1 s to 24 h.
std::optional<std::chrono::seconds> parse_duration(std::string_view text);

/// InputError with every problem of the file: unknown keys, wrong values, contradictions.
Policy read_policy(const std::string& text, const std::string& file);

/// What is known of CUDA toolkits, NVIDIA drivers and GPUs: deploy/catalog.yaml, which names the
/// sources. What it does not know gives an empty answer, never a guess.
struct Catalog {
  struct Toolkit {
    std::string cuda;        ///< "13.0"
    std::string ptx_isa;     ///< what its compilers write at most: "9.0"; empty: of the one before
    std::string driver;      ///< that came with it; empty: not known
    int gcc = 0, clang = 0;  ///< newest major versions that its nvcc takes; 0: not known
    bool operator==(const Toolkit&) const = default;
  };
  struct Major {
    std::string cuda, driver;  ///< "12": machine code of its toolkits runs from this driver on
    std::string zstd_driver;   ///< where zstd images need a newer one
    bool operator==(const Major&) const = default;
  };
  struct Gpu {
    std::string capability;     ///< "9.0"
    std::string first, last;    ///< toolkits that compile for it; last may be empty: all newer ones
    std::string exact, family;  ///< first ones that know its 'a' and 'f' forms; empty: none
    std::vector<std::string> kin;  ///< capabilities that run its family code too
    bool integrated = false;  ///< it runs machine code for itself alone, and others run none of its
    std::vector<std::string> models;
    bool operator==(const Gpu&) const = default;
  };
  struct Xid {
    int number = 0;
    std::string meaning;  ///< "it has fallen off the bus"
    bool operator==(const Xid&) const = default;
  };
  struct Package {
    std::string library;               ///< "libaio.so.1"
    std::vector<std::string> systems;  ///< beginnings of os-release's PRETTY_NAME
    std::string get;                   ///< "apt-get install libaio1"
    bool operator==(const Package&) const = default;
  };
  std::string date;
  std::vector<Toolkit> toolkits;  ///< oldest first
  std::vector<Major> majors;
  std::vector<Gpu> gpus;
  std::vector<Xid> xids;                         ///< errors that tell of a GPU's hardware
  std::vector<Package> packages;                 ///< the first that fits counts
  int shared_memory_mib = 0, clock_seconds = 0;  ///< floors; 0: none
  bool operator==(const Catalog&) const = default;

  const Toolkit* toolkit(const std::string& cuda) const;  ///< nullptr: not known
  const Major* major_of(const std::string& cuda) const;   ///< of "12.4"
  const Gpu* gpu(const std::string& capability) const;
  std::string toolkit_of_ptx(const std::string& isa) const;  ///< "9.0" -> "13.0"
  /// The CUDA version that this driver brings: that of the newest toolkit whose own driver is not
  /// above it; empty: none is.
  std::string cuda_of_driver(const std::string& driver) const;
  /// What installs this library ("libaio.so.1") on that system ("Debian GNU/Linux 12 (bookworm)");
  /// empty: not known.
  std::string how_to_get(const std::string& library, const std::string& system) const;
};

/// InputError with every problem of the file.
Catalog read_catalog(const std::string& text, const std::string& file);

/// The one that came along.
const Catalog& builtin_catalog();

}  // namespace ds
