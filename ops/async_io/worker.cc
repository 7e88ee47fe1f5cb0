// SPDX-License-Identifier: Apache-2.0
#include "worker.h"

#include <signal.h>
#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "ds_ops/check.h"

namespace ds_ops {
namespace {

/// How often an I/O is tried that the kernel asks to be tried again, a millisecond apart.
constexpr int most_tries = 1000;

std::int64_t lead_of(const Piece& piece, const Alignment& alignment) {
  return piece.offset % alignment.file;
}

bool is_aligned(const Piece& piece, const Alignment& alignment) {
  return piece.offset % alignment.file == 0 && piece.bytes % alignment.file == 0 &&
         ds_ops::is_aligned(piece.memory, static_cast<std::uintptr_t>(alignment.memory));
}

}  // namespace

Worker::Worker(Queue& queue, const WorkerOptions& options)
    : queue_(queue), options_(options), slots_(options.depth) {
  for (std::uint32_t i = options.depth; i > 0; --i) {
    free_.push_back(i - 1);
  }
}

Worker::~Worker() {
  engine_.reset();
  if (bounce_ != nullptr) {
    munmap(bounce_, static_cast<std::size_t>(options_.bounce) * options_.depth);
  }
}

int Worker::open(int (*open_engine)(unsigned, std::unique_ptr<Engine>&)) {
  const int error = bell_.open();
  return error != 0 ? error : open_engine(options_.depth, engine_);
}

void Worker::run() {
  // The program's handlers have no business in this thread, and the system calls no EINTR.
  sigset_t all, before;
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, &before);
  queue_.enter(&bell_);
  for (;;) {
    const bool idle = free_.size() == slots_.size();
    const Filled filled = options_.overlap || idle ? fill() : Filled();
    const std::size_t in_flight = slots_.size() - free_.size();
    if (in_flight == 0) {
      if (filled.over) {
        break;
      }
      bell_.hear(filled.empty);
      continue;
    }
    if (filled.empty && !(options_.overlap && can_wake_)) {
      queue_.set_deaf(&bell_);
    } else if (filled.empty && !wake_queued_) {
      engine_->queue_wake(bell_.fd());
      wake_queued_ = true;
    }
    engine_->run(options_.overlap ? 1 : static_cast<unsigned>(in_flight));
    Completion completion;
    while (engine_->next(completion)) {
      if (completion.slot == Engine::wake_slot) {
        // Kernels before 4.18 refuse it for native AIO: new work is then seen after an I/O.
        can_wake_ = completion.result >= 0;
        wake_queued_ = false;
        bell_.hear(false);
      } else {
        complete(completion);
      }
    }
  }
  queue_.leave(&bell_);
  // A write beyond RLIMIT_FSIZE is told by its result; its signal must not be seen later either.
  sigset_t told;
  sigemptyset(&told);
  sigaddset(&told, SIGXFSZ);
  const timespec at_once = {0, 0};
  while (sigtimedwait(&told, nullptr, &at_once) == SIGXFSZ) {
  }
  sigprocmask(SIG_SETMASK, &before, nullptr);
}

Worker::Filled Worker::fill() {
  Filled filled;
  Work work;
  std::int64_t taken = 0;
  while (!free_.empty()) {
    if (!queue_.take(work, &bell_, filled.over)) {
      filled.empty = true;
      break;
    }
    if (work.start) {
      start(work.request);
      taken = 0;
      continue;
    }
    const std::uint32_t index = free_.back();
    free_.pop_back();
    slots_[index] = {work.request, work.piece, work.write, 0, 0};
    issue(index);
    if (++taken >= work.share) {
      // Through the page cache the I/O itself is done here: time for the others to take their part.
      engine_->run(0);
      taken = 0;
    }
  }
  return filled;
}

void Worker::start(Request* request) {
  const Transfer& all = request->rest;
  int code = DS_OPS_OK;
  if (!request->path.empty()) {
    code = request->file->open_path(request->path.c_str(), all.write);
  }
  if (code == DS_OPS_OK && !request->path.empty() && !request->file->is_direct()) {
    queue_.count_not_direct();
  }
  if (code == DS_OPS_OK && !all.write && all.bytes > 0) {
    code = request->file->check_size(all.offset + all.bytes);
  }
  queue_.started(request, code);
}

void Worker::issue(std::uint32_t index) {
  Operation operation = {};
  const int code = prepare(index, operation);
  if (code != DS_OPS_OK) {
    end(index, code);
    return;
  }
  engine_->queue(operation);
  if (options_.single_submit) {
    engine_->run(0);
  }
}

