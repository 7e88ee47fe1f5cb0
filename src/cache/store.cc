// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "base/file.h"
#include "base/in_use.h"
#include "base/sha256.h"
#include "cache/cache.h"
#include "cache/results.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

/// A use is written down this often; every time would be a write for each file of each run.
constexpr auto use_is_noted_after = std::chrono::hours(12);
/// What a process that was killed left behind; what is younger may still be written.
constexpr auto abandoned_after = std::chrono::hours(24);

/// "ab/cdef...": a folder with a hundred thousand files is slow on many file systems.
fs::path spread(const std::string& hash) {
  return fs::path(hash.substr(0, 2)) / hash.substr(2);
}

bool is_temporary(const fs::path& file) {
  return file.has_extension();
}

void remove_quietly(const fs::path& file) {
  std::error_code ignored;
  fs::remove(file, ignored);
}

void note_use(const fs::path& file) {
  std::error_code failure;
  const auto used = fs::last_write_time(file, failure);
  const auto now = fs::file_time_type::clock::now();
  if (!failure && now - used > use_is_noted_after)
    fs::last_write_time(file, now, failure);
}

enum class Kind { output, result, exports, package, source, environment };

/// One that is used or dropped as a whole: a file, or a folder of packages or sources.
struct Stored {
  fs::path path;
  std::uint64_t bytes = 0;
  fs::file_time_type used;
  Kind kind = Kind::output;
  bool is_folder() const { return kind >= Kind::package; }
};

/// Every file of the store. Others may add and remove files meanwhile.
std::vector<Stored> stored_files(const fs::path& folder) {
  std::vector<Stored> files;
  for (const auto& [name, kind] : {std::pair("outputs", Kind::output),
                                   {"results", Kind::result},
                                   {"exports", Kind::exports}}) {
    std::error_code failure;
    fs::recursive_directory_iterator entry(folder / name, failure), end;
    for (; !failure && entry != end; entry.increment(failure)) {
      std::error_code gone;
      if (!entry->is_regular_file(gone) || gone)
        continue;
      Stored file{entry->path(), entry->file_size(gone), entry->last_write_time(gone), kind};
      if (!gone)
        files.push_back(std::move(file));
    }
  }
  return files;
}

std::uint64_t bytes_below(const fs::path& folder) {
  std::uint64_t bytes = 0;
  std::error_code failure;
  fs::recursive_directory_iterator entry(folder, failure), end;
  for (; !failure && entry != end; entry.increment(failure)) {
    std::error_code gone;
    const bool file = !entry->is_symlink(gone) && entry->is_regular_file(gone);
    const std::uint64_t size = file ? entry->file_size(gone) : 0;
    bytes += gone ? 0 : size;
  }
  return bytes;
}

/// What `build --source` keeps: unpacked sources, packages that setup.py made, environments that
/// pip made.
std::vector<Stored> stored_folders(const fs::path& folder) {
  std::vector<Stored> folders;
  for (const auto& [name, kind] : {std::pair("packages", Kind::package),
                                   {"sources", Kind::source},
                                   {"environments", Kind::environment}}) {
    std::error_code failure;
    fs::directory_iterator entry(folder / name, failure), end;
    for (; !failure && entry != end; entry.increment(failure)) {
      std::error_code gone;
      if (entry->is_symlink(gone) || !entry->is_directory(gone))
        continue;
      Stored stored{entry->path(), 0, entry->last_write_time(gone), kind};
      if (gone)
        continue;
      stored.bytes = bytes_below(stored.path);
      folders.push_back(std::move(stored));
    }
  }
  return folders;
}

std::vector<Stored> stored_in(const fs::path& folder) {
  std::vector<Stored> all = stored_files(folder);
  for (Stored& one : stored_folders(folder))
    all.push_back(std::move(one));
  return all;
}

