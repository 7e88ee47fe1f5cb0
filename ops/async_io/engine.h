// SPDX-License-Identifier: Apache-2.0
//
// How I/Os get into the kernel and come back. An engine belongs to one thread.
#pragma once

#include <cstdint>
#include <memory>

namespace ds_ops {

struct Operation {
  std::uint32_t slot;  ///< comes back with the completion
  bool write;
  int fd;
  void* memory;
  std::uint32_t bytes;
  std::int64_t offset;
  bool plain;  ///< the file is none for io_uring, see File
};

struct Completion {
  std::uint32_t slot;
  std::int64_t result;  ///< bytes, or an errno below 0
};

class Engine {
 public:
  /// The slot that tells that the descriptor of `queue_wake` can be read.
  static constexpr std::uint32_t wake_slot = UINT32_MAX;

  virtual ~Engine() = default;
  /// Takes an I/O in; at most `depth` may be on the way, and one wake.
  virtual void queue(const Operation& operation) = 0;
  virtual void queue_wake(int fd) = 0;
  /// Gives the kernel what was queued and waits until `least` completions are there. May come back
  /// with fewer: after a signal, or when the kernel lacks memory.
  virtual void run(unsigned least) = 0;
  /// The next completion; false if none is there.
  virtual bool next(Completion& completion) = 0;
};

/// 0 and a Kind of engine, or an errno.
template <class Kind>
int open_engine(unsigned depth, std::unique_ptr<Engine>& engine) {
  auto made = std::make_unique<Kind>();
  const int error = made->open(depth);
  if (error == 0) {
    engine = std::move(made);
  }
  return error;
}

/// Both give 0 or an errno.
int open_uring(unsigned depth, std::unique_ptr<Engine>& engine);
int open_linux_aio(unsigned depth, std::unique_ptr<Engine>& engine);

}  // namespace ds_ops
