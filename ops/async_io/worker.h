// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine.h"
#include "queue.h"

namespace ds_ops {

/// How the workers of a handle work.
struct WorkerOptions {
  unsigned depth;
  std::int64_t bounce;  ///< bytes of the aligned buffer of a slot
  bool single_submit;
  bool overlap;
};

/// Takes pieces of the queue and has up to `depth` of them in flight, in one thread.
class Worker {
 public:
  Worker(Queue& queue, const WorkerOptions& options);
  Worker(const Worker&) = delete;
  ~Worker();

  /// 0 or an errno: of the engine, or of the bell.
  int open(int (*open_engine)(unsigned, std::unique_ptr<Engine>&));
  /// Comes back when the queue is closed and empty. Nothing is thrown.
  void run();

 private:
  struct Slot {
    Request* request;
    Piece piece;  ///< what is left of it
    bool write;
    std::int64_t done;
    int tries;  ///< without progress
  };

  /// What `fill` left undone: nothing to take, and nothing will come.
  struct Filled {
    bool empty = false;
    bool over = false;
  };

  Filled fill();
  void start(Request* request);
  void issue(std::uint32_t index);
  int prepare(std::uint32_t index, Operation& operation);
  int bounce_of(std::uint32_t index, char*& memory);
  void complete(const Completion& completion);
  bool can_retry(Slot& slot, std::int64_t error);
  void advance(Slot& slot, std::int64_t bytes);
  void end(std::uint32_t index, int code);

  Queue& queue_;
  const WorkerOptions options_;
  Bell bell_;
  std::unique_ptr<Engine> engine_;
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_;
  bool can_wake_ = true, wake_queued_ = false;
  char* bounce_ = nullptr;
};

}  // namespace ds_ops
