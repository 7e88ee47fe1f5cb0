// SPDX-License-Identifier: Apache-2.0
#include "base/in_use.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "base/random.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

Fd open_folder(const fs::path& folder) {
  return Fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

/// True if the open folder still has this name.
bool is_named(const Fd& fd, const fs::path& folder) {
  struct stat opened {
  }, named{};
  return ::fstat(fd.get(), &opened) == 0 && ::lstat(folder.c_str(), &named) == 0 &&
         opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

}  // namespace

bool InUse::hold(const fs::path& folder) {
  Fd fd = open_folder(folder);
  if (!fd)
    return false;
  while (::flock(fd.get(), LOCK_SH) != 0 && errno == EINTR) {
  }
  if (!is_named(fd, folder))
    return false;
  std::error_code ignored;  // it may be another user's
  fs::last_write_time(folder, fs::file_time_type::clock::now(), ignored);
  held_.push_back(std::move(fd));
  return true;
}

bool remove_unused(const fs::path& folder) {
  const Fd fd = open_folder(folder);
  if (!fd)
    return false;
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    return false;
  const fs::path going = folder.string() + "." + random_nonce().substr(0, 8);
  std::error_code failure;
  fs::rename(folder, going, failure);
  if (failure)
    return false;
  fs::remove_all(going, failure);
  return !failure;
}

}  // namespace ds
