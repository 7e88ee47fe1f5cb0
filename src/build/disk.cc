// SPDX-License-Identifier: Apache-2.0
#include "build/disk.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <map>
#include <numeric>

#include "base/error.h"
#include "base/text.h"
#include "process/process.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

/// All folders of a build that lie on one disk.
struct Disk {
  fs::path folder;
  std::vector<std::string> whats;
  std::uint64_t learned = 0, guessed = 0;
};

fs::path nearest_that_exists(fs::path folder) {
  std::error_code failure;
  while (!fs::exists(folder, failure) && folder.has_relative_path())
    folder = folder.parent_path();
  const fs::path real = fs::canonical(folder, failure);
  return failure ? folder : real;
}

std::vector<Disk> by_disk(const std::vector<DiskNeed>& needs) {
  std::map<dev_t, Disk> disks;
  for (const DiskNeed& need : needs) {
    const fs::path folder = nearest_that_exists(need.folder);
    struct stat status {};
    if (::stat(folder.c_str(), &status) != 0)
      continue;
    Disk& disk = disks.try_emplace(status.st_dev, Disk{folder, {}, 0, 0}).first->second;
    disk.whats.push_back(fmt::format("{} ({})", need.what, clean_line(need.folder.string())));
    disk.learned += need.learned;
    disk.guessed += need.guessed;
  }
  std::vector<Disk> list;
  for (auto& [device, disk] : disks)
    list.push_back(std::move(disk));
  return list;
}

std::uint64_t free_bytes(const fs::path& folder) {
  struct statvfs space {};
  if (::statvfs(folder.c_str(), &space) != 0)
    return std::numeric_limits<std::uint64_t>::max();
  return std::uint64_t{space.f_bavail} * space.f_frsize;
}

/// Nothing where quotas are not used: the program is not there then, or says nothing.
std::string ask_quota() {
  const CommandResult said =
      run_command({{"quota", "-u", "-g", "-w", "-p", "-Q", "--show-mntpoint", "--hide-device"},
                   {},
                   {"LC_ALL=C"}},
                  std::chrono::seconds(5));
  return said.output;
}

bool lies_below(const fs::path& folder, const std::string& mount) {
  return mount == "/" || folder == fs::path(mount) || folder.string().starts_with(mount + "/");
}

std::uint64_t most_at_once(std::vector<std::uint64_t> bytes, int slots) {
  std::sort(bytes.rbegin(), bytes.rend());
  bytes.resize(std::min(bytes.size(), static_cast<std::size_t>(slots)));
  return std::accumulate(bytes.begin(), bytes.end(), std::uint64_t{0});
}

}  // namespace

std::vector<DiskNeed> disk_needs(const std::vector<JobCost>& jobs, const fs::path& build_folder,
                                 const fs::path& cache, int slots) {
  constexpr std::uint64_t text_by_object = 5;
  const char* named = std::getenv("TMPDIR");
  DiskNeed outputs{"the build folder", build_folder}, store{"the cache", cache};
  DiskNeed scratch{"temporary files", named != nullptr && *named != '\0' ? named : "/tmp"};
  std::vector<std::uint64_t> kept, texts;
  for (const JobCost& job : jobs) {
    for (DiskNeed* need : {&outputs, &store})
      (job.learned ? need->learned : need->guessed) += job.output;
    kept.push_back(job.kept);
    texts.push_back(text_by_object * job.output);
  }
  outputs.guessed += most_at_once(std::move(kept), slots);
  scratch.guessed = most_at_once(std::move(texts), slots);
  return {outputs, store, scratch};
}

std::optional<std::uint64_t> quota_left(std::string_view said, const fs::path& folder) {
  constexpr std::size_t numbers = 8;  // blocks of 1 KiB and files: used, quota, limit, grace
  std::size_t longest = 0;
  std::optional<std::uint64_t> left;
  for (const std::string& line : lines(std::string(said))) {
    const std::vector<std::string> words = split_words(line);
    if (words.size() != 1 + numbers || !words[0].starts_with('/') || !lies_below(folder, words[0]))
      continue;
    std::string used = words[1];  // "123*": more than the quota
    used.erase(std::remove(used.begin(), used.end(), '*'), used.end());
    const auto number = [](const std::string& text) {
      return parse_integer(text, 0, std::numeric_limits<long>::max() / 1024).value_or(0);
    };
    const long limit = number(words[3]) > 0 ? number(words[3]) : number(words[2]);
    if (limit == 0 || words[0].size() < longest)
      continue;
    const auto bytes = static_cast<std::uint64_t>(std::max(0L, limit - number(used))) * 1024;
    left = words[0].size() > longest ? bytes : std::min(*left, bytes);
    longest = words[0].size();
  }
  return left;
}

void check_disks(const std::vector<DiskNeed>& needs, Status& status) {
  const std::string quota = ask_quota();
  for (const Disk& disk : by_disk(needs)) {
    std::uint64_t room = free_bytes(disk.folder);
    const std::optional<std::uint64_t> left = quota_left(quota, disk.folder);
    const bool by_quota = left && *left < room;
    if (by_quota)
      room = *left;
    const std::uint64_t all = disk.learned + disk.guessed;
    if (all <= room)
      continue;
    const std::string text =
        fmt::format("{} {} about {}, and {} leaves {}", join(disk.whats, ", "),
                    disk.whats.size() == 1 ? "needs" : "need", human_bytes(all),
                    by_quota ? "this user's quota" : "the disk", human_bytes(room));
    const char* fix =
        "free some, as with 'ds-deploy cache trim --cache-size 5G', or name folders elsewhere with "
        "--cache-dir, --build-dir and TMPDIR";
    if (disk.learned > room)
      throw Error("not enough room to build: " + text, fix, ExitStatus::build_failed);
    status.warning(fmt::format("there may not be enough room to build: {}; {}", text, fix));
  }
}

}  // namespace ds
