// SPDX-License-Identifier: Apache-2.0
#include "journal/schema.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "base/random.h"
#include "base/text.h"
#include "journal/place.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t application = 0x44734a6c;  // "DsJl"
constexpr std::int64_t version = 2;               // 1 had no environments
constexpr int whole_run_ms = 1000;  // who has the file alone has it until its run ends

// ds-deploy-journal(5) shows the same.
constexpr const char* schema = R"(
BEGIN;
CREATE TABLE runs (
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  command TEXT NOT NULL,
  folder TEXT NOT NULL,
  user TEXT NOT NULL,
  machine TEXT NOT NULL,
  pid INTEGER NOT NULL,
  pid_started INTEGER NOT NULL,
  boot TEXT NOT NULL,
  version TEXT NOT NULL,
  began INTEGER NOT NULL,
  ended INTEGER,
  exit_status INTEGER,
  epoch INTEGER NOT NULL,
  resumes TEXT NOT NULL
);
CREATE TABLE words (
  run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  word TEXT NOT NULL,
  PRIMARY KEY (run, position)
) WITHOUT ROWID;
CREATE TABLE texts (
  run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  which TEXT NOT NULL,
  text TEXT NOT NULL,
  PRIMARY KEY (run, which)
);
CREATE TABLE artifacts (
  run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  sha256 TEXT NOT NULL,
  name TEXT NOT NULL,
  path TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  PRIMARY KEY (run, sha256)
) WITHOUT ROWID;
CREATE TABLE hosts (
  run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  host TEXT NOT NULL,
  wanted TEXT NOT NULL,
  before TEXT NOT NULL,
  environment TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (run, host)
) WITHOUT ROWID;
CREATE TABLE transitions (
  run TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  time_ms INTEGER NOT NULL,
  host TEXT NOT NULL,
  from_state TEXT NOT NULL,
  to_state TEXT NOT NULL,
  step TEXT NOT NULL,
  message TEXT NOT NULL,
  PRIMARY KEY (run, sequence),
  FOREIGN KEY (run, host) REFERENCES hosts (run, host) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE TABLE decisions (
  run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  sequence INTEGER NOT NULL,
  time_ms INTEGER NOT NULL,
  what TEXT NOT NULL,
  because TEXT NOT NULL,
  PRIMARY KEY (run, sequence)
) WITHOUT ROWID;
CREATE TABLE decision_hosts (
  run TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  position INTEGER NOT NULL,
  host TEXT NOT NULL,
  PRIMARY KEY (run, sequence, position),
  FOREIGN KEY (run, sequence) REFERENCES decisions (run, sequence) ON DELETE CASCADE,
  FOREIGN KEY (run, host) REFERENCES hosts (run, host) ON DELETE CASCADE
) WITHOUT ROWID;
)";

bool is_there(const fs::path& file) {
  std::error_code unreadable;
  return fs::exists(fs::symlink_status(file, unreadable));
}

fs::path beside(const fs::path& file, const char* ending) {
  return file.string() + ending;
}

void make_database(const fs::path& file, bool with_log) {
  Database fresh(file, DatabaseUse::create);
  fresh.run("PRAGMA synchronous = FULL");
  fresh.run(schema);
  fresh.run(fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {}; COMMIT", application,
                        version)
                .c_str());
  if (with_log)
    fresh.word("PRAGMA journal_mode = WAL");
}

/// Under another name first, so that nobody finds half of it, and a reader that looks at the file
/// alone finds whose it is.
void make_file(const fs::path& file, bool with_log) {
  const fs::path fresh = beside(file, ("." + random_nonce()).c_str());
  int failure = 0;
  try {
    make_database(fresh, with_log);
    // Whoever was faster made the same.
    if (::link(fresh.c_str(), file.c_str()) != 0 && errno != EEXIST) {
      failure = is_there(file) || ::rename(fresh.c_str(), file.c_str()) == 0 ? 0 : errno;
    }
  } catch (...) {
    ::unlink(fresh.c_str());
    ::unlink(beside(fresh, "-journal").c_str());
    throw;
  }
  ::unlink(fresh.c_str());
  if (failure != 0) {
    throw Error(fmt::format("cannot make the journal {}: {}", file.string(), errno_text(failure)),
                "let this user write there, or name another folder", ExitStatus::usage);
  }
}

void refuse_foreign(Database& database) {
  if (database.number("PRAGMA application_id") != application)
    database.damaged("it is not a journal of ds-deploy");
  const std::int64_t found = database.number("PRAGMA user_version");
  if (found > version) {
    throw Error(fmt::format("the journal {} was written by a newer ds-deploy (schema {}, this one "
                            "knows {})",
                            database.file().string(), found, version),
                "use that one, or name another folder", ExitStatus::usage);
  }
  if (found < 1)
    database.damaged(fmt::format("its schema is {}", found));
}

