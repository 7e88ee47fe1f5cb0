// SPDX-License-Identifier: Apache-2.0
#include "queue.h"

#include <linux/futex.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

namespace ds_ops {

Bell::~Bell() {
  if (fd_ >= 0) {
    close(fd_);
  }
}

int Bell::open() {
  fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return fd_ < 0 ? errno : 0;
}

void Bell::ring() const {
  const std::uint64_t one = 1;
  static_cast<void>(!write(fd_, &one, sizeof one));
}

void Bell::hear(bool wait) const {
  std::uint64_t rings = 0;
  if (wait) {
    pollfd about = {fd_, POLLIN, 0};
    poll(&about, 1, -1);
  }
  static_cast<void>(!read(fd_, &rings, sizeof rings));
}

Queue::Queue(std::int64_t block, std::int64_t bounce) : block_(block), bounce_(bounce) {}

int Queue::add(std::unique_ptr<Request> request, int fd, std::int64_t* id) {
  auto file = std::make_unique<File>();
  if (request->path.empty()) {
    const int code = file->duplicate(fd, request->rest.write);
    if (code != DS_OPS_OK) {
      return code;
    }
  }
  const std::lock_guard<std::mutex> guard(lock_);
  if (closed_) {
    return DS_OPS_HANDLE_CLOSED;
  }
  Request* added = request.get();
  added->id = last_id_ + 1;
  files_.reserve(files_.size() + 1);
  requests_.emplace(added->id, std::move(request));
  added->file = added->path.empty() ? share(file) : file.get();
  if (!added->path.empty()) {
    added->own_file = std::move(file);
  }
  last_id_ = added->id;
  to_collect_ += added->collected ? 1 : 0;
  fresh_.push(added);
  *id = added->id;
  ring(1);
  return DS_OPS_OK;
}

/// With the lock held, and room in `files_`: one duplicate serves all requests for a file, for many
/// of them must not use up the descriptors.
File* Queue::share(std::unique_ptr<File>& file) {
  for (SharedFile& known : files_) {
    if (known.file->is_same(*file)) {
      ++known.users;
      return known.file.get();
    }
  }
  files_.push_back({std::move(file), 1});
  return files_.back().file.get();
}

/// With the lock held: the file, if nobody else uses it.
std::unique_ptr<File> Queue::unshare(const File* file) {
  const auto found = std::find_if(files_.begin(), files_.end(), [file](const SharedFile& known) {
    return known.file.get() == file;
  });
  std::unique_ptr<File> last;
  if (--found->users == 0) {
    last = std::move(found->file);
    files_.erase(found);
  }
  return last;
}

/// With the lock held: calls as many workers that wait as there are pieces.
void Queue::ring(std::int64_t pieces) {
  for (Worker& worker : workers_) {
    if (worker.waits && pieces > 0) {
      worker.waits = false;
      worker.bell->ring();
      --pieces;
    }
  }
}

void Queue::enter(Bell* bell) {
  const std::lock_guard<std::mutex> guard(lock_);
  workers_.push_back({bell, false});
}

void Queue::leave(Bell* bell) {
  const std::lock_guard<std::mutex> guard(lock_);
  workers_.erase(std::find_if(workers_.begin(), workers_.end(),
                              [bell](const Worker& worker) { return worker.bell == bell; }));
  changed();
}

void Queue::set_deaf(const Bell* bell) {
  const std::lock_guard<std::mutex> guard(lock_);
  for (Worker& worker : workers_) {
    worker.waits = worker.waits && worker.bell != bell;
  }
}

bool Queue::take(Work& work, const Bell* bell, bool& over) {
  const std::lock_guard<std::mutex> guard(lock_);
  for (Worker& worker : workers_) {
    if (worker.bell == bell) {
      worker.waits = open_.empty() && fresh_.empty();
    }
  }
  if (!open_.empty()) {
    Request* request = open_.front();
    const bool direct = request->file->is_direct();
    const Transfer& rest = request->rest;
    work = {request,
            false,
            rest.write,
            request->share,
            {rest.memory, rest.offset, std::min(rest.bytes, block_), Route::buffered}};
    if (direct) {
      const Alignment& alignment = request->file->alignment();
      const std::int64_t block = round_up(block_, alignment.file);
      work.piece = first_piece(rest, alignment, block, std::min(block, bounce_));
    }
    request->rest.memory += work.piece.bytes;
    request->rest.offset += work.piece.bytes;
    request->rest.bytes -= work.piece.bytes;
    ++request->in_flight;
    if (request->rest.bytes == 0) {
      open_.pop();
    }
    return true;
  }
  if (!fresh_.empty()) {
    work = {fresh_.pop(), true, false, 0, {}};
    return true;
  }
  over = closed_;
  return false;
}

void Queue::started(Request* request, int code) {
  bool complete = false;
  {
    const std::lock_guard<std::mutex> guard(lock_);
    request->code = code;
    complete = code != DS_OPS_OK || request->rest.bytes == 0;
    if (!complete) {
      const auto workers = static_cast<std::int64_t>(workers_.size());
      const std::int64_t others = (request->rest.bytes - 1) / block_;
      if (workers > 1 && others > 0) {
        request->share = std::max<std::int64_t>(others / workers, 1);
      }
      open_.push(request);
      ring(others);
    }
  }
  if (complete) {
    finish(request);
  }
}

void Queue::ended(Request* request, std::int64_t bytes, int code) {
  bool complete = false;
  {
    const std::lock_guard<std::mutex> guard(lock_);
    request->done += bytes;
    --request->in_flight;
    if (code != DS_OPS_OK && request->code == DS_OPS_OK) {
      request->code = code;
      drop_rest(request);
    }
    complete = request->in_flight == 0 && request->rest.bytes == 0;
  }
  if (complete) {
    finish(request);
  }
}

/// With the lock held: nothing more of it is begun.
void Queue::drop_rest(Request* request) {
  if (request->rest.bytes == 0) {
    return;
  }
  request->rest.bytes = 0;
  RequestList others;
  while (!open_.empty()) {
    Request* one = open_.pop();
    if (one != request) {
      others.push(one);
    }
  }
  open_ = others;
}

void Queue::finish(Request* request) {
  // Closing may take long, and may be where the file system tells of a failed write.
  int error = 0;
  std::unique_ptr<File> shared;
  if (request->own_file != nullptr) {
    error = request->own_file->close();
  } else {
    const std::lock_guard<std::mutex> guard(lock_);
    shared = unshare(request->file);
  }
  if (shared != nullptr) {
    error = shared->close();
  }
  const std::lock_guard<std::mutex> guard(lock_);
  if (request->code == DS_OPS_OK && error != 0) {
    request->code = DS_OPS_ERRNO + error;
  }
  request->ended = true;
  ++totals_.requests;
  totals_.failed += request->code == DS_OPS_OK ? 0 : 1;
  if (request->collected) {
    collected_.push(request);
  }
  changed();
}

/// With the lock held: wakes those who wait.
void Queue::changed() {
  ++changes_;
  if (waiting_ > 0) {
    syscall(SYS_futex, &changes_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
  }
}

/// With the lock held, but not while it waits. It may come back for no reason. A condition variable
/// with a clock that nobody sets needs a newer C library than all the rest here.
void Queue::wait_for_change(const timespec* longest) {
  const std::uint32_t seen = changes_;
  ++waiting_;
  lock_.unlock();
  syscall(SYS_futex, &changes_, FUTEX_WAIT_PRIVATE, seen, longest, nullptr, 0);
  lock_.lock();
  --waiting_;
}

void Queue::tell(Request* request, ds_ops_async_io_result* result) {
  *result = {request->id, request->done, request->code};
  to_collect_ -= request->collected ? 1 : 0;
  requests_.erase(request->id);
}

namespace {

std::int64_t now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return std::int64_t{time.tv_sec} * 1000 + time.tv_nsec / 1000000;
}

}  // namespace

int Queue::wait(std::int64_t id, std::int64_t milliseconds, ds_ops_async_io_result* result) {
  // Longer than any wait, and short enough for the sum.
  const std::int64_t longest = std::min<std::int64_t>(milliseconds, std::int64_t{1} << 40);
  const std::int64_t until = now() + longest;
  const std::lock_guard<std::mutex> guard(lock_);
  for (;;) {
    Request* request = nullptr;
    if (id == 0) {
      if (!collected_.empty()) {
        request = collected_.pop();
      } else if (closed_ && to_collect_ == 0) {
        return DS_OPS_HANDLE_CLOSED;
      }
    } else {
      const auto found = requests_.find(id);
      if (found == requests_.end() || found->second->collected) {
        return DS_OPS_BAD_REQUEST;
      }
      request = found->second->ended ? found->second.get() : nullptr;
    }
    if (request != nullptr) {
      tell(request, result);
      return DS_OPS_OK;
    }
    const std::int64_t left = milliseconds < 0 ? 1000 : until - now();
    if (left <= 0) {
      return DS_OPS_PENDING;
    }
    const timespec time = {static_cast<time_t>(left / 1000),
                           static_cast<long>(left % 1000) * 1000000};
    wait_for_change(&time);
  }
}

void Queue::close() {
  const std::lock_guard<std::mutex> guard(lock_);
  closed_ = true;
  for (const Worker& worker : workers_) {
    worker.bell->ring();
  }
  changed();
  while (!workers_.empty()) {
    wait_for_change(nullptr);
  }
}

void Queue::count(Route route, std::int64_t bytes) {
  const std::lock_guard<std::mutex> guard(lock_);
  std::int64_t& total = route == Route::direct   ? totals_.direct_bytes
                        : route == Route::bounce ? totals_.bounced_bytes
                                                 : totals_.buffered_bytes;
  total += bytes;
}

void Queue::count_not_direct() {
  const std::lock_guard<std::mutex> guard(lock_);
  ++totals_.not_direct;
}

void Queue::totals(ds_ops_async_io_totals* totals) {
  const std::lock_guard<std::mutex> guard(lock_);
  *totals = totals_;
}

}  // namespace ds_ops
