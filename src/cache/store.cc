// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "base/file.h"
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

struct StoredFile {
  fs::path path;
  std::uint64_t bytes = 0;
  fs::file_time_type used;
  bool is_output = false;
};

/// Every file of the store. Others may add and remove files meanwhile.
std::vector<StoredFile> stored_files(const fs::path& folder) {
  std::vector<StoredFile> files;
  for (const char* kind : {"outputs", "results"}) {
    std::error_code failure;
    fs::recursive_directory_iterator entry(folder / kind, failure), end;
    for (; !failure && entry != end; entry.increment(failure)) {
      std::error_code gone;
      if (!entry->is_regular_file(gone) || gone)
        continue;
      StoredFile file{entry->path(), entry->file_size(gone), entry->last_write_time(gone),
                      std::string_view(kind) == "outputs"};
      if (!gone)
        files.push_back(std::move(file));
    }
  }
  return files;
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
  for (const StoredFile& file : stored_files(folder_)) {
    ++(file.is_output ? use.outputs : use.results);
    use.bytes += file.bytes;
  }
  return use;
}

std::uint64_t Cache::trim(std::uint64_t limit) const {
  std::vector<StoredFile> files = stored_files(folder_);
  std::sort(files.begin(), files.end(),
            [](const StoredFile& left, const StoredFile& right) { return left.used < right.used; });
  std::uint64_t bytes = 0, dropped = 0;
  for (const StoredFile& file : files)
    bytes += file.bytes;
  const auto now = fs::file_time_type::clock::now();
  for (const StoredFile& file : files) {
    const bool abandoned = is_temporary(file.path) && now - file.used > abandoned_after;
    if (bytes - dropped <= limit && !abandoned)
      continue;
    std::error_code failure;
    if (fs::remove(file.path, failure))
      dropped += file.bytes;
  }
  return dropped;
}

std::size_t Cache::verify() const {
  std::size_t damaged = 0;
  for (const StoredFile& file : stored_files(folder_)) {
    if (!file.is_output || is_temporary(file.path))
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