std::int64_t big_endian(std::string_view bytes) {
  std::int64_t number = 0;
  for (const char byte : bytes)
    number = number << 8 | static_cast<unsigned char>(byte);
  return number;
}

/// SQLite refuses a file alone that is in pieces, as while a checkpoint writes it, or since a kill
/// in the middle of one; with its log it is whole. The header is right all the time.
bool says_ours(const Database& database) {
  const std::string header = database.header();
  return header.starts_with("SQLite format 3") &&
         big_endian(std::string_view(header).substr(68, 4)) == application &&
         big_endian(std::string_view(header).substr(60, 4)) >= 1 &&
         big_endian(std::string_view(header).substr(60, 4)) <= version;
}

/// By the file alone: opening another application's database may already change it.
void refuse_foreign(const fs::path& file) {
  Database database(file, DatabaseUse::frozen);
  if (!says_ours(database))
    refuse_foreign(database);
}

/// Its writer was killed between the header and the first record. The file alone has everything,
/// and SQLite finds no way to read by such a log without writing ("locking protocol").
bool has_header_alone(const fs::path& log) {
  std::error_code unreadable;
  return fs::file_size(log, unreadable) == 32;
}

/// What a reader can rely on without making a file. Our writers leave the log with its shared
/// memory, or a rollback journal, wherever there is more than the file itself.
DatabaseUse use_for_reading(const fs::path& file) {
  const bool log = is_there(beside(file, "-wal"));
  if (log && !is_there(beside(file, "-shm"))) {
    const std::string name = file.string();
    throw Error(fmt::format("the journal {} has a log without its shared memory, as a copy of two "
                            "of its three files",
                            name),
                fmt::format("copy {}-shm too, or have SQLite join them: sqlite3 {} 'PRAGMA "
                            "wal_checkpoint'",
                            name, shell_quote(name)),
                ExitStatus::usage);
  }
  if (log)
    return has_header_alone(beside(file, "-wal")) ? DatabaseUse::frozen : DatabaseUse::read;
  return is_there(beside(file, "-journal")) ? DatabaseUse::read : DatabaseUse::frozen;
}

/// Its first write takes the lock that is kept until the end, so that a second run is told at its
/// beginning, and leaves the rollback journal that readers go by.
void take_alone(Database& database) {
  database.run("PRAGMA locking_mode = EXCLUSIVE");
  if (database.word("PRAGMA journal_mode = PERSIST") != "persist")
    database.damaged("its log cannot be given up");
  database.run(fmt::format("BEGIN EXCLUSIVE; PRAGMA user_version = {}; COMMIT",
                           database.number("PRAGMA user_version"))
                   .c_str());
}

/// What an older ds-deploy made. Another process may do the same.
void bring_up_to_date(Database& database) {
  if (database.number("PRAGMA user_version") == version)
    return;
  Transaction transaction(database);
  if (database.number("PRAGMA user_version") < version) {
    database.run(fmt::format("ALTER TABLE hosts ADD COLUMN environment TEXT NOT NULL DEFAULT '';"
                             " PRAGMA user_version = {}",
                             version)
                     .c_str());
  }
  transaction.commit();
}

}  // namespace

std::unique_ptr<Database> open_to_write(const fs::path& folder, const std::string& network) {
  const fs::path file = folder / "journal.db";
  const bool with_log = network.empty();
  if (!is_there(file))
    make_file(file, with_log);
  refuse_foreign(file);
  auto database = std::make_unique<Database>(file, DatabaseUse::write);
  if (!with_log)
    database->wait_at_most(whole_run_ms);
  database->run("PRAGMA synchronous = FULL");
  if (with_log) {
    if (database->word("PRAGMA journal_mode = WAL") != "wal")
      database->damaged("it cannot keep a log");
    database->keep_log();
    // The log is cut to nothing when the last writer leaves.
    database->run("PRAGMA journal_size_limit = 4194304");
  } else {
    take_alone(*database);
  }
  refuse_foreign(*database);
  bring_up_to_date(*database);
  return database;
}

bool has_environments(const Database& database) {
  return database.number("PRAGMA user_version") >= 2;
}

std::unique_ptr<Database> open_to_read(const fs::path& folder) {
  const fs::path file = folder / "journal.db";
  if (!is_there(file))
    return nullptr;
  auto database = std::make_unique<Database>(file, use_for_reading(file));
  if (!is_there(beside(file, "-wal")))
    database->wait_at_most(whole_run_ms);
  refuse_foreign(*database);
  return database;
}

}  // namespace ds
