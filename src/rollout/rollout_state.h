// SPDX-License-Identifier: Apache-2.0
//
// What a rollout knows of each host while it runs, and how one phase is done on many of them.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "rollout/host_program.h"
#include "rollout/participation.h"
#include "rollout/rollout.h"

namespace ds {

class Records;
struct PhaseDescription;

struct RolloutHost {
  const Host* host = nullptr;
  const ReleaseSet* set = nullptr;
  const HostFacts* facts = nullptr;
  HostOutcome outcome;
  std::string python;
  bool takes_part = false;                 ///< false: another name for a host that does, or it has
                                           ///< nothing of what is to be removed
  RolloutHost* writer = nullptr;           ///< of the environment that it shares; nullptr: itself
  std::vector<RolloutHost*> readers = {};  ///< hosts that have the environment which it writes
  std::string unconfirmed;                 ///< why it did not confirm what stays there all the same
  bool good = true;                        ///< nothing went wrong so far
  bool culprit = false;                    ///< something did, and others go back because of it
  bool changed = false;                    ///< a phase wrote something
  bool activated = false;                  ///< the pointer was moved by this run, or may have been
  bool confirmed = false;                  ///< a fresh interpreter was asked and said yes
  bool spares_gpus = false;         ///< somebody uses its GPUs, or may: confirm leaves them alone
  bool owes_proof = false;          ///< of what is active there, self-tests that need a GPU
  bool outlives = false;            ///< a process there outlives its session: the dead-man's switch
  std::vector<std::string> active;  ///< what its pointer says, as far as it is known
  std::vector<std::string> wanted;  ///< what it is to say: the releases of the set, sha256
  std::vector<std::string> previous;  ///< what it said before
  std::set<std::string> held;         ///< sealed releases, sha256
  std::set<std::string> damaged;      ///< those that verify found damaged and that can be replaced
  std::vector<std::string> lacking;   ///< Python packages that pip has to bring: "einops>=0.6"
  std::string remark;                 ///< worth knowing of one where all is well
  std::string owner_group;            ///< RolloutOptions::owner_group, goes with each request
  bool drained = false;       ///< this run, or `drained_by`, took it out of a scheduler's work
  bool prepared = false;      ///< all that comes before it changes was done
  bool given_back = false;    ///< what comes after was begun
  std::string drained_by;     ///< the run
  std::string drain_before;   ///< what the scheduler said of it then
  std::string stays_drained;  ///< why; empty: it does not
  std::string trial;          ///< the activation that is not decided; empty: none

