// SPDX-License-Identifier: Apache-2.0
//
// Linux native AIO by its system calls: what libaio wraps.
#include <linux/aio_abi.h>
#include <poll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "engine.h"

namespace ds_ops {
namespace {

constexpr std::uint16_t command_poll = 5;  // IOCB_CMD_POLL, since Linux 4.18

class LinuxAio : public Engine {
 public:
  ~LinuxAio() override {
    if (context_ != 0) {
      syscall(SYS_io_destroy, context_);
    }
  }

  int open(unsigned depth);
  void queue(const Operation& operation) override;
  void queue_wake(int fd) override;
  void run(unsigned least) override;
  bool next(Completion& completion) override;

 private:
  void submit();

  aio_context_t context_ = 0;
  std::vector<iocb> blocks_;  ///< of each slot, and of the wake
  std::vector<iocb*> queued_;
  std::vector<io_event> events_;
  std::size_t first_ = 0, end_ = 0;  ///< of events_ that were not told yet
  std::vector<Completion> refused_;
};

int LinuxAio::open(unsigned depth) {
  blocks_.resize(depth + 1);
  events_.resize(depth + 1);
  queued_.reserve(depth + 1);
  refused_.reserve(depth + 1);
  return syscall(SYS_io_setup, depth + 1, &context_) == 0 ? 0 : errno;
}

void LinuxAio::queue(const Operation& operation) {
  iocb& block = blocks_[operation.slot];
  std::memset(&block, 0, sizeof block);
  block.aio_data = operation.slot;
  block.aio_lio_opcode = operation.write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
  block.aio_fildes = static_cast<std::uint32_t>(operation.fd);
  block.aio_buf = reinterpret_cast<std::uint64_t>(operation.memory);
  block.aio_nbytes = operation.bytes;
  block.aio_offset = operation.offset;
  queued_.push_back(&block);
}

void LinuxAio::queue_wake(int fd) {
  iocb& block = blocks_.back();
  std::memset(&block, 0, sizeof block);
  block.aio_data = wake_slot;
  block.aio_lio_opcode = command_poll;
  block.aio_fildes = static_cast<std::uint32_t>(fd);
  block.aio_buf = POLLIN;
  queued_.push_back(&block);
}

void LinuxAio::submit() {
  std::size_t taken = 0;
  while (taken < queued_.size()) {
    const long done =
        syscall(SYS_io_submit, context_, queued_.size() - taken, queued_.data() + taken);
    if (done > 0) {
      taken += static_cast<std::size_t>(done);
    } else if (done == 0 || errno == EAGAIN || errno == EINTR) {
      break;
    } else {
      // It is the first one that the kernel does not want.
      refused_.push_back({static_cast<std::uint32_t>(queued_[taken]->aio_data), -errno});
      ++taken;
    }
  }
  queued_.erase(queued_.begin(), queued_.begin() + static_cast<std::ptrdiff_t>(taken));
}

void LinuxAio::run(unsigned least) {
  submit();
  if (first_ < end_ || !refused_.empty()) {
    return;
  }
  if (!queued_.empty()) {
    // The kernel lacks room for all: it has some when one of those on the way is done.
    least = 0;
    const timespec pause = {0, 1000000};
    nanosleep(&pause, nullptr);
  }
  timespec at_once = {0, 0};
  const long done =
      syscall(SYS_io_getevents, context_, static_cast<long>(least),
              static_cast<long>(events_.size()), events_.data(), least > 0 ? nullptr : &at_once);
  first_ = 0;
  end_ = done > 0 ? static_cast<std::size_t>(done) : 0;
}

bool LinuxAio::next(Completion& completion) {
  if (!refused_.empty()) {
    completion = refused_.back();
    refused_.pop_back();
    return true;
  }
  if (first_ == end_) {
    return false;
  }
  const io_event& event = events_[first_++];
  completion = {static_cast<std::uint32_t>(event.data), event.res};
  return true;
}

}  // namespace

int open_linux_aio(unsigned depth, std::unique_ptr<Engine>& engine) {
  return open_engine<LinuxAio>(depth, engine);
}

}  // namespace ds_ops
