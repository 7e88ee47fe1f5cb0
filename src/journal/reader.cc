// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "journal/database.h"
#include "journal/journal.h"
#include "journal/schema.h"

namespace ds {
namespace {

constexpr std::int64_t last_second = 253402300799;  // of the year 9999
constexpr std::int64_t last_ms = last_second * 1000 + 999;
constexpr std::int64_t last_pid = 1 << 22;  // PID_MAX_LIMIT
constexpr std::size_t longest_message = 4096;
constexpr std::size_t longest_word = 128 * 1024;  // MAX_ARG_STRLEN
constexpr std::size_t longest_set = 64 * 1024;

constexpr const char* run_columns =
    "SELECT id, command, folder, user, machine, pid, pid_started, boot, version, began, ended,"
    " exit_status, epoch, resumes FROM runs ";

RunRecord run_of(const Statement& row) {
  RunRecord run;
  run.id = row.line(0);
  run.command = row.line(1);
  run.folder = row.line(2, longest_path);
  run.user = row.line(3);
  run.machine = row.line(4);
  run.process = {row.number(5, 0, last_pid), row.number(6), row.line(7)};
  run.version = row.line(8);
  run.began = row.number(9, 0, last_second);
  if (!row.is_null(10)) {
    run.ended = row.number(10, 0, last_second);
    run.exit_status = static_cast<int>(row.number(11, 0, 255));
  }
  run.epoch = row.number(12);
  run.resumes = row.line(13);
  return run;
}

std::vector<std::string> words_of(const Database& database, const std::string& run) {
  Statement rows(database, "SELECT word FROM words WHERE run = ? ORDER BY position");
  rows.bind(run);
  std::vector<std::string> words;
  while (rows.step())
    words.push_back(rows.line(0, longest_word));
  return words;
}

std::vector<RunRecord> runs_of(const Database& database, Statement& rows) {
  std::vector<RunRecord> runs;
  while (rows.step())
    runs.push_back(run_of(rows));
  for (RunRecord& run : runs)
    run.words = words_of(database, run.id);
  return runs;
}

/// "sha256+sha256"
std::vector<std::string> release_set(const std::string& text) {
  return text.empty() ? std::vector<std::string>() : split(text, '+');
}

std::vector<std::string> ids_of(const std::vector<RunRecord>& runs) {
  std::vector<std::string> ids;
  for (const RunRecord& run : runs)
    ids.push_back(run.id);
  return ids;
}

}  // namespace

std::string to_string(RunText which) {
  switch (which) {
    case RunText::policy:
      return "policy";
    case RunText::inventory:
      return "inventory";
    case RunText::audit:
      return "audit";
    case RunText::facts:
      return "facts";
    case RunText::report:
      break;
  }
  return "report";
}

std::optional<JournalReader> JournalReader::open(const std::filesystem::path& folder) {
  std::unique_ptr<Database> database = open_to_read(folder);
  if (database == nullptr)
    return std::nullopt;
  return JournalReader(std::move(database));
}

JournalReader::JournalReader(std::unique_ptr<Database> database) : database_(std::move(database)) {}
JournalReader::JournalReader(JournalReader&&) noexcept = default;
JournalReader& JournalReader::operator=(JournalReader&&) noexcept = default;
JournalReader::~JournalReader() = default;

std::vector<RunRecord> JournalReader::runs(std::size_t limit) const {
  const std::string sql = std::string(run_columns) + "ORDER BY number DESC LIMIT ?";
  Statement rows(*database_, sql.c_str());
  rows.bind(static_cast<std::int64_t>(std::min<std::size_t>(limit, INT64_MAX)));
  return runs_of(*database_, rows);
}

RunRecord JournalReader::run(const std::string& beginning) const {
  const std::string sql = std::string(run_columns) +
                          "WHERE substr(id, 1, length(?1)) = ?1"
                          " ORDER BY id = ?1 DESC, number DESC LIMIT 20";
  Statement rows(*database_, sql.c_str());
  rows.bind(beginning);
  const std::vector<RunRecord> found =
      beginning.empty() ? std::vector<RunRecord>() : runs_of(*database_, rows);
  if (found.empty()) {
    const std::vector<std::string> newest = ids_of(runs(4));
    throw Error(fmt::format("the journal has no run '{}'", clean_line(beginning, 80)),
                newest.empty() ? "it has none at all" : "the newest are " + some_of(newest),
                ExitStatus::usage);
  }
  if (found.size() > 1 && found.front().id != beginning) {
    throw Error(fmt::format("several runs begin with '{}'", clean_line(beginning, 80)),
                "write more of one: " + join(ids_of(found), ", "), ExitStatus::usage);
  }
  return found.front();
}

std::string JournalReader::text(const std::string& run, RunText which) const {
  Statement row(*database_, "SELECT text FROM texts WHERE run = ? AND which = ?");
  row.bind(run).bind(to_string(which));
  return row.step() ? row.text(0) : std::string();
}

std::vector<ArtifactRecord> JournalReader::artifacts(const std::string& run) const {
  Statement rows(*database_,
                 "SELECT sha256, name, path, bytes FROM artifacts WHERE run = ?"
                 " ORDER BY position");
  rows.bind(run);
  std::vector<ArtifactRecord> artifacts;
  while (rows.step())
    artifacts.push_back({rows.line(0), rows.line(1), rows.line(2, longest_path), rows.number(3)});
  return artifacts;
}

std::vector<HostRecord> JournalReader::hosts(const std::string& run) const {
  // With max(), SQLite takes the other columns from the row that has it.
  const std::string sql = fmt::format(
      "SELECT hosts.host, wanted, before, to_state, step, message, time_ms, {} FROM hosts"
      " LEFT JOIN (SELECT host, to_state, step, message, time_ms, max(sequence)"
      " FROM transitions WHERE run = ?1 GROUP BY host) USING (host)"
      " WHERE run = ?1 ORDER BY position",
      has_environments(*database_) ? "environment" : "''");
  Statement rows(*database_, sql.c_str());
  rows.bind(run);
  std::vector<HostRecord> hosts;
  while (rows.step()) {
    HostRecord host;
    host.name = rows.line(0);
    host.wanted = release_set(rows.line(1, longest_set));
    host.before = release_set(rows.line(2, longest_set));
    host.environment = rows.line(7, longest_path);
    if (!rows.is_null(3)) {
      host.state = rows.line(3);
      host.step = rows.line(4);
      host.message = rows.line(5, longest_message);
      host.time_ms = rows.number(6, 0, last_ms);
    }
    hosts.push_back(std::move(host));
  }
  return hosts;
}

std::vector<TransitionRecord> JournalReader::transitions(const std::string& run,
                                                         const std::string& host) const {
  Statement rows(*database_,
                 "SELECT host, from_state, to_state, step, message, sequence, time_ms"
                 " FROM transitions WHERE run = ?1 AND (?2 = '' OR host = ?2) ORDER BY sequence");
  rows.bind(run).bind(host);
  std::vector<TransitionRecord> transitions;
  while (rows.step()) {
    transitions.push_back({rows.line(0), rows.line(1), rows.line(2), rows.line(3),
                           rows.line(4, longest_message), rows.number(5, 1),
                           rows.number(6, 0, last_ms)});
  }
  return transitions;
}

std::vector<DecisionRecord> JournalReader::decisions(const std::string& run) const {
  Statement rows(*database_,
                 "SELECT decisions.sequence, time_ms, what, because, host FROM decisions"
                 " LEFT JOIN decision_hosts USING (run, sequence)"
                 " WHERE decisions.run = ? ORDER BY decisions.sequence, position");
  rows.bind(run);
  std::vector<DecisionRecord> decisions;
  while (rows.step()) {
    const std::int64_t sequence = rows.number(0, 1);
    if (decisions.empty() || decisions.back().sequence != sequence) {
      decisions.push_back(
          {rows.line(2), {}, rows.line(3, longest_message), sequence, rows.number(1, 0, last_ms)});
    }
    if (!rows.is_null(4))
      decisions.back().hosts.push_back(rows.line(4));
  }
  return decisions;
}

}  // namespace ds
