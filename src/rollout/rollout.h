// SPDX-License-Identifier: Apache-2.0
//
// Brings wheels to every host, to each its own: stage everywhere, verify everywhere, then activate
// everywhere, then confirm everywhere. What runs on the hosts is templates/host.py, under the
// host's own interpreter; see ARCHITECTURE.md, "On a host".
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "audit/audit.h"
#include "base/error.h"
#include "config/config.h"
#include "facts/facts.h"
#include "inventory/inventory.h"
#include "journal/journal.h"
#include "transport/transport.h"
#include "ui/ui.h"
#include "wheel/wheel.h"

namespace ds {

enum class HostState {
  ready,
  staged,
  active,
  confirmed,
  unchanged,
  refused,
  unreachable,
  failed,
  rolled_back,
  skipped,
  removed,
  unknown,
};
std::string to_string(HostState state);  ///< as in the report: "rolled-back"

/// Of one that passed, as it was measured on the host.
struct SelfTestFigure {
  double seconds = 0;
  double gb_per_s = 0;  ///< 0: it tells none
  bool operator==(const SelfTestFigure&) const = default;
};

struct HostOutcome {
  std::string host;
  HostState state = HostState::skipped;
  std::string step;               ///< connect, facts, audit, busy, lock, recover, dead-man, stage,
                                  ///< verify, requirements, activate, see, confirm, keep,
                                  ///< rollback, remove; by pip also check, send, install
  std::string message;            ///< clean, one line
  bool key_refused = false;       ///< the host key was refused: exit 8
  bool lock_held = false;         ///< another run holds its lock, or came after this one: exit 7
  bool checksum_refused = false;  ///< what arrived or lies there is not what was sent: exit 8
  bool left_out = false;          ///< the policy lets the run go on without it
  std::vector<std::string> owed;  ///< what it did not get: owed_release, owed_proof, owed_undrain
  std::string writer;   ///< the host that writes the environment, which this one only reads
  std::string release;  ///< what is active at the end, as far as it is known; sha256, several: "+"
  std::vector<std::string> self_tests;  ///< "cpu_adam: passed", "fused_adam: cannot run here: ..."
  std::map<std::string, SelfTestFigure> self_test_figures;  ///< by op
  std::uint64_t sent_bytes = 0;                             ///< of wheels, as they travelled
  std::map<std::string, std::uint64_t> got_from;  ///< bytes of wheels, by the host that gave them
  std::map<std::string, double> seconds;          ///< by step
};

inline constexpr const char* owed_release = "release";
/// Self-tests that need a GPU, which somebody used.
inline constexpr const char* owed_proof = "gpu-proof";

/// It is still out of a scheduler's work.
inline constexpr const char* owed_undrain = "undrain";

/// What keeps a host from taking part, by the policy's key that says what happens then:
/// "unreachable", "incompatible", "busy", "without_dead_man"; empty: nothing, or what no policy
/// passes over.
std::string hindrance_of(const HostOutcome& host);

/// An op that DeepSpeed loads by a builder of its own.
struct DeepSpeedOp {
  std::string name;
  std::string builder;  ///< class in deepspeed.ops.op_builder
  std::string module;   ///< that the builder imports
};

/// A wheel that goes out, and the self-tests to run once it is active ("module:function" by op).
struct Parcel {
  const Wheel* wheel = nullptr;
  std::map<std::string, std::string> self_tests;
  std::vector<std::string> imports;         ///< modules that must import, in this order
  std::vector<DeepSpeedOp> deepspeed = {};  ///< of a DeepSpeed wheel: loaded and called
  // Kept beside the release on every host, for whoever goes back to it.
  std::string ops = {};    ///< the op record in the wheel, as it stands there; empty: it has none
  std::string needs = {};  ///< requirements_json() of the wheel
  bool for_gpus = false;   ///< it has code for GPUs
  /// MiB that self-tests take, as far as it is said.
  std::map<std::string, std::int64_t> gpu_memory = {};
};

/// The wheels that belong together on a host, and the hosts that get them.
struct ReleaseSet {
  std::vector<Parcel> parcels;
  std::vector<std::string> hosts;  ///< names; empty: every host that no other set names
};

/// sha256 of the releases that `host` gets.
std::vector<std::string> wanted_on(const std::vector<ReleaseSet>& sets, const std::string& host);

/// What hosts took, in an earlier run or in this one.
struct MoveTimes {
  double typical = 0;  ///< median of the seconds from activate to keep
  double longest = 0;  ///< of these; 0: not known
  double staging = 0;  ///< the longest of what came before activate, per host; 0: not known
  std::string run;     ///< whose they are
};

/// Those of hosts that were activated and confirmed.
MoveTimes times_of(const std::vector<std::map<std::string, double>>& seconds_by_step);

struct RolloutOptions {
  /// `rolled_back`: confirmed at a release of before. `proven`: confirmed at what is active, with
  /// the self-tests that need a GPU. `removed`: confirmed without a release, then nothing of ours
  /// is left; hosts that would refuse are not touched, and stop nobody.
  enum class Goal { confirmed, staged, rolled_back, proven, removed };
  Goal goal = Goal::confirmed;
  bool sealed_there = false;           ///< hosts hold their releases; nothing is sent
  std::string run;                     ///< id of this run, [A-Za-z0-9-]
  ProbeOptions probe;                  ///< which interpreter is meant on each host
  std::uint64_t bytes_per_second = 0;  ///< that a host may pass on, as what leaves here; 0: any
  std::string pip_mirror;  ///< package index for what the audit says is to be installed; or empty
  std::filesystem::path scratch;  ///< folder with room for what is sent; empty: the temporary one
  Policy policy;
  MoveTimes times;  ///< of an earlier run
  /// No wave is begun that would end later.
  std::optional<std::chrono::system_clock::time_point> until;
  std::string user, machine;     ///< who runs it and from where, for whoever finds a host locked
  std::string command, message;  ///< what is called, and why, for the hosts\' histories
  std::size_t keep = 3;          ///< releases that stay on a host beside those that are active
  /// On a shared file system those stay that were active in so many days; nothing: all do.
  std::optional<int> keep_days;
  std::string owner_group;           ///< whose members own what is written; empty: as it was
  std::set<std::string> unproven;    ///< hosts that owe a proof from an earlier run
  std::set<std::string> unserved;    ///< hosts that an earlier run owes its release
  std::vector<DrainRecord> drained;  ///< by earlier runs, and not brought back
  bool pays = false;                 ///< what earlier runs owe is what this one brings
  bool also_shared = false;          ///< remove what other machines may use
  bool break_lock = false;     ///< take also a lock of which nobody can tell whether its run lives
  Journal* journal = nullptr;  ///< that has this run and its hosts; nullptr: none is kept
};

struct RolloutResult {
  std::vector<HostOutcome> hosts;  ///< in the inventory's order
  bool interrupted = false;        ///< every host is at a complete release all the same
  std::optional<Error> stopped;    ///< the run could not go on; hosts are as they say
};

/// One host that the audit did not find ready stops everything before the first byte is sent; one
/// that cannot stage or verify stops activation everywhere; one that cannot confirm brings every
/// host back to what it had, and so do an interrupt and an Error that come after activation began.
/// Once all are confirmed they are told to keep it; one that is not told in time goes back.
RolloutResult roll_out(const Inventory& inventory, const Fleet& fleet, const AuditReport& audit,
                       const std::vector<ReleaseSet>& sets, const RolloutOptions& options,
                       Transport& transport, Status& status);

/// The same by the pip of each environment: sent and checked everywhere, then installed everywhere,
/// then every file read back, then confirmed. No release is made, and nobody goes back.
RolloutResult install_by_pip(const Inventory& inventory, const Fleet& fleet,
                             const AuditReport& audit, const std::vector<ReleaseSet>& sets,
                             const RolloutOptions& options, Transport& transport, Status& status);

/// Takes releases that are named and that nobody uses off hosts.
RolloutResult remove_releases(const Inventory& inventory, const Fleet& fleet,
                              const AuditReport& audit, const std::vector<std::string>& releases,
                              const RolloutOptions& options, Transport& transport, Status& status);

/// What that would do, as far as the facts tell: `ready`, `unchanged`, `failed`.
std::vector<HostOutcome> predict_removal(const Fleet& fleet, const AuditReport& audit,
                                         const std::vector<std::string>& releases);

/// What a run whose goal is `removed` would do; hosts are asked.
std::vector<HostOutcome> predict_leaving(const Inventory& inventory, const Fleet& fleet,
                                         const AuditReport& audit,
                                         const std::vector<ReleaseSet>& sets,
                                         const RolloutOptions& options, Transport& transport,
                                         Status& status);

/// What a run would do with hosts that are ready: see predict().
struct RolloutPlan {
  struct Change {
    std::vector<std::string> from, to;  ///< releases, sha256
    std::vector<std::string> hosts;
  };
  struct Wave {
    std::string name;  ///< "canary", "wave 2", "4 at a time", "all at once"
    std::vector<std::string> hosts;
    double seconds = 0;  ///< predicted; 0: not known
  };
  std::vector<Change> changes;
  std::vector<Wave> waves;
  std::uint64_t bytes = 0;  ///< of wheels, that are sent at most
  double seconds = 0;       ///< of all of it; 0: not known
  std::string times_of;     ///< the run by which the seconds are predicted
  std::size_t hosts() const;
};
RolloutPlan plan_rollout(const Fleet& fleet, const std::vector<HostOutcome>& predicted,
                         const std::vector<ReleaseSet>& sets, const RolloutOptions& options);

struct Prediction {
  std::vector<HostOutcome> hosts;
  std::string stopped;  ///< why the policy would let no host begin; empty: it would
};

/// What facts, audit and policy alone decide, for a dry run: `ready`, `refused`, `unreachable`,
/// `unchanged`, `skipped`. Without parcels (the wheel is not built yet) no host is unchanged.
Prediction predict(const Fleet& fleet, const AuditReport& audit,
                   const std::vector<ReleaseSet>& sets, const Policy& policy = {});

/// Reads every file of the active releases on each host and fills in `installed.checked`; a host
/// that gives no answer keeps none, and a note says why. Changes nothing there.
void check_releases(const Inventory& inventory, const ProbeOptions& probe, Fleet& fleet,
                    Transport& transport, Status& status);

/// What was noted of a release when it was staged; hostile text, but for sha256.
struct ReleaseRecord {
  std::string sha256;
  std::string name, version, file;  ///< of the wheel; empty: nothing was noted
  std::uint64_t bytes = 0;          ///< likewise
  std::string ops, needs;           ///< as in Parcel
  bool operator==(const ReleaseRecord&) const = default;
  auto operator<=>(const ReleaseRecord&) const = default;
};
using HostReleases = std::map<std::string, std::vector<std::string>>;    ///< by host: sha256
using HeldReleases = std::map<std::string, std::vector<ReleaseRecord>>;  ///< by host

/// Of the releases of each host in `releases`; a host that does not answer is not in it.
HeldReleases read_release_records(const Inventory& inventory, const ProbeOptions& probe,
                                  const HostReleases& releases, Transport& transport,
                                  Status& status);

struct PinnedHost {
  std::string host;
  std::string problem;     ///< why it keeps nothing; empty: it does
  std::int64_t until = 0;  ///< by its clock, seconds since 1970
};

/// Each of these hosts keeps these releases for so many days more, whatever is activated meanwhile.
std::vector<PinnedHost> pin_releases(const Inventory& inventory, const ProbeOptions& probe,
                                     const HostReleases& releases, int days, Transport& transport,
                                     Status& status);

/// A line of a host's history; hostile text, cleaned.
struct HistoryEntry {
  std::int64_t at = 0;  ///< by the host's clock, seconds since 1970
  std::string run;
  std::string event;  ///< activated, confirmed, rolled-back
  std::vector<std::string> from,
      to;  ///< release sets, sha256; empty: what pip installed, or nothing
  std::string because;
  std::string user, machine, command, message;  ///< of the coordinator
  std::string login, sudo_user;                 ///< on the host
  bool operator==(const HistoryEntry&) const = default;
};
using HostHistories = std::map<std::string, std::vector<HistoryEntry>>;  ///< by host

/// The newest `most` of each host's, the oldest of them first; a host that does not answer is not
/// in it.
HostHistories read_histories(const Inventory& inventory, const ProbeOptions& probe,
                             const Fleet& fleet, std::size_t most, Transport& transport,
                             Status& status);

/// The manifest that is sent over SSH: path, size, mode, SHA-256 of each file, bound to the
/// wheel's SHA-256. {"schema":"ds-deploy.manifest/1",...}
std::string manifest_json(const Wheel& wheel);

}  // namespace ds
