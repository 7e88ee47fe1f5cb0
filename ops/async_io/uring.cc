// SPDX-License-Identifier: Apache-2.0
//
// io_uring by its system calls, with what Linux 5.1 has. The rings are memory shared with the
// kernel: a side publishes its index with release, and reads the other's with acquire.
#include <cerrno>

#include "engine.h"

#if __has_include(<linux/io_uring.h>)

#include <linux/io_uring.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#ifndef __NR_io_uring_setup
#define __NR_io_uring_setup 425
#define __NR_io_uring_enter 426
#endif

namespace ds_ops {
namespace {

class Mapping {
 public:
  Mapping() = default;
  Mapping(const Mapping&) = delete;
  ~Mapping() {
    if (at_ != nullptr) {
      munmap(at_, bytes_);
    }
  }
  int map(int fd, std::size_t bytes, off_t which) {
    void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, which);
    if (at == MAP_FAILED) {
      return errno;
    }
    at_ = static_cast<char*>(at);
    bytes_ = bytes;
    // A child must not work on its parent's rings.
    return madvise(at_, bytes_, MADV_DONTFORK) == 0 ? 0 : errno;
  }
  template <class T>
  T* get(std::size_t offset) const {
    return reinterpret_cast<T*>(at_ + offset);
  }

 private:
  char* at_ = nullptr;
  std::size_t bytes_ = 0;
};

std::int64_t now(const Operation& operation) {
  const ssize_t done =
      operation.write ? pwrite(operation.fd, operation.memory, operation.bytes, operation.offset)
                      : pread(operation.fd, operation.memory, operation.bytes, operation.offset);
  return done < 0 ? -errno : done;
}

using Index = std::atomic_ref<unsigned>;

class Uring : public Engine {
 public:
  ~Uring() override {
    if (fd_ >= 0) {
      close(fd_);
    }
  }

  int open(unsigned depth);
  void queue(const Operation& operation) override;
  void queue_wake(int fd) override;
  void run(unsigned least) override;
  bool next(Completion& completion) override;

 private:
  io_uring_sqe& next_entry();

  int fd_ = -1;
  Mapping submissions_, completions_, entries_;
  unsigned *sq_head_ = nullptr, *sq_tail_ = nullptr, *sq_array_ = nullptr;
  unsigned *cq_head_ = nullptr, *cq_tail_ = nullptr;
  unsigned sq_mask_ = 0, cq_mask_ = 0;
  io_uring_cqe* cqes_ = nullptr;
  std::vector<Completion> plain_;  ///< done, not told yet
  std::vector<iovec> vectors_;
};

int Uring::open(unsigned depth) {
  vectors_.resize(depth);
  plain_.reserve(depth);
  io_uring_params about;
  std::memset(&about, 0, sizeof about);
  fd_ = static_cast<int>(syscall(__NR_io_uring_setup, depth + 1, &about));
  if (fd_ < 0) {
    return errno;
  }
  const std::size_t sq_bytes = about.sq_off.array + about.sq_entries * sizeof(unsigned);
  const std::size_t cq_bytes = about.cq_off.cqes + about.cq_entries * sizeof(io_uring_cqe);
  int error = submissions_.map(fd_, sq_bytes, IORING_OFF_SQ_RING);
  error = error != 0 ? error : completions_.map(fd_, cq_bytes, IORING_OFF_CQ_RING);
  error = error != 0 ? error
                     : entries_.map(fd_, about.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES);
  if (error != 0) {
    return error;
  }
  sq_head_ = submissions_.get<unsigned>(about.sq_off.head);
  sq_tail_ = submissions_.get<unsigned>(about.sq_off.tail);
  sq_array_ = submissions_.get<unsigned>(about.sq_off.array);
  sq_mask_ = *submissions_.get<unsigned>(about.sq_off.ring_mask);
  cq_head_ = completions_.get<unsigned>(about.cq_off.head);
  cq_tail_ = completions_.get<unsigned>(about.cq_off.tail);
  cq_mask_ = *completions_.get<unsigned>(about.cq_off.ring_mask);
  cqes_ = completions_.get<io_uring_cqe>(about.cq_off.cqes);
  return 0;
}

/// A cleared entry at the tail. There is room: the ring is longer than what may be on the way.
io_uring_sqe& Uring::next_entry() {
  const unsigned at = *sq_tail_ & sq_mask_;
  sq_array_[at] = at;
  io_uring_sqe& entry = entries_.get<io_uring_sqe>(0)[at];
  std::memset(&entry, 0, sizeof entry);
  return entry;
}

void Uring::queue(const Operation& operation) {
  if (operation.plain) {
    plain_.push_back({operation.slot, now(operation)});
    return;
  }
  iovec& vector = vectors_[operation.slot];
  vector = {operation.memory, operation.bytes};
  io_uring_sqe& entry = next_entry();
  // The plain IORING_OP_READ is younger than this one.
  entry.opcode = operation.write ? IORING_OP_WRITEV : IORING_OP_READV;
  entry.fd = operation.fd;
  entry.off = static_cast<std::uint64_t>(operation.offset);
  entry.addr = reinterpret_cast<std::uint64_t>(&vector);
  entry.len = 1;
  entry.user_data = operation.slot;
  Index(*sq_tail_).store(*sq_tail_ + 1, std::memory_order_release);
}

void Uring::queue_wake(int fd) {
  io_uring_sqe& entry = next_entry();
  entry.opcode = IORING_OP_POLL_ADD;
  entry.fd = fd;
  entry.poll_events = POLLIN;
  entry.user_data = wake_slot;
  Index(*sq_tail_).store(*sq_tail_ + 1, std::memory_order_release);
}

void Uring::run(unsigned least) {
  const unsigned queued = *sq_tail_ - Index(*sq_head_).load(std::memory_order_acquire);
  const unsigned there = Index(*cq_tail_).load(std::memory_order_acquire) - *cq_head_;
  least = there >= least || !plain_.empty() ? 0 : least;
  if (queued == 0 && least == 0) {
    return;
  }
  const long done = syscall(__NR_io_uring_enter, fd_, queued, least,
                            least > 0 ? IORING_ENTER_GETEVENTS : 0, nullptr, 0);
  if (done < 0 && errno != EINTR) {
    // EAGAIN, EBUSY: no memory, or completions to be fetched first. What was not taken stays
    // queued.
    const timespec pause = {0, 1000000};
    nanosleep(&pause, nullptr);
  }
}

bool Uring::next(Completion& completion) {
  if (!plain_.empty()) {
    completion = plain_.back();
    plain_.pop_back();
    return true;
  }
  const unsigned head = *cq_head_;
  if (head == Index(*cq_tail_).load(std::memory_order_acquire)) {
    return false;
  }
  const io_uring_cqe& entry = cqes_[head & cq_mask_];
  completion = {static_cast<std::uint32_t>(entry.user_data), entry.res};
  Index(*cq_head_).store(head + 1, std::memory_order_release);
  return true;
}

}  // namespace

int open_uring(unsigned depth, std::unique_ptr<Engine>& engine) {
  return open_engine<Uring>(depth, engine);
}

}  // namespace ds_ops

#else

// Built where the kernel's headers are older than io_uring.
int ds_ops::open_uring(unsigned, std::unique_ptr<Engine>&) {
  return ENOSYS;
}

#endif
