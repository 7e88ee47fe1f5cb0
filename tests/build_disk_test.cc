// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <sys/statvfs.h>

#include <cstdlib>

#include "base/error.h"
#include "base/file.h"
#include "build/disk.h"
#include "support/recording_status.h"

using namespace ds;
namespace fs = std::filesystem;

namespace {

/// As quota(1) of Debian's quota 4.06 says it, with -w -p, mount points in place of devices.
constexpr const char* said =
    "Disk quotas for user ada (uid 1000): \n"
    "     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace\n"
    "      /  100  200  300       0       1       0       0       0\n"
    "      /home  1500*  1000  2000  604800       1       0       0       0\n"
    "      /scratch  10  0  0  0  1  0  0  0\n"
    "Disk quotas for group lab (gid 1000): \n"
    "     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace\n"
    "      /home  5000  5100  0  0       1       0       0       0\n";

struct Quota {
  explicit Quota(const std::string& text) {
    write_file(folder.path() / "quota", "#!/bin/sh\ncat <<'E'\n" + text + "E\n", 0755);
    ::setenv("PATH", (folder.path().string() + ":" + path).c_str(), 1);
  }
  ~Quota() { ::setenv("PATH", path.c_str(), 1); }
  TempDir folder;
  std::string path = std::getenv("PATH");
};

}  // namespace

TEST_CASE("disk: what quotas leave") {
  CHECK(quota_left(said, "/home/ada/.cache") == 100 * 1024);
  CHECK(quota_left(said, "/homes/ada") == 200 * 1024);
  CHECK(quota_left(said, "/scratch/x") == 200 * 1024);
  CHECK_FALSE(quota_left("Disk quotas for user ada (uid 1000): none\n", "/home"));
  CHECK_FALSE(quota_left("", "/home"));
  CHECK_FALSE(quota_left("  /home  x y z 0 0 0 0 0\n", "/home/ada"));
  const std::string over = "/home 2100* 1000 2000 none 1 0 0 0\n";
  CHECK(quota_left(over, "/home/ada") == 0);
}

TEST_CASE("disk: what jobs need") {
  const std::vector<DiskNeed> needs =
      disk_needs({{1, 1, 10, 7, true}, {1, 1, 20, 5, true}, {1, 1, 40, 9, false}}, "/b", "/c", 2);
  REQUIRE(needs.size() == 3);
  CHECK(needs[0].learned == 30);
  CHECK(needs[0].guessed == 40 + 9 + 7);
  CHECK(needs[1].learned == 30);
  CHECK(needs[1].guessed == 40);
  CHECK(needs[2].guessed == 5 * 60);
}

TEST_CASE("disk: too little of it is told before the first job") {
  const TempDir folder;
  struct statvfs space {};
  REQUIRE(::statvfs(folder.path().c_str(), &space) == 0);
  const std::uint64_t room = std::uint64_t{space.f_bavail} * space.f_frsize;
  const fs::path build = folder.path() / "not/there/yet";
  RecordingStatus status;
  check_disks({{"the build folder", build, 1000, 1000}}, status);
  CHECK(status.warnings.empty());
  SUBCASE("for what is known") {
    try {
      check_disks({{"the build folder", build, room, 0}, {"the cache", folder.path(), room, 0}},
                  status);
      FAIL("it was not told");
    } catch (const Error& error) {
      CHECK(error.status() == ExitStatus::build_failed);
      CHECK(error.what().starts_with("not enough room to build: the build folder (" +
                                     build.string() + "), the cache (" + folder.path().string() +
                                     ") need about "));
      CHECK(error.what().find(", and the disk leaves ") != std::string::npos);
      CHECK(error.fix().find("TMPDIR") != std::string::npos);
    }
  }
  SUBCASE("for what is guessed") {
    check_disks({{"the cache", build, 1000, 2 * room}}, status);
    REQUIRE(status.warnings.size() == 1);
    CHECK(status.warnings[0].starts_with("there may not be enough room to build: the cache ("));
  }
  SUBCASE("by a quota") {
    const Quota quota("  / 100 0 101 0 1 0 0 0\n");
    try {
      check_disks({{"the cache", build, 2000, 0}}, status);
      FAIL("it was not told");
    } catch (const Error& error) {
      CHECK(error.what().ends_with("needs about 2.0 kB, and this user's quota leaves 1.0 kB"));
    }
  }
}
