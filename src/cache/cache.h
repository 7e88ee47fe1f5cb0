// SPDX-License-Identifier: Apache-2.0
//
// What was made once is not made again: a content-addressed store of outputs and, for each job, the
// inputs from which they were made. Safe for many processes at one time, after kill -9 and on NFS
// without a lock: every file appears by rename and is held against its hash before it is used; one
// that vanished or is damaged counts as one that was never there.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/fd.h"

namespace ds {

/// Writes what the next run finds again, or not: a file that cannot be written is none.
void write_memory(const std::filesystem::path& file, std::string_view text);

/// SHA-256 of files, in hex. A file is read once, and again only when its device, inode, size,
/// mtime or ctime changed; what was read is remembered in a file between runs.
class FileHashes {
 public:
  /// `memory`: where they are remembered; empty: nowhere.
  explicit FileHashes(std::filesystem::path memory = {});
  /// Below the folder of a cache, a file for this machine: others count devices otherwise.
  static std::filesystem::path memory_in(const std::filesystem::path& cache);
  /// "" if the file is not there, is no regular file or cannot be read. Asked once for each path,
  /// until it is forgotten.
  const std::string& of(const std::string& path);
  void forget(const std::string& path);
  void save();  ///< for the next run, what is new; a memory that cannot be written is none

 private:
  struct Identity {
    std::uint64_t device = 0, inode = 0, size = 0;
    std::int64_t mtime = 0, ctime = 0;  ///< nanoseconds
    bool operator==(const Identity&) const = default;
  };
  struct Known {
    std::string hash;
    Identity identity;
    bool asked = false;   ///< in this run
    bool lasting = true;  ///< older than the clock of files is coarse, so it may be remembered
  };
  void load();
  static std::optional<Identity> identity_of(const std::string& path);

  std::filesystem::path memory_;
  std::unordered_map<std::string, Known> known_;
  bool learned_ = false;  ///< something that is not in the memory yet
};

struct MadeResult {
  std::string output;    ///< SHA-256 of the file
  std::string messages;  ///< what the tool said meanwhile, to be shown again
};

using InputHashes = std::vector<std::pair<std::string, std::string>>;  ///< path, SHA-256

struct CacheUse {
  std::uint64_t outputs = 0, results = 0;  ///< files
  std::uint64_t exports = 0;               ///< files: symbols of hosts' libraries
  std::uint64_t packages = 0, sources = 0, environments = 0;  ///< folders that builds of foreign
                                                              ///< trees left
  std::uint64_t bytes = 0;                                    ///< of all
};

class Cache {
 public:
  using HashOf = std::function<std::string_view(std::string_view path)>;

  /// Nothing is written before the first add(). `folder` may be shared.
  explicit Cache(std::filesystem::path folder);

  const std::filesystem::path& folder() const { return folder_; }

  /// The newest result of the job `key` (hex) all of whose inputs have the content they had. If
  /// there is none, `changed` tells the first input of the newest that has not; "" if there are no
  /// results of this job at all.
  std::optional<MadeResult> find(const std::string& key, const HashOf& hash_of,
                                 std::string* changed = nullptr) const;

  /// Keeps `file`, whose hash is `result.output`, and what it was made from beside what `key`
  /// stands for. False if the store cannot be written: the output itself is as good as ever.
  bool add(const std::string& key, const MadeResult& result, const InputHashes& inputs,
           const std::filesystem::path& file) const;

  /// Puts the output at `to`, by rename. False if it is not in the store; one that is damaged is
  /// dropped.
  bool fetch(const std::string& output, const std::filesystem::path& to) const;

  /// Marks a result and its output as used, for trim().
  void touch(const std::string& key, const std::string& output) const;

  CacheUse use() const;
  /// Drops what was not used for longest until `limit` bytes are left, but no folder that somebody
  /// holds (InUse); and, however much room there is, what killed processes left a day ago. The
  /// bytes dropped.
  std::uint64_t trim(std::uint64_t limit) const;
  /// Reads every output and drops the damaged; their number.
  std::size_t verify() const;

 private:
  std::filesystem::path output_file(const std::string& output) const;
  std::filesystem::path result_file(const std::string& key) const;

  std::filesystem::path folder_;
};

/// One process at a time, by flock(2), or by link(2) where the file system has no flock. It ends
/// with the object, and with the process, however that ends: an owner that is dead is found by its
/// host, number and boot id.
class FileLock {
 public:
  using Waiting = std::function<void(const std::string& owner)>;
  enum class Means { automatic, link };

  /// Waits until it is ours; `waiting` is told once who has it ("process 4711 on node7"). Error
  /// (usage) if the file or its folder cannot be made; throws Interrupted.
  FileLock(std::filesystem::path file, const Waiting& waiting, Means means = Means::automatic);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  bool take_by_flock(const Waiting& waiting);
  void take_by_link(const Waiting& waiting);

  std::filesystem::path file_;
  Fd fd_;            ///< while it is ours by flock
  std::string own_;  ///< the file that was linked
};

}  // namespace ds
