// SPDX-License-Identifier: Apache-2.0
#include "build/job_files.h"

#include <fmt/format.h>
#include <unistd.h>

#include <random>

#include "base/error.h"
#include "base/file.h"
#include "base/machine.h"
#include "base/sha256.h"
#include "base/text.h"
#include "build/depfile.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

std::string replace_all(std::string text, std::string_view from, const std::string& to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

fs::path with(const fs::path& path, const char* ending) {
  return path.string() + ending;
}

/// Of this machine's name; the folder may be shared with others.
std::string host_mark() {
  return sha256_hex(host_name()).substr(0, 6);
}

}  // namespace

std::string temporary_suffix() {
  return fmt::format(".tmp.{}.{}.{:06x}", host_mark(), ::getpid(),
                     std::random_device()() & 0xffffff);
}

void remove_abandoned(const fs::path& folder) {
  const std::string mark = ".tmp." + host_mark() + ".";
  std::error_code failure;
  fs::recursive_directory_iterator entry(folder, failure), end;
  for (; !failure && entry != end; entry.increment(failure)) {
    const std::string name = entry->path().filename().string();
    const std::size_t at = name.find(mark);
    if (at == std::string::npos)
      continue;
    const std::vector<std::string> pieces = split(name.substr(at + mark.size()), '.');
    if (may_be_running(pieces.front()))
      continue;
    std::error_code ignored;
    entry.disable_recursion_pending();
    fs::remove_all(entry->path(), ignored);
  }
}

JobFiles::JobFiles(const Job& job, const fs::path& build_folder, const std::string& suffix)
    : build_folder_(build_folder),
      folder_(job.command.cwd.empty() ? build_folder : job.command.cwd),
      output_(build_folder / job.output),
      temporary_(output_.string() + suffix) {
  make_folders(output_.parent_path());
}

std::string JobFiles::absolute(const fs::path& input) const {
  return (folder_ / input).lexically_normal().string();
}

std::string JobFiles::portable(const std::string& absolute) const {
  const std::string below = folder_.string() + "/";
  return absolute.starts_with(below) ? absolute.substr(below.size()) : absolute;
}

Command JobFiles::named(const Job& job, const fs::path& output, const fs::path& base,
                        int threads) const {
  Command command = job.command;
  command.cwd = folder_;
  for (std::string& word : command.argv) {
    if (word.find('@') == std::string::npos)
      continue;
    word = replace_all(std::move(word), "@OUT@", output.string());
    word = replace_all(std::move(word), "@DEP@", with(base, ".d").string());
    word = replace_all(std::move(word), "@KEEP@", with(base, ".keep").string());
    word = replace_all(std::move(word), "@FOLDER@", folder_.string());
    word = replace_all(std::move(word), "@BUILD@", build_folder_.string());
    word = replace_all(std::move(word), "@THREADS@", std::to_string(threads));
  }
  return command;
}

Command JobFiles::command(const Job& job, int threads) const {
  for (const std::string& word : job.command.argv) {
    if (word.find("@KEEP@") != std::string::npos)
      make_folders(with(temporary_, ".keep"));
  }
  return named(job, temporary_, temporary_, threads);
}

Command JobFiles::shown_command(const Job& job) const {
  return named(job, output_, output_, 1);
}

std::string JobFiles::shell_line(const Job& job) const {
  const Command shown = shown_command(job);
  std::vector<std::string> words = shown.environment;
  for (const std::string& word : shown.argv)
    words.push_back(shell_quote(word));
  return clean(fmt::format("cd {} && {}", shell_quote(shown.cwd.string()), join(words, " ")));
}

std::vector<std::string> JobFiles::headers() const {
  std::vector<std::string> names;
  std::error_code failure;
  if (fs::is_regular_file(with(temporary_, ".d"), failure)) {
    for (const std::string& name : parse_depfile(read_file(with(temporary_, ".d"))))
      names.push_back(absolute(name));
  }
  return names;
}

std::uint64_t JobFiles::kept_bytes() const {
  std::uint64_t bytes = 0;
  std::error_code absent;
  fs::directory_iterator file(with(temporary_, ".keep"), absent), end;
  for (; !absent && file != end; file.increment(absent)) {
    const std::uintmax_t size = file->file_size(absent);
    bytes += absent ? 0 : size;
  }
  return bytes;
}

void JobFiles::keep() const {
  std::error_code failure;
  fs::rename(temporary_, output_, failure);
  if (failure) {
    throw Error(fmt::format("cannot write {}: {}", output_.string(), failure.message()), {},
                ExitStatus::usage);
  }
  remove_temporaries();
}

void JobFiles::remove_temporaries() const {
  std::error_code ignored;
  fs::remove(temporary_, ignored);
  fs::remove(with(temporary_, ".d"), ignored);
  fs::remove_all(with(temporary_, ".keep"), ignored);
}

}  // namespace ds