  /// lock_phase(), which its program is asked first; nullptr: this run takes no lock.
  const PhaseDescription* lock = nullptr;
  std::unique_ptr<HostProgram> program;
  std::string run;              ///< of whoever holds the lock
  std::int64_t epoch = 0;       ///< goes with each request; 0: none was taken
  std::int64_t seen_epoch = 0;  ///< the highest that the host has seen
};

/// Between why a host had to go back and why it could not.
inline constexpr const char* going_back_failed = "; going back failed: ";

/// One remote command of a phase: the request for its script.
struct PhaseCommand {
  nlohmann::json request;
  std::filesystem::path file = {};  ///< sent after the request
  std::uint64_t offset = 0;         ///< where in the file to begin
  SharedText more = nullptr;        ///< a JSON object that the request has besides, for many hosts
  std::chrono::milliseconds more_time = {};  ///< than the phase's time limit
};

struct PhaseDescription {
  std::string name;  ///< stage, verify, requirements, activate, confirm, rollback, send, install
  std::string done_word;    ///< "staged"; empty: nothing is told of a host that is well
  std::string script = {};  ///< of templates/, behind layout.py and durable.py; empty: confirm.py
                            ///< for confirm, else host.py
  std::function<PhaseCommand(const RolloutHost&)> command;
  std::function<void(RolloutHost&, const nlohmann::json& answer)> accept;  ///< yes or no
  /// Takes an answer that is no; true: a later step mends it, so that the host stays good.
  std::function<bool(RolloutHost&, const nlohmann::json& answer)> forgive = {};
  std::chrono::milliseconds time_limit = std::chrono::minutes(30);
  /// From activate on: a host that gives no answer is at the one release or at the other.
  bool moves_pointer = false;
  bool fresh = false;  ///< over a connection of its own
  /// What hosts run for it, each text made once.
  mutable std::map<std::vector<std::string>, SharedText> programs = {};
  std::size_t most_output = 1u << 20;  ///< bytes that a command of its own may say
  bool without_lock = false;           ///< also where the host's program, and so its lock, is gone
};

/// A text that many hosts get.
SharedText shared_text(const nlohmann::json& value);

/// By set: what all its hosts are told.
using SetTexts = std::map<const ReleaseSet*, SharedText>;
/// {"manifests": [of each of its wheels]}
SetTexts manifest_texts(const std::vector<ReleaseSet>& sets);

/// manifest_json(), as a value.
nlohmann::json manifest_of(const Wheel& wheel);

/// A host that is asked one thing, outside of a rollout.
RolloutHost host_to_ask(const Host& host, const ProbeOptions& probe);
/// Asks those of the inventory that are `meant` so, at once; how each did, in the inventory's
/// order.
std::deque<RolloutHost> ask_each(const PhaseDescription& phase, const Inventory& inventory,
                                 const ProbeOptions& probe,
                                 const std::function<bool(const Host&)>& meant,
                                 Transport& transport, Status& status);

/// {"schema":"ds-deploy.release/1",...}
nlohmann::json release_record(const Parcel& parcel);

/// Brings the parcel `at` of its set to each of `hosts`: asks what of the wheel it lacks, then
/// sends that, from where an interrupted run ended. `again`: in place of the release that is there.
void stage_parcel(std::size_t at, bool again, const std::vector<RolloutHost*>& hosts,
                  const RolloutOptions& options, Transport& transport, Status& status);
PhaseDescription verify_phase(const std::vector<ReleaseSet>& sets, const Policy& policy,
                              bool forgiving);
/// Each release that a host is to get against its own seal.
PhaseDescription verify_sealed_phase(const Policy& policy);
/// Removes what is old and needed by nobody.
PhaseDescription clean_phase(const RolloutOptions& options);
/// pip of each host installs what the host lacks, from `mirror` if it is not empty; torch and what
/// it stands on keep their versions.
PhaseDescription requirements_phase(const std::string& mirror);
/// The environment is this run's alone while the host's program lives; it says what it holds.
PhaseDescription lock_phase(const RolloutOptions& options, Status& status);
/// Finishes the rollback of an activation that an earlier run left undecided.
PhaseDescription recover_phase();
/// Two connections: the first starts a process, the second finds it there or not (`outlives`).
PhaseDescription show_outliving_phase(const std::string& run);
PhaseDescription is_outlived_phase(const std::string& run);
/// Moves the pointer. A host that `outlives` goes back by itself unless keep_phase() comes within
/// the policy's confirm_timeout; each of them decides alone which was first.
PhaseDescription activate_phase(const RolloutOptions& options);
/// `by_pip`: what pip installed is to be found, and no release.
PhaseDescription confirm_phase(const std::vector<ReleaseSet>& sets, const Policy& policy,
                               bool by_pip = false);
PhaseDescription keep_phase(const std::string& run);
/// Of these releases; none: of all that is ours, where nothing is active.
PhaseDescription remove_phase(const std::vector<std::string>& releases,
                              const RolloutOptions& options);
/// Which of `hosts` have nothing of ours, and which would not part with all of it: those have
/// failed. Changes nothing there.
void look_at_all(const std::vector<RolloutHost*>& hosts, const RolloutOptions& options,
                 Transport& transport, Status& status);
PhaseDescription rollback_phase(const std::string& run, const std::string& because);

/// The set that `host` gets; nullptr if none is for it.
const ReleaseSet* set_of(const std::vector<ReleaseSet>& sets, const std::string& host);
std::vector<std::string> wanted_releases(const ReleaseSet* set);

/// The policy's own question to a host, there or here; one that is not healthy has failed.
void ask_health(RolloutHost& host, const RolloutOptions& options, Transport& transport,
                std::function<void()> done);

/// Drains the host and does what comes before it changes; notes the drain before it begins. One
/// that cannot change has a state, a step and a message.
enum class Prepared { yes, left_alone, failed };
void prepare_host(RolloutHost& host, const RolloutOptions& options, Records& records,
                  Transport& transport, std::function<void(Prepared)> done);
/// Does what comes after it changed, and undrains it.
void give_host_back(RolloutHost& host, const RolloutOptions& options, Records& records,
                    Transport& transport, std::function<void()> done);
/// The same of all hosts of an environment at once; what hinders one hinders their writer.
void prepare_unit(RolloutHost& writer, const RolloutOptions& options, Records& records,
                  Transport& transport, std::function<void(Prepared)> done);
void give_unit_back(RolloutHost& writer, const RolloutOptions& options, Records& records,
                    Transport& transport, std::function<void()> done);
/// A hook of the whole run; why it failed, or empty.
std::string run_hook_of_run(const Policy::Hook& hook, const std::string& phase,
                            const RolloutOptions& options, Transport& transport);
/// What has to be done however a run ended: hosts that are drained yet come back or are owed it;
/// where it `began`, run_end.
void end_hooks(std::vector<RolloutHost>& hosts, bool began, const RolloutOptions& options,
               Records& records, Transport& transport, Status& status);

/// One of its wheels has code for GPUs.
bool is_for_gpus(const ReleaseSet& set);

/// nullptr if the host was not audited.
const HostAudit* audit_of(const AuditReport& audit, const std::string& host);

/// What facts and audit say of a host before anything is sent.
HostOutcome judge(const HostFacts& facts, const HostAudit* audit,
                  const std::vector<std::string>& wanted);

/// The hosts of a run, as facts and audit know them. Error where one has no facts, or no set.
std::vector<RolloutHost> admit_hosts(const Inventory& inventory, const Fleet& fleet,
                                     const AuditReport& audit, const std::vector<ReleaseSet>& sets,
                                     const RolloutOptions& options);

std::vector<Candidate> candidates(std::vector<RolloutHost>& hosts);
/// hold_busy_back() of hosts where something is to change.
void hold_busy_back(const std::vector<RolloutHost*>& moving, const Policy& policy);
/// leave_out() of them; what one of a run with this goal owes then.
std::string leave_out(std::vector<RolloutHost>& hosts, const RolloutOptions& options);
/// Why nobody may begin: hosts that cannot take part, and that the policy does not leave out.
std::string why_none_begins(std::vector<RolloutHost>& hosts, const RolloutOptions& options);

/// Something is wrong of it, and the policy does not pass it over.
bool has_failed(const RolloutHost& host);

/// Those that take part and of which nothing is wrong.
std::vector<RolloutHost*> good_hosts(std::vector<RolloutHost>& hosts);
/// Of these the ones that write their environment.
std::vector<RolloutHost*> good_writers(std::vector<RolloutHost>& hosts);
/// More than the policy lets fail in a run.
bool too_many_failed(const std::vector<RolloutHost>& hosts, const Policy& policy);
/// Of one set.
std::size_t most_parcels(const std::vector<ReleaseSet>& sets);

/// "n2", "n2, n3 and 5 more"
std::string who_failed(const std::vector<RolloutHost>& hosts);

/// Once, however often it is told.
void add_remark(RolloutHost& host, const std::string& text);

/// It is not at the releases that it is to get.
bool moves(const RolloutHost& host);

/// What a host that nothing was done to says is active, and its state by that.
void set_active(RolloutHost& host, std::vector<std::string> active);

/// All releases that it is to get are sealed there.
bool holds_all(const RolloutHost& host);

/// Nobody knows what is there.
bool is_lost(HostState state);

/// Release names of a host's answer; json::exception if they are none.
std::vector<std::string> releases_of(const nlohmann::json& answer, const char* key);

/// Another name of the same machine and environment has the outcome of the first one.
void share_outcomes(std::vector<RolloutHost>& hosts, const AuditReport& audit);

/// Starts one host's command of the phase, which must outlive it; `done` gets the word for the line
/// of progress. A host whose answer is no, cut or late gets good = false, a state, a step and a
/// message.
void ask_host(const PhaseDescription& phase, RolloutHost& host, Transport& transport,
              std::function<void(const std::string& word)> done);

/// All of them or none: false where another run holds one, and then nothing may begin. From
/// then on each request to these hosts goes to the process that holds the lock, `lock` outlives it,
/// and has the epoch that follows the highest of theirs. UsageError where this process may not open
/// that many connections.
bool take_locks(const PhaseDescription& lock, const std::vector<RolloutHost*>& hosts,
                Records& records, Transport& transport, Status& status);
/// Ends their programs. Throws nothing.
void give_locks_back(const std::vector<RolloutHost*>& hosts, Transport& transport);

/// After run() threw: no answer is taken any more.
void forget_answers(const std::vector<RolloutHost*>& hosts);

/// Does the phase on `hosts` at once.
void run_phase(const PhaseDescription& phase, const std::vector<RolloutHost*>& hosts,
               Transport& transport, Status& status);

/// A step that may be repeated: up to `retries` times more for those that were cut or ran out of
/// time, which have the state `again` then.
void with_retries(std::vector<RolloutHost*> hosts, int retries, HostState again,
                  const std::function<void(const std::vector<RolloutHost*>&)>& step);

}  // namespace ds
