// SPDX-License-Identifier: Apache-2.0
//
// The requests of a handle, from the call that makes one to the call that asks for its result, and
// who works on them. Lock, condition and counters; the I/O is the workers'.
#pragma once

#include <time.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "async_io.h"
#include "file.h"
#include "piece.h"

namespace ds_ops {

/// Guarded by the queue's lock, but for `path` and `file`, which only the worker that starts it
/// writes, before any other sees it.
struct Request {
  std::int64_t id = 0;
  Transfer rest = {};  ///< what no worker has taken yet
  std::string path;
  File* file = nullptr;
  std::unique_ptr<File> own_file;  ///< the one that `path` names
  bool collected = false;
  bool ended = false;
  int code = 0;  ///< the first failure
  std::int64_t done = 0;
  std::int64_t in_flight = 0;      ///< pieces that workers have
  std::int64_t share = INT64_MAX;  ///< as in Work
  Request* next = nullptr;         ///< in the list that it is in
};

/// First in, first out, without allocation.
class RequestList {
 public:
  bool empty() const { return first_ == nullptr; }
  Request* front() const { return first_; }
  void push(Request* request) {
    request->next = nullptr;
    (first_ == nullptr ? first_ : last_->next) = request;
    last_ = request;
  }
  Request* pop() {
    Request* request = first_;
    first_ = request->next;
    return request;
  }

 private:
  Request *first_ = nullptr, *last_ = nullptr;
};

/// A piece of a request, or a request that is to be started.
struct Work {
  Request* request = nullptr;
  bool start = false;
  bool write = false;
  std::int64_t share = 0;  ///< pieces of it that a worker begins at one time, with others beside it
  Piece piece = {};
};

/// How a worker is called when there is work: a descriptor that can be read then.
class Bell {
 public:
  Bell() = default;
  Bell(const Bell&) = delete;
  ~Bell();
  int open();
  int fd() const { return fd_; }
  void ring() const;
  /// Silences it; if it is silent, waits until it rings when `wait` is true.
  void hear(bool wait) const;

 private:
  int fd_ = -1;
};

class Queue {
 public:
  Queue(std::int64_t block, std::int64_t bounce);
  Queue(const Queue&) = delete;

  // For those who ask. All but `add` as in async_io.h.
  int add(std::unique_ptr<Request> request, int fd, std::int64_t* id);
  int wait(std::int64_t id, std::int64_t milliseconds, ds_ops_async_io_result* result);
  void close();
  void totals(ds_ops_async_io_totals* totals);

  // For the workers.
  void enter(Bell* bell);
  void leave(Bell* bell);
  /// It cannot hear its bell until an I/O has ended.
  void set_deaf(const Bell* bell);
  /// Something to do; false if there is nothing now, and then `bell` rings for what comes, and
  /// `over` tells that nothing will come.
  bool take(Work& work, const Bell* bell, bool& over);
  /// A request is open and can be worked on, or has failed with `code`.
  void started(Request* request, int code);
  /// A piece has ended.
  void ended(Request* request, std::int64_t bytes, int code);
  void count(Route route, std::int64_t bytes);
  void count_not_direct();

 private:
  struct SharedFile {
    std::unique_ptr<File> file;
    std::int64_t users;
  };
  struct Worker {
    Bell* bell;
    bool waits;
  };

  File* share(std::unique_ptr<File>& file);
  std::unique_ptr<File> unshare(const File* file);
  void ring(std::int64_t pieces);
  void drop_rest(Request* request);
  void finish(Request* request);
  void tell(Request* request, ds_ops_async_io_result* result);
  void changed();
  void wait_for_change(const timespec* longest);

  const std::int64_t block_, bounce_;
  std::mutex lock_;
  std::uint32_t changes_ = 0;  ///< requests that ended and workers that left; a futex
  std::int64_t waiting_ = 0;   ///< threads that wait for the next of them
  std::map<std::int64_t, std::unique_ptr<Request>> requests_;
  RequestList fresh_;              ///< to be started
  RequestList open_;               ///< pieces can be taken
  RequestList collected_;          ///< ended, to be told by wait(0)
  std::vector<SharedFile> files_;  ///< of descriptors that the caller gave
  std::vector<Worker> workers_;
  std::int64_t last_id_ = 0;
  std::int64_t to_collect_ = 0;  ///< collected requests that were not told yet
  bool closed_ = false;
  ds_ops_async_io_totals totals_ = {};
};

}  // namespace ds_ops
