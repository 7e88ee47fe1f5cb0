// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <time.h>

#include <charconv>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/machine.h"
#include "base/sha256.h"
#include "cache/cache.h"

namespace ds {
namespace {

constexpr std::string_view header = "ds-deploy.hashes/1\n";
constexpr std::size_t most_remembered = 200000;
/// A change within this time of the last one may leave every number of stat(2) as it was: file
/// clocks tick every few milliseconds, those of some servers once a second.
constexpr std::int64_t coarsest_clock = 2'000'000'000;

std::int64_t nanoseconds(const timespec& time) {
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

std::int64_t wall_clock() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return nanoseconds(now);
}

/// Takes a number and the blank behind it off the front of `line`.
template <typename Number>
bool take(std::string_view& line, Number& number) {
  const auto [end, failure] = std::from_chars(line.data(), line.data() + line.size(), number);
  if (failure != std::errc() || end == line.data() + line.size() || *end != ' ')
    return false;
  line.remove_prefix(static_cast<std::size_t>(end - line.data()) + 1);
  return true;
}

}  // namespace

void write_memory(const std::filesystem::path& file, std::string_view text) {
  std::error_code failure;
  std::filesystem::create_directories(file.parent_path(), failure);
  try {
    write_file(file, text, 0644, Outlives::process);
  } catch (const Error&) {
    return;
  }
}

FileHashes::FileHashes(std::filesystem::path memory) : memory_(std::move(memory)) {
  if (!memory_.empty())
    load();
}

std::filesystem::path FileHashes::memory_in(const std::filesystem::path& cache) {
  return cache / ("hashes." + host_name());
}

std::optional<FileHashes::Identity> FileHashes::identity_of(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode))
    return std::nullopt;
  return Identity{status.st_dev, status.st_ino, static_cast<std::uint64_t>(status.st_size),
                  nanoseconds(status.st_mtim), nanoseconds(status.st_ctim)};
}

const std::string& FileHashes::of(const std::string& path) {
  Known& known = known_[path];
  if (known.asked)
    return known.hash;
  known.asked = true;
  const std::optional<Identity> before = identity_of(path);
  if (before && !known.hash.empty() && *before == known.identity)
    return known.hash;
  known = {{}, before.value_or(Identity{}), true, false};
  if (!before)
    return known.hash;
  try {
    known.hash = hex(sha256_file(path));
  } catch (const Error&) {
    return known.hash;
  }
  const std::int64_t age = wall_clock() - std::max(before->mtime, before->ctime);
  known.lasting = age > coarsest_clock && identity_of(path) == before;
  learned_ |= known.lasting;
  return known.hash;
}

void FileHashes::forget(const std::string& path) {
  known_.erase(path);
}

void FileHashes::load() {
  std::string text;
  try {
    text = read_file(memory_);
  } catch (const Error&) {
    return;
  }
  std::string_view rest = text;
  if (!rest.starts_with(header))
    return;
  rest.remove_prefix(header.size());
  constexpr std::size_t digits = 64;
  for (std::size_t end = 0; (end = rest.find('\n')) != std::string_view::npos;
       rest.remove_prefix(end + 1)) {
    std::string_view line = rest.substr(0, end);
    if (line.size() <= digits || line[digits] != ' ')
      return;
    Known known;
    known.hash = line.substr(0, digits);
    line.remove_prefix(digits + 1);
    Identity& identity = known.identity;
    if (!take(line, identity.device) || !take(line, identity.inode) || !take(line, identity.size) ||
        !take(line, identity.mtime) || !take(line, identity.ctime))
      return;
    known_.emplace(line, std::move(known));
  }
}

void FileHashes::save() {
  if (memory_.empty() || !std::exchange(learned_, false))
    return;
  const bool all = known_.size() <= most_remembered;
  std::string text(header);
  for (const auto& [path, known] : known_) {
    const Identity& identity = known.identity;
    if (known.hash.empty() || !known.lasting || path.find('\n') != std::string::npos ||
        !(all || known.asked))
      continue;
    fmt::format_to(std::back_inserter(text), "{} {} {} {} {} {} {}\n", known.hash, identity.device,
                   identity.inode, identity.size, identity.mtime, identity.ctime, path);
  }
  write_memory(memory_, text);
}

}  // namespace ds
