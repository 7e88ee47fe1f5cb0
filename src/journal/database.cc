// SPDX-License-Identifier: Apache-2.0
//
// The only file that knows SQLite.
#include "journal/database.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include "base/error.h"
#include "base/text.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

constexpr int most_bytes = 64 << 20;  // of one text; a report of ten thousand hosts is shorter
constexpr int busy_ms = 5000;         // a checkpoint on a slow disk; writes take milliseconds

std::string uri(const fs::path& file, DatabaseUse use) {
  constexpr std::string_view plain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/-_.~";
  std::string text = "file:";
  for (const char c : fs::absolute(file).string()) {
    if (plain.find(c) != std::string_view::npos)
      text += c;
    else
      text += fmt::format("%{:02x}", static_cast<unsigned char>(c));
  }
  switch (use) {
    case DatabaseUse::create:
      return text + "?mode=rwc";
    case DatabaseUse::write:
      return text + "?mode=rw";
    case DatabaseUse::read:
      return text + "?mode=ro&readonly_shm=1";
    case DatabaseUse::frozen:
      break;
  }
  return text + "?mode=ro&immutable=1";
}

/// "disk I/O error: No space left on device"
std::string reason(sqlite3* database, int code) {
  std::string text = clean_line((code & 0xff) == SQLITE_READONLY ? sqlite3_errstr(code)
                                                                 : sqlite3_errmsg(database));
  const int number = sqlite3_system_errno(database);
  const int kind = code & 0xff;
  if (number != 0 && (kind == SQLITE_IOERR || kind == SQLITE_CANTOPEN))
    text += ": " + errno_text(number);
  return text;
}

}  // namespace

struct Database::Handle {
  fs::path file;
  bool writes = false;
  sqlite3* database = nullptr;
  ~Handle() { sqlite3_close_v2(database); }

  [[noreturn]] void damaged(const std::string& what) const {
    const std::string name = file.string();
    throw Error(fmt::format("the journal {} cannot be used: {}", name, what),
                fmt::format("move it away, with what else is named {}* there; the truth is on the "
                            "hosts, and the next run begins a new journal",
                            name),
                ExitStatus::usage);
  }

  [[noreturn]] void fail(int code) const {
    const std::string name = file.string(), why = reason(database, code);
    switch (code & 0xff) {
      case SQLITE_CORRUPT:
      case SQLITE_NOTADB:
      case SQLITE_TOOBIG:
      case SQLITE_MISMATCH:
      case SQLITE_ERROR:  // "no such table": the statements themselves are right
        damaged(why);
      case SQLITE_FULL:
        throw Error(fmt::format("the journal {} cannot be written: no space is left", name),
                    "make room on its file system, or name another folder", ExitStatus::usage);
      case SQLITE_BUSY:
      case SQLITE_LOCKED:
      case SQLITE_PROTOCOL:
        throw Error(fmt::format("another process has the journal {}: {}", name, why),
                    "wait until its run ends, or name another folder", ExitStatus::lock_held);
      case SQLITE_CONSTRAINT:
        throw Error(fmt::format("the journal {} refuses a record: {}", name, why));
      default:
        break;
    }
    if (code == SQLITE_READONLY_ROLLBACK) {
      throw Error(fmt::format("the last write to the journal {} was cut short", name),
                  "the next run that writes puts it right", ExitStatus::usage);
    }
    throw Error(
        fmt::format("the journal {} cannot be {}: {}", name, writes ? "written" : "read", why),
        fmt::format("let this user {} it and its folder, or name another folder",
                    writes ? "write" : "read"),
        ExitStatus::usage);
  }

  void check(int code) const {
    if (code != SQLITE_OK)
      fail(code);
  }
};

