// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <mutex>

#include "piece.h"

namespace ds_ops {

/// A file that is open for requests: one descriptor with O_DIRECT or without, and where that one
/// has it and the page cache is needed too, a second one.
class File {
 public:
  /// Both give DS_OPS_OK or a code. `open_path` opens with O_DIRECT if that works; `duplicate`
  /// takes the descriptor as it is.
  int open_path(const char* path, bool write);
  int duplicate(int fd, bool write);

  File() = default;
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() { close(); }

  int fd() const { return fd_; }
  bool is_direct() const { return direct_.load(std::memory_order_relaxed); }
  /// The file took O_DIRECT when it was opened and refuses it now. False if that was known.
  bool set_not_direct() { return direct_.exchange(false); }
  /// Not for io_uring: after a short read of FUSE it goes on by itself, and reads the same bytes
  /// again as if they were the next ones (seen with Linux 6.18, of a server that does not do direct
  /// I/O asynchronously). The kernel does not tell which servers do.
  bool is_plain() const { return is_plain_; }
  /// The descriptor for I/O through the page cache.
  int buffered(int& fd);
  const Alignment& alignment() const { return alignment_; }
  /// Whether bytes up to `end` are there to be read now. A code.
  int check_size(std::int64_t end) const;
  /// The two are the same file, open in the same way.
  bool is_same(const File& other) const;
  /// Gives the descriptors back: 0, or the errno of what the file system tells only now.
  int close();

 private:
  int examine(bool write);

  int fd_ = -1;
  int buffered_fd_ = -1;
  std::mutex turn_;  ///< of buffered_fd_
  std::atomic<bool> direct_{false};
  bool is_block_device_ = false, is_plain_ = false;
  int flags_ = 0;
  dev_t device_ = 0;
  ino_t inode_ = 0;
  Alignment alignment_ = {4096, 4096};
};

}  // namespace ds_ops