bool drop(const Stored& stored) {
  if (stored.is_folder())
    return remove_unused(stored.path);
  std::error_code failure;
  return fs::remove(stored.path, failure);
}

}  // namespace

Cache::Cache(fs::path folder) : folder_(std::move(folder)) {}

fs::path Cache::output_file(const std::string& output) const {
  return folder_ / "outputs" / spread(output);
}

fs::path Cache::result_file(const std::string& key) const {
  return folder_ / "results" / spread(key);
}

std::optional<MadeResult> Cache::find(const std::string& key, const HashOf& hash_of,
                                      std::string* changed) const {
  try {
    return find_result(read_file(result_file(key)), hash_of, changed);
  } catch (const Error&) {
    return std::nullopt;
  }
}

bool Cache::add(const std::string& key, const MadeResult& result, const InputHashes& inputs,
                const fs::path& file) const {
  const fs::path output = output_file(result.output), results = result_file(key);
  std::error_code failure;
  fs::create_directories(output.parent_path(), failure);
  fs::create_directories(results.parent_path(), failure);
  try {
    if (!fs::exists(output, failure))
      write_file(output, read_file(file), 0444, Outlives::process);
    std::string before;
    if (fs::exists(results, failure))
      before = read_file(results);
    const std::optional<std::string> now = with_result(before, result, inputs);
    if (now)
      write_file(results, *now, 0644, Outlives::process);
    return now.has_value();
  } catch (const Error&) {
    return false;
  }
}

bool Cache::fetch(const std::string& output, const fs::path& to) const {
  const fs::path file = output_file(output);
  std::string content;
  try {
    content = read_file(file);
  } catch (const Error&) {
    return false;
  }
  if (sha256_hex(content) != output) {
    remove_quietly(file);
    return false;
  }
  write_file(to, content, 0644, Outlives::process);
  return true;
}

void Cache::touch(const std::string& key, const std::string& output) const {
  note_use(output_file(output));
  note_use(result_file(key));
}

CacheUse Cache::use() const {
  CacheUse use;
  for (const Stored& one : stored_in(folder_)) {
    ++(one.kind == Kind::output        ? use.outputs
       : one.kind == Kind::result      ? use.results
       : one.kind == Kind::exports     ? use.exports
       : one.kind == Kind::package     ? use.packages
       : one.kind == Kind::environment ? use.environments
                                       : use.sources);
    use.bytes += one.bytes;
  }
  return use;
}

std::uint64_t Cache::trim(std::uint64_t limit) const {
  const auto now = fs::file_time_type::clock::now();
  const auto is_abandoned = [now](const Stored& one) {
    return is_temporary(one.path) && now - one.used > abandoned_after;
  };
  std::vector<Stored> all = stored_in(folder_);
  std::sort(all.begin(), all.end(), [&](const Stored& left, const Stored& right) {
    return std::pair(!is_abandoned(left), left.used) < std::pair(!is_abandoned(right), right.used);
  });
  std::uint64_t bytes = 0, dropped = 0;
  for (const Stored& one : all)
    bytes += one.bytes;
  for (const Stored& one : all) {
    // A folder that is being filled is held by nobody yet.
    const bool unfinished = is_temporary(one.path) && one.is_folder();
    const bool too_much = bytes - dropped > limit && !unfinished;
    if ((is_abandoned(one) || too_much) && drop(one))
      dropped += one.bytes;
  }
  return dropped;
}

std::size_t Cache::verify() const {
  std::size_t damaged = 0;
  for (const Stored& file : stored_files(folder_)) {
    if (file.kind != Kind::output || is_temporary(file.path))
      continue;
    const std::string name =
        file.path.parent_path().filename().string() + file.path.filename().string();
    try {
      if (hex(sha256_file(file.path)) == name)
        continue;
    } catch (const Error&) {
      if (!fs::exists(file.path))
        continue;  // somebody else dropped it
    }
    remove_quietly(file.path);
    ++damaged;
  }
  return damaged;
}

}  // namespace ds