Database::Database(const fs::path& file, DatabaseUse use) : handle_(std::make_unique<Handle>()) {
  handle_->file = file;
  handle_->writes = use == DatabaseUse::create || use == DatabaseUse::write;
  const int mode = use == DatabaseUse::create  ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
                   : use == DatabaseUse::write ? SQLITE_OPEN_READWRITE
                                               : SQLITE_OPEN_READONLY;
  handle_->check(sqlite3_open_v2(uri(file, use).c_str(), &handle_->database,
                                 mode | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX, nullptr));
  sqlite3* database = handle_->database;
  sqlite3_extended_result_codes(database, 1);
  // Where a file cannot be written, SQLite is content to read it.
  if (handle_->writes && sqlite3_db_readonly(database, "main") != 0)
    handle_->fail(SQLITE_READONLY);
  sqlite3_busy_timeout(database, busy_ms);
  // The file may be planted: none of its code runs, and no text is beyond measure.
  sqlite3_db_config(database, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(database, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  sqlite3_db_config(database, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, nullptr);
  sqlite3_db_config(database, SQLITE_DBCONFIG_ENABLE_VIEW, 0, nullptr);
  sqlite3_limit(database, SQLITE_LIMIT_LENGTH, most_bytes);
  run("PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY;"
      "PRAGMA foreign_keys = ON");
}

Database::~Database() = default;

void Database::run(const char* sql) {
  handle_->check(sqlite3_exec(handle_->database, sql, nullptr, nullptr, nullptr));
}

std::string Database::word(const char* sql) const {
  Statement statement(*this, sql);
  return statement.step() ? statement.line(0) : std::string();
}

std::int64_t Database::number(const char* sql) const {
  Statement statement(*this, sql);
  return statement.step() ? statement.number(0, std::numeric_limits<std::int64_t>::min()) : 0;
}

void Database::wait_at_most(int milliseconds) {
  sqlite3_busy_timeout(handle_->database, milliseconds);
}

bool Database::changed() const {
  return sqlite3_changes(handle_->database) > 0;
}

void Database::keep_log() {
  int on = 1;
  handle_->check(sqlite3_file_control(handle_->database, "main", SQLITE_FCNTL_PERSIST_WAL, &on));
}

/// By SQLite's own descriptor: closing another one would drop this process's locks of the file.
std::string Database::header() const {
  constexpr int size = 100;
  std::string bytes(size, '\0');
  sqlite3_file* file = nullptr;
  const int found =
      sqlite3_file_control(handle_->database, "main", SQLITE_FCNTL_FILE_POINTER, &file);
  if (found != SQLITE_OK || file == nullptr || file->pMethods == nullptr ||
      file->pMethods->xRead(file, bytes.data(), size, 0) != SQLITE_OK)
    bytes.clear();
  return bytes;
}

const fs::path& Database::file() const {
  return handle_->file;
}

void Database::damaged(const std::string& what) const {
  handle_->damaged(what);
}

struct Statement::Handle {
  const Database::Handle& database;
  sqlite3_stmt* statement = nullptr;
  int bound = 0;
  ~Handle() { sqlite3_finalize(statement); }
};

Statement::Statement(const Database& database, const char* sql)
    : handle_(new Handle{*database.handle_}) {
  handle_->database.check(
      sqlite3_prepare_v2(database.handle_->database, sql, -1, &handle_->statement, nullptr));
}

Statement::~Statement() = default;

Statement& Statement::bind(std::string_view text) {
  if (text.size() > most_bytes)
    throw Error(fmt::format("a text of {} is too long for the journal", human_bytes(text.size())));
  // An empty view may have no address, and that would be NULL.
  handle_->database.check(sqlite3_bind_text64(handle_->statement, ++handle_->bound,
                                              text.empty() ? "" : text.data(), text.size(),
                                              SQLITE_TRANSIENT, SQLITE_UTF8));
  return *this;
}

Statement& Statement::bind(std::int64_t number) {
  handle_->database.check(sqlite3_bind_int64(handle_->statement, ++handle_->bound, number));
  return *this;
}

bool Statement::step() {
  const int code = sqlite3_step(handle_->statement);
  if (code != SQLITE_ROW && code != SQLITE_DONE)
    handle_->database.fail(code);
  return code == SQLITE_ROW;
}

void Statement::finish() {
  step();
  handle_->database.check(sqlite3_reset(handle_->statement));
  handle_->bound = 0;
}

std::string_view Statement::bytes(int column) const {
  sqlite3_stmt* statement = handle_->statement;
  if (sqlite3_column_type(statement, column) != SQLITE_TEXT) {
    handle_->database.damaged(fmt::format("{} holds what is no text",
                                          clean_line(sqlite3_column_name(statement, column))));
  }
  const unsigned char* text = sqlite3_column_text(statement, column);
  if (text == nullptr)
    handle_->database.fail(sqlite3_errcode(handle_->database.database));
  const int size = sqlite3_column_bytes(statement, column);
  return {reinterpret_cast<const char*>(text), static_cast<std::size_t>(size)};
}

std::string Statement::line(int column, std::size_t limit) const {
  return clean_line(bytes(column), limit);
}

std::string Statement::text(int column) const {
  return clean(bytes(column), most_bytes);
}

bool Statement::is_null(int column) const {
  return sqlite3_column_type(handle_->statement, column) == SQLITE_NULL;
}

std::int64_t Statement::number(int column, std::int64_t low, std::int64_t high) const {
  sqlite3_stmt* statement = handle_->statement;
  const bool whole = sqlite3_column_type(statement, column) == SQLITE_INTEGER;
  const std::int64_t value = whole ? sqlite3_column_int64(statement, column) : 0;
  if (!whole || value < low || value > high) {
    handle_->database.damaged(fmt::format("{} holds what is no number from {} to {}",
                                          clean_line(sqlite3_column_name(statement, column)), low,
                                          high));
  }
  return value;
}

Transaction::Transaction(Database& database) : database_(database) {
  database_.run("BEGIN IMMEDIATE");
}

Transaction::~Transaction() {
  if (committed_)
    return;
  try {
    database_.run("ROLLBACK");
  } catch (const Error&) {
    // After some failures SQLite has done it.
  }
}

void Transaction::commit() {
  database_.run("COMMIT");
  committed_ = true;
}

}  // namespace ds
