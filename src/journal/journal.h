// SPDX-License-Identifier: Apache-2.0
//
// What the coordinator did, on disk before it does it: runs, the hosts of each, every change of a
// host's state, every decision. One SQLite file, ds-deploy-journal(5). The truth is on the hosts:
// a journal that is lost costs history, never a host.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace ds {

class Database;

/// A process, so that it can be told from another one of the same number.
struct ProcessRecord {
  std::int64_t pid = 0;
  std::int64_t started = 0;  ///< clock ticks since boot, proc_pid_stat(5); 0: unknown
  std::string boot;          ///< boot id of the machine; empty: unknown
  bool operator==(const ProcessRecord&) const = default;
};
ProcessRecord this_process();

struct RunRecord {
  std::string id;
  std::string command;             ///< "deploy"
  std::vector<std::string> words;  ///< the command line as it was given
  std::string folder;              ///< where it was given
  std::string user;                ///< who gave it
  std::string machine;             ///< the coordinator's name
  ProcessRecord process;
  std::string version;                ///< of ds-deploy
  std::int64_t began = 0;             ///< seconds since 1970, UTC
  std::optional<std::int64_t> ended;  ///< likewise; nothing: it goes on, or died
  int exit_status = 0;                ///< once it ended
  std::int64_t epoch = 0;             ///< 0: none taken
  std::string resumes;                ///< id of a run; empty: none
  bool operator==(const RunRecord&) const = default;
};

/// `unknown`: it ran on another machine, or this one does not tell.
enum class RunLife { ended, runs, died, unknown };
RunLife life_of(const RunRecord& run);

/// What a run works by and what came of it, whole.
enum class RunText {
  policy,     ///< as it was read
  inventory,  ///< likewise
  audit,      ///< JSON
  report,     ///< JSON
  facts,      ///< JSON: what the hosts were, and how its wheels were built
};
std::string to_string(RunText which);  ///< "policy"

struct ArtifactRecord {
  std::string sha256;
  std::string name;  ///< of the file
  std::string path;  ///< absolute, on the coordinator
  std::int64_t bytes = 0;
  bool operator==(const ArtifactRecord&) const = default;
};

struct HostRecord {
  std::string name;
  std::vector<std::string> wanted;  ///< release set, sha256
  std::vector<std::string> before;  ///< what was active; empty: nothing of ours
  // Of its last transition; readers fill these in.
  std::string state;  ///< empty: none was announced
  std::string step, message;
  std::int64_t time_ms = 0;
  std::string environment = {};  ///< its interpreter, as it was asked for
  bool operator==(const HostRecord&) const = default;
};

struct TransitionRecord {
  std::string host;
  std::string from, to;  ///< states
  std::string step, message;
  // The journal fills these in.
  std::int64_t sequence = 0;  ///< counts the transitions and decisions of a run, from 1
  std::int64_t time_ms = 0;   ///< milliseconds since 1970, UTC
  bool operator==(const TransitionRecord&) const = default;
};

struct DecisionRecord {
  std::string what;  ///< "confirm", "roll-back"; of debts "leave-out", "served", "owe-gpu-proof",
                     ///< "owe-nothing"; of hooks "drain", before it begins, "drained", "undrained"
  std::vector<std::string> hosts;
  std::string because;
  // As above.
  std::int64_t sequence = 0;
  std::int64_t time_ms = 0;
  bool operator==(const DecisionRecord&) const = default;
};

/// A host that a run took out of a scheduler's work, and did not bring back.
struct DrainRecord {
  std::string host, run;
  std::string before;  ///< what the scheduler said of it then; empty: not known
  bool operator==(const DrainRecord&) const = default;
};

/// What a run left to do on a host, in an environment of it.
struct DebtRecord {
  std::string host, environment;
  std::string run;     ///< id
  bool proof = false;  ///< of what is there, by its GPUs; else the run's release
  bool operator==(const DebtRecord&) const = default;
};

/// Reads the journal and writes nothing, neither to it nor beside it, also while others write. What
/// is handed out is clean (base/text.h), numbers are in range. Error (usage) for a file that is
/// damaged, another application's or of a newer ds-deploy: where it is, what is wrong, what to do.
class JournalReader {
 public:
  /// Nothing if there is no journal in the folder.
  static std::optional<JournalReader> open(const std::filesystem::path& folder);
  JournalReader(JournalReader&&) noexcept;
  JournalReader& operator=(JournalReader&&) noexcept;
  ~JournalReader();

  std::vector<RunRecord> runs(std::size_t limit) const;  ///< newest first
  /// By its id or a beginning of it that no other has; an Error (usage) names the candidates.
  RunRecord run(const std::string& beginning) const;

  // Of one run, by its whole id; a run that is not there has none.
  std::string text(const std::string& run, RunText which) const;  ///< empty: none was kept
  std::vector<ArtifactRecord> artifacts(const std::string& run) const;
  std::vector<HostRecord> hosts(const std::string& run) const;  ///< as they were given
  std::vector<TransitionRecord> transitions(const std::string& run,
                                            const std::string& host = {}) const;  ///< empty: all
  std::vector<DecisionRecord> decisions(const std::string& run) const;

  std::vector<DrainRecord> drains() const;  ///< the oldest first
  /// Those of all runs that are not paid, the oldest run's first.
  std::vector<DebtRecord> debts() const;

 protected:
  explicit JournalReader(std::unique_ptr<Database> database);
  std::unique_ptr<Database> database_;
};

/// Writes it. What a call records is on disk when the call returns, whole or, after an Error, not
/// at all; so a record is there before the act that it announces. Several processes may write at
/// one time, except on a network file system, where the first has it until it ends.
class Journal : public JournalReader {
 public:
  /// Makes folder (mode 0700) and file where they are not. `network` is the kind of network file
  /// system that the folder is taken to be on, empty: none; without it the kernel is asked. Error
  /// (usage) if it cannot be written, (lock held) if another process has it.
  static Journal open(const std::filesystem::path& folder,
                      std::optional<std::string> network = std::nullopt);

  /// Empty, or the kind of network file system ("NFS") for which the journal is kept without
  /// shared memory and for this process alone; worth a line to the user.
  const std::string& network() const { return network_; }

  /// `ended`, `exit_status` and what readers fill in are not looked at, here and below.
  void begin_run(const RunRecord& run, const std::vector<ArtifactRecord>& artifacts,
                 const std::vector<HostRecord>& hosts,
                 const std::vector<std::pair<RunText, std::string>>& texts = {});
  /// Adds those that are new; of those that are known by sha256 or name, the last word counts.
  void set_targets(const std::string& run, const std::vector<ArtifactRecord>& artifacts,
                   const std::vector<HostRecord>& hosts);
  void set_epoch(const std::string& run, std::int64_t epoch);
  void keep(const std::string& run, RunText which, const std::string& text);
  /// Any number of them at once. Every host must be one of the run's.
  void announce(const std::string& run, const std::vector<TransitionRecord>& transitions);
  void decide(const std::string& run, const DecisionRecord& decision);
  /// `report` is kept in the same write.
  void finish_run(const std::string& run, int exit_status, const std::string& report);

 private:
  Journal(std::unique_ptr<Database> database, std::string network);
  std::string network_;
};

}  // namespace ds
