// SPDX-License-Identifier: Apache-2.0
//
// SQLite, as far as a journal needs it. Every failure is an Error that names the file and says what
// to do.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <string>
#include <string_view>

namespace ds {

/// How a file is opened; all but `write` and `create` change nothing.
enum class DatabaseUse {
  create,  ///< made if it is not there
  write,
  read,    ///< by locks alone, or with the log and the shared memory that are there
  frozen,  ///< nobody writes: the file as it is, without a log
};

class Database {
 public:
  Database(const std::filesystem::path& file, DatabaseUse use);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  void run(const char* sql);                ///< one statement or several; rows are dropped
  std::string word(const char* sql) const;  ///< first column of the first row, clean; or empty
  std::int64_t number(const char* sql) const;
  void wait_at_most(int milliseconds);  ///< for another process's lock
  bool changed() const;                 ///< the last statement changed a row
  /// The log and its shared memory stay when the last writer leaves, so that readers find them.
  void keep_log();
  const std::filesystem::path& file() const;
  /// The first 100 bytes as they are in the file, whatever its log holds; or empty.
  std::string header() const;
  /// For contents that no writer of ours leaves. Throws.
  [[noreturn]] void damaged(const std::string& what) const;

 private:
  friend class Statement;
  struct Handle;
  std::unique_ptr<Handle> handle_;
};

/// One prepared statement. Values are bound in their order.
class Statement {
 public:
  Statement(const Database& database, const char* sql);
  ~Statement();
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& bind(std::string_view text);
  Statement& bind(std::int64_t number);
  bool step();  ///< true: there is a row

  /// Runs it with these values and makes it ready for the next ones.
  template <typename... Values>
  void run(const Values&... values) {
    (bind(values), ...);
    finish();
  }

  // Of the row, by the number of the column. What is of another type, out of range or beyond all
  // measure makes the file a damaged one.
  std::string line(int column, std::size_t limit = 400) const;  ///< clean, one line
  std::string text(int column) const;                           ///< clean, whole
  bool is_null(int column) const;
  std::int64_t number(int column, std::int64_t low = 0,
                      std::int64_t high = std::numeric_limits<std::int64_t>::max()) const;

 private:
  void finish();
  std::string_view bytes(int column) const;
  struct Handle;
  std::unique_ptr<Handle> handle_;
};

/// Everything between its making and commit(), or nothing. Others that write wait meanwhile.
class Transaction {
 public:
  explicit Transaction(Database& database);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void commit();

 private:
  Database& database_;
  bool committed_ = false;
};

}  // namespace ds