int Worker::prepare(std::uint32_t index, Operation& operation) {
  const Slot& slot = slots_[index];
  const Piece& piece = slot.piece;
  File& file = *slot.request->file;
  operation = {index,
               slot.write,
               file.fd(),
               piece.memory,
               static_cast<std::uint32_t>(piece.bytes),
               piece.offset,
               file.is_plain()};
  if (piece.route == Route::buffered) {
    return file.buffered(operation.fd);
  }
  if (piece.route == Route::direct) {
    return DS_OPS_OK;
  }
  char* memory = nullptr;
  const int code = bounce_of(index, memory);
  if (code != DS_OPS_OK) {
    return code;
  }
  operation.memory = memory;
  if (slot.write) {
    std::memcpy(memory, piece.memory, static_cast<std::size_t>(piece.bytes));
  } else {
    const std::int64_t lead = lead_of(piece, file.alignment());
    operation.offset -= lead;
    operation.bytes =
        static_cast<std::uint32_t>(round_up(lead + piece.bytes, file.alignment().file));
  }
  return DS_OPS_OK;
}

/// The slot's aligned buffer. Memory is used for those that are written to, no others.
int Worker::bounce_of(std::uint32_t index, char*& memory) {
  if (bounce_ == nullptr) {
    void* all = mmap(nullptr, static_cast<std::size_t>(options_.bounce) * options_.depth,
                     PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED) {
      return DS_OPS_ERRNO + errno;
    }
    bounce_ = static_cast<char*>(all);
  }
  memory = bounce_ + options_.bounce * index;
  return DS_OPS_OK;
}

void Worker::complete(const Completion& completion) {
  Slot& slot = slots_[completion.slot];
  if (completion.result < 0) {
    if (can_retry(slot, -completion.result)) {
      issue(completion.slot);
    } else {
      end(completion.slot, DS_OPS_ERRNO + static_cast<int>(-completion.result));
    }
    return;
  }
  const bool copies = slot.piece.route == Route::bounce && !slot.write;
  const Alignment& alignment = slot.request->file->alignment();
  const std::int64_t lead = copies ? lead_of(slot.piece, alignment) : 0;
  const std::int64_t bytes = std::min(completion.result - lead, slot.piece.bytes);
  if (bytes <= 0 && copies) {
    // Where it ends is before the bytes that were asked for: maybe the file does not.
    slot.piece.route = Route::buffered;
    issue(completion.slot);
    return;
  }
  if (bytes <= 0) {
    end(completion.slot, slot.write ? DS_OPS_ERRNO + EIO : DS_OPS_END_OF_FILE);
    return;
  }
  if (copies) {
    std::memcpy(slot.piece.memory, bounce_ + options_.bounce * completion.slot + lead,
                static_cast<std::size_t>(bytes));
  }
  advance(slot, bytes);
  if (slot.piece.bytes == 0) {
    end(completion.slot, DS_OPS_OK);
  } else {
    issue(completion.slot);
  }
}

bool Worker::can_retry(Slot& slot, std::int64_t error) {
  if (error == EINVAL && slot.piece.route != Route::buffered) {
    if (slot.request->file->set_not_direct()) {
      queue_.count_not_direct();
    }
    slot.piece.route = Route::buffered;
    return true;
  }
  if ((error != EINTR && error != EAGAIN) || slot.tries == most_tries) {
    return false;
  }
  ++slot.tries;
  const timespec pause = {0, 1000000};
  nanosleep(&pause, nullptr);
  return true;
}

/// Some bytes of the piece are done. Where that leaves a rest that O_DIRECT does not take (the file
/// ends there, most likely), the page cache takes it.
void Worker::advance(Slot& slot, std::int64_t bytes) {
  Piece& piece = slot.piece;
  queue_.count(piece.route, bytes);
  piece.memory += bytes;
  piece.offset += bytes;
  piece.bytes -= bytes;
  slot.done += bytes;
  slot.tries = 0;
  if (piece.route == Route::bounce || !is_aligned(piece, slot.request->file->alignment())) {
    piece.route = Route::buffered;
  }
}

void Worker::end(std::uint32_t index, int code) {
  const Slot& slot = slots_[index];
  queue_.ended(slot.request, slot.done, code);
  free_.push_back(index);
}

}  // namespace ds_ops
