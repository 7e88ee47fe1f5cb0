// SPDX-License-Identifier: Apache-2.0
#include "file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "ds_ops/abi.h"

namespace ds_ops {
namespace {

constexpr int access_bits = O_ACCMODE | O_DIRECT;
constexpr std::int64_t largest_alignment = 65536;

bool is_power_of_two(std::int64_t value) {
  return value > 0 && (value & (value - 1)) == 0;
}

/// stat by its system call: the function needs a newer C library than all the rest here.
int status(int folder, const char* path, int flags, struct stat& about) {
  return static_cast<int>(syscall(SYS_newfstatat, folder, path, &about, flags));
}

/// What statx says of O_DIRECT since Linux 6.1: `known` false before that, and for file systems
/// that do not tell. The structure is the kernel's; the headers here may be older than the fields.
struct DirectLimits {
  bool known = false;
  std::int64_t memory = 0, file = 0;

  explicit DirectLimits(int fd) {
#ifdef SYS_statx
    constexpr std::uint32_t dio_align = 0x2000;  // STATX_DIOALIGN
    std::uint32_t words[64] = {};                // struct statx, 256 bytes
    if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, dio_align, words) == 0) {
      known = (words[0] & dio_align) != 0;
      memory = words[38];
      file = words[39];
    }
#else
    static_cast<void>(fd);
#endif
  }
};

constexpr std::int64_t tmpfs = 0x01021994, ramfs = 0x858458f6, fuse = 0x65735546;

std::int64_t file_system_of(int fd) {
  struct statfs about;
  return fstatfs(fd, &about) == 0 ? static_cast<std::int64_t>(about.f_type) : 0;
}

}  // namespace

int File::open_path(const char* path, bool write) {
  struct stat about;
  // Opening a FIFO or a device may wait for ever.
  if (status(AT_FDCWD, path, 0, about) == 0 && !S_ISREG(about.st_mode) && !S_ISBLK(about.st_mode)) {
    return DS_OPS_BAD_FILE;
  }
  const int flags = (write ? O_WRONLY | O_CREAT : O_RDONLY) | O_CLOEXEC;
  fd_ = open(path, flags | O_DIRECT, 0666);
  if (fd_ < 0 && errno == EINVAL) {
    fd_ = open(path, flags, 0666);
  }
  if (fd_ < 0) {
    return DS_OPS_ERRNO + errno;
  }
  const int code = examine(write);
  if (code == DS_OPS_OK && !is_direct() && (flags_ & O_DIRECT) != 0 &&
      fcntl(fd_, F_SETFL, flags_ & ~O_DIRECT) == 0) {
    flags_ &= ~O_DIRECT;
  }
  return code;
}

int File::duplicate(int fd, bool write) {
  fd_ = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (fd_ < 0) {
    return DS_OPS_ERRNO + errno;
  }
  return examine(write);
}

int File::examine(bool write) {
  struct stat about;
  flags_ = fcntl(fd_, F_GETFL);
  if (flags_ < 0 || status(fd_, "", AT_EMPTY_PATH, about) != 0) {
    return DS_OPS_ERRNO + errno;
  }
  if (!S_ISREG(about.st_mode) && !S_ISBLK(about.st_mode)) {
    return DS_OPS_BAD_FILE;
  }
  if ((flags_ & O_PATH) != 0 || (flags_ & O_ACCMODE) == (write ? O_RDONLY : O_WRONLY)) {
    return DS_OPS_ERRNO + EBADF;
  }
  if (write && (flags_ & O_APPEND) != 0) {
    return DS_OPS_APPENDS;
  }
  is_block_device_ = S_ISBLK(about.st_mode);
  device_ = about.st_dev;
  inode_ = about.st_ino;
  // Not less than a page and a block of the file system, whatever the device can: so no I/O by
  // O_DIRECT shares what is cached and written back as one with an I/O through the page cache.
  alignment_.file = std::max<std::int64_t>(4096, sysconf(_SC_PAGESIZE));
  if (is_power_of_two(about.st_blksize) && about.st_blksize <= largest_alignment) {
    alignment_.file = std::max<std::int64_t>(alignment_.file, about.st_blksize);
  }
  const DirectLimits limits(fd_);
  const std::int64_t system = file_system_of(fd_);
  is_plain_ = system == fuse;
  // In tmpfs the page cache is all there is, though newer ones take O_DIRECT.
  bool can = (flags_ & O_DIRECT) != 0 && system != tmpfs && system != ramfs;
  if (limits.known) {
    can = can && is_power_of_two(limits.memory) && is_power_of_two(limits.file);
    alignment_.memory = std::max<std::int64_t>(limits.memory, 1);
    alignment_.file = std::max(alignment_.file, limits.file);
  }
  can = can && alignment_.file <= largest_alignment && alignment_.memory <= 4096;
  direct_.store(can, std::memory_order_relaxed);
  return DS_OPS_OK;
}

int File::buffered(int& fd) {
  if ((flags_ & O_DIRECT) == 0) {
    fd = fd_;
    return DS_OPS_OK;
  }
  const std::lock_guard<std::mutex> guard(turn_);
  if (buffered_fd_ < 0) {
    // The same file for certain, even if it was renamed or removed meanwhile.
    char path[32];
    std::snprintf(path, sizeof path, "/proc/self/fd/%d", fd_);
    buffered_fd_ = open(path, (flags_ & O_ACCMODE) | O_CLOEXEC);
    if (buffered_fd_ < 0) {
      return DS_OPS_ERRNO + errno;
    }
    // Single blocks are asked for: what lies behind them will not be.
    posix_fadvise(buffered_fd_, 0, 0, POSIX_FADV_RANDOM);
  }
  fd = buffered_fd_;
  return DS_OPS_OK;
}

int File::check_size(std::int64_t end) const {
  struct stat about;
  if (is_block_device_) {
    return DS_OPS_OK;
  }
  if (status(fd_, "", AT_EMPTY_PATH, about) != 0) {
    return DS_OPS_ERRNO + errno;
  }
  return about.st_size < end ? DS_OPS_END_OF_FILE : DS_OPS_OK;
}

bool File::is_same(const File& other) const {
  return device_ == other.device_ && inode_ == other.inode_ &&
         (flags_ & access_bits) == (other.flags_ & access_bits);
}

int File::close() {
  int error = 0;
  for (int* fd : {&buffered_fd_, &fd_}) {
    if (*fd >= 0 && ::close(*fd) != 0 && errno != EINTR) {
      error = errno;
    }
    *fd = -1;
  }
  return error;
}

}  // namespace ds_ops
