// SPDX-License-Identifier: Apache-2.0
#include "journal/journal.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "base/text.h"
#include "journal/database.h"
#include "journal/place.h"
#include "journal/schema.h"

namespace ds {
namespace {

std::int64_t now_ms() {
  using std::chrono::system_clock;
  const auto since = system_clock::now().time_since_epoch();
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(since).count();
  return std::max<std::int64_t>(ms, 0);
}

std::int64_t next_sequence(const Database& database, const std::string& run) {
  Statement last(database,
                 "SELECT max(coalesce((SELECT max(sequence) FROM transitions WHERE run = ?1), 0),"
                 " coalesce((SELECT max(sequence) FROM decisions WHERE run = ?1), 0))");
  last.bind(run);
  last.step();
  return last.number(0) + 1;
}

std::int64_t next_position(const Database& database, const std::string& run, const char* sql) {
  Statement last(database, sql);
  last.bind(run).step();
  return last.number(0);
}

void add_targets(Database& database, const std::string& run,
                 const std::vector<ArtifactRecord>& artifacts,
                 const std::vector<HostRecord>& hosts) {
  std::int64_t position = next_position(
      database, run, "SELECT coalesce(max(position) + 1, 0) FROM artifacts WHERE run = ?");
  Statement artifact(database,
                     "INSERT INTO artifacts (run, position, sha256, name, path, bytes)"
                     " VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
                     " ON CONFLICT (run, sha256) DO UPDATE SET name = ?4, path = ?5, bytes = ?6");
  for (const ArtifactRecord& each : artifacts)
    artifact.run(run, position++, each.sha256, each.name, each.path, each.bytes);

  position = next_position(database, run,
                           "SELECT coalesce(max(position) + 1, 0) FROM hosts WHERE run = ?");
  Statement host(database,
                 "INSERT INTO hosts (run, position, host, wanted, before, environment)"
                 " VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
                 " ON CONFLICT (run, host) DO UPDATE SET wanted = ?4, before = ?5,"
                 " environment = ?6");
  for (const HostRecord& each : hosts) {
    host.run(run, position++, each.name, join(each.wanted, "+"), join(each.before, "+"),
             each.environment);
  }
}

void add_text(Database& database, const std::string& run, RunText which, const std::string& text) {
  Statement row(database,
                "INSERT INTO texts (run, which, text) VALUES (?1, ?2, ?3)"
                " ON CONFLICT (run, which) DO UPDATE SET text = ?3");
  row.run(run, to_string(which), text);
}

void require_change(const Database& database, const std::string& run) {
  if (!database.changed())
    throw Error(fmt::format("the journal has no run {} that goes on", clean_line(run, 80)));
}

}  // namespace

Journal::Journal(std::unique_ptr<Database> database, std::string network)
    : JournalReader(std::move(database)), network_(std::move(network)) {}

Journal Journal::open(const std::filesystem::path& folder, std::optional<std::string> network) {
  make_private_folder(folder);
  std::string kind = network ? *std::move(network) : network_file_system_of(folder);
  std::unique_ptr<Database> database = open_to_write(folder, kind);
  return {std::move(database), std::move(kind)};
}

void Journal::begin_run(const RunRecord& run, const std::vector<ArtifactRecord>& artifacts,
                        const std::vector<HostRecord>& hosts,
                        const std::vector<std::pair<RunText, std::string>>& texts) {
  Transaction transaction(*database_);
  Statement row(*database_,
                "INSERT INTO runs (id, command, folder, user, machine, pid, pid_started, boot,"
                " version, began, epoch, resumes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  row.run(run.id, run.command, run.folder, run.user, run.machine, run.process.pid,
          run.process.started, run.process.boot, run.version, run.began, run.epoch, run.resumes);
  Statement word(*database_, "INSERT INTO words (run, position, word) VALUES (?, ?, ?)");
  for (std::int64_t position = 0; const std::string& each : run.words)
    word.run(run.id, position++, each);
  add_targets(*database_, run.id, artifacts, hosts);
  for (const auto& [which, text] : texts)
    add_text(*database_, run.id, which, text);
  transaction.commit();
}

void Journal::set_targets(const std::string& run, const std::vector<ArtifactRecord>& artifacts,
                          const std::vector<HostRecord>& hosts) {
  Transaction transaction(*database_);
  add_targets(*database_, run, artifacts, hosts);
  transaction.commit();
}

void Journal::set_epoch(const std::string& run, std::int64_t epoch) {
  Transaction transaction(*database_);
  Statement(*database_, "UPDATE runs SET epoch = ?2 WHERE id = ?1 AND ended IS NULL")
      .run(run, epoch);
  require_change(*database_, run);
  transaction.commit();
}

void Journal::keep(const std::string& run, RunText which, const std::string& text) {
  Transaction transaction(*database_);
  add_text(*database_, run, which, text);
  transaction.commit();
}

void Journal::announce(const std::string& run, const std::vector<TransitionRecord>& transitions) {
  Transaction transaction(*database_);
  Statement row(*database_,
                "INSERT INTO transitions (run, sequence, time_ms, host, from_state, to_state, step,"
                " message) VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
  std::int64_t sequence = next_sequence(*database_, run);
  const std::int64_t now = now_ms();
  for (const TransitionRecord& each : transitions)
    row.run(run, sequence++, now, each.host, each.from, each.to, each.step, each.message);
  transaction.commit();
}

void Journal::decide(const std::string& run, const DecisionRecord& decision) {
  Transaction transaction(*database_);
  const std::int64_t sequence = next_sequence(*database_, run);
  Statement(*database_,
            "INSERT INTO decisions (run, sequence, time_ms, what, because) VALUES (?, ?, ?, ?, ?)")
      .run(run, sequence, now_ms(), decision.what, decision.because);
  Statement host(*database_,
                 "INSERT INTO decision_hosts (run, sequence, position, host) VALUES (?, ?, ?, ?)");
  for (std::int64_t position = 0; const std::string& each : decision.hosts)
    host.run(run, sequence, position++, each);
  transaction.commit();
}

void Journal::finish_run(const std::string& run, int exit_status, const std::string& report) {
  Transaction transaction(*database_);
  Statement(*database_,
            "UPDATE runs SET ended = ?2, exit_status = ?3 WHERE id = ?1 AND ended IS NULL")
      .run(run, now_ms() / 1000, static_cast<std::int64_t>(exit_status));
  require_change(*database_, run);
  add_text(*database_, run, RunText::report, report);
  transaction.commit();
}

}  // namespace ds
