// SPDX-License-Identifier: Apache-2.0
//
// The C border: arguments are checked here, and nothing is thrown beyond it.
#include "async_io.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "ds_ops/check.h"
#include "ds_ops/error_text.h"
#include "queue.h"
#include "worker.h"

using std::int32_t;
using std::int64_t;

namespace {

constexpr int64_t smallest_block = 4096;
constexpr int64_t largest_block = int64_t{1} << 30;
constexpr int32_t largest_depth = 4096;
constexpr int32_t most_threads = 64;

/// Buffers for what is not aligned: no more than 32 MiB for a thread where that is enough.
int64_t bounce_size(int32_t depth) {
  int64_t size = int64_t{1} << 20;
  while (size > 65536 && size * depth > int64_t{32} << 20) {
    size /= 2;
  }
  return size;
}

int check(const ds_ops_async_io_options* options) {
  if (options == nullptr) {
    return DS_OPS_NULL_POINTER;
  }
  if (options->block_size < smallest_block || options->block_size > largest_block ||
      options->block_size % smallest_block != 0) {
    return DS_OPS_BAD_BLOCK_SIZE;
  }
  if (options->queue_depth < 1 || options->queue_depth > largest_depth) {
    return DS_OPS_BAD_QUEUE_DEPTH;
  }
  if (options->threads < 1 || options->threads > most_threads) {
    return DS_OPS_BAD_WORKERS;
  }
  if (options->engine < DS_OPS_ASYNC_IO_ANY || options->engine > DS_OPS_ASYNC_IO_LINUX_AIO) {
    return DS_OPS_BAD_ENGINE;
  }
  return DS_OPS_OK;
}

int check(const ds_ops_async_io_request* request) {
  if (request == nullptr) {
    return DS_OPS_NULL_POINTER;
  }
  if (request->operation != DS_OPS_ASYNC_IO_READ && request->operation != DS_OPS_ASYNC_IO_WRITE) {
    return DS_OPS_BAD_OPERATION;
  }
  const int code = ds_ops::check_span({request->memory, request->bytes, 1, false});
  if (code != DS_OPS_OK) {
    return code;
  }
  // A block more than the end is asked for when the last one is covered.
  constexpr int64_t end_of_files = INT64_MAX - (int64_t{1} << 20);
  const bool fits = request->offset >= 0 && request->offset <= end_of_files &&
                    request->bytes <= end_of_files - request->offset;
  return fits ? DS_OPS_OK : DS_OPS_BAD_FILE_RANGE;
}

/// Runs `work`, which gives a code; what it throws becomes one.
template <class Work>
int guarded(Work work) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return DS_OPS_ERRNO + ENOMEM;
  } catch (...) {
    return DS_OPS_ERRNO + EAGAIN;
  }
}

}  // namespace

struct ds_ops_async_io {
  ds_ops_async_io(const ds_ops_async_io_options& options, int64_t bounce)
      : owner(getpid()), threads(options.threads), queue(options.block_size, bounce) {}

  bool is_forked() const { return getpid() != owner; }

  const pid_t owner;
  const int32_t threads;
  ds_ops::Queue queue;
  int32_t engine = 0, refused = 0;
  std::mutex lock;  ///< of what follows
  std::vector<std::unique_ptr<ds_ops::Worker>> workers;
  int32_t entered = 0;
};

namespace {

/// Workers with this engine, for all threads: 0 or an errno.
int open_workers(ds_ops_async_io& handle, const ds_ops::WorkerOptions& options, int32_t engine) {
  for (int32_t i = 0; i < handle.threads; ++i) {
    auto worker = std::make_unique<ds_ops::Worker>(handle.queue, options);
    const int error =
        worker->open(engine == DS_OPS_ASYNC_IO_URING ? ds_ops::open_uring : ds_ops::open_linux_aio);
    if (error != 0) {
      handle.workers.clear();
      return error;
    }
    handle.workers.push_back(std::move(worker));
  }
  handle.engine = engine;
  return 0;
}

}  // namespace

int ds_ops_async_io_open(const ds_ops_async_io_options* options, ds_ops_async_io** handle) {
  const int code = check(options);
  if (code != DS_OPS_OK) {
    return code;
  }
  if (handle == nullptr) {
    return DS_OPS_NULL_POINTER;
  }
  return guarded([&] {
    const ds_ops::WorkerOptions workers = {
        static_cast<unsigned>(options->queue_depth), bounce_size(options->queue_depth),
        options->single_submit != 0, options->overlap_events != 0};
    auto made = std::make_unique<ds_ops_async_io>(*options, workers.bounce);
    int error = 0;
    if (options->engine != DS_OPS_ASYNC_IO_LINUX_AIO) {
      error = open_workers(*made, workers, DS_OPS_ASYNC_IO_URING);
    }
    if (options->engine == DS_OPS_ASYNC_IO_LINUX_AIO ||
        (options->engine == DS_OPS_ASYNC_IO_ANY && error != 0)) {
      made->refused = error;
      error = open_workers(*made, workers, DS_OPS_ASYNC_IO_LINUX_AIO);
    }
    if (error != 0) {
      return DS_OPS_ERRNO + error;
    }
    *handle = made.release();
    return static_cast<int>(DS_OPS_OK);
  });
}

int ds_ops_async_io_work(ds_ops_async_io* handle) {
  if (handle == nullptr) {
    return DS_OPS_NULL_POINTER;
  }
  if (handle->is_forked()) {
    return DS_OPS_HANDLE_FORKED;
  }
  return guarded([&] {
    ds_ops::Worker* worker = nullptr;
    {
      const std::lock_guard<std::mutex> guard(handle->lock);
      if (handle->entered == handle->threads) {
        return static_cast<int>(DS_OPS_BAD_WORKERS);
      }
      worker = handle->workers[static_cast<std::size_t>(handle->entered++)].get();
    }
    worker->run();
    return static_cast<int>(DS_OPS_OK);
  });
}

int ds_ops_async_io_submit(ds_ops_async_io* handle, const ds_ops_async_io_request* request,
                           int64_t* id) {
  if (handle == nullptr || id == nullptr) {
    return DS_OPS_NULL_POINTER;
  }
  if (handle->is_forked()) {
    return DS_OPS_HANDLE_FORKED;
  }
  const int code = check(request);
  if (code != DS_OPS_OK) {
    return code;
  }
  return guarded([&] {
    auto made = std::make_unique<ds_ops::Request>();
    made->rest = {static_cast<char*>(request->memory), request->offset, request->bytes,
                  request->operation == DS_OPS_ASYNC_IO_WRITE};
    made->collected = request->collected != 0;
    if (request->path != nullptr) {
      made->path = request->path;
      if (made->path.empty()) {
        return DS_OPS_ERRNO + ENOENT;
      }
    }
    return handle->queue.add(std::move(made), request->fd, id);
  });
}

int ds_ops_async_io_wait(ds_ops_async_io* handle, int64_t id, int64_t milliseconds,
                         ds_ops_async_io_result* result) {
  if (handle == nullptr || result == nullptr) {
    return DS_OPS_NULL_POINTER;
  }
  if (handle->is_forked()) {
    return DS_OPS_HANDLE_FORKED;
  }
  return guarded([&] { return handle->queue.wait(id, milliseconds, result); });
}

int ds_ops_async_io_report(ds_ops_async_io* handle, struct ds_ops_async_io_totals* totals) {
  if (handle == nullptr || totals == nullptr) {
    return DS_OPS_NULL_POINTER;
  }
  if (handle->is_forked()) {
    return DS_OPS_HANDLE_FORKED;
  }
  return guarded([&] {
    handle->queue.totals(totals);
    totals->engine = handle->engine;
    totals->refused = handle->refused;
    return static_cast<int>(DS_OPS_OK);
  });
}

int ds_ops_async_io_close(ds_ops_async_io* handle) {
  if (handle == nullptr) {
    return DS_OPS_NULL_POINTER;
  }
  if (handle->is_forked()) {
    return DS_OPS_OK;
  }
  return guarded([&] {
    handle->queue.close();
    return static_cast<int>(DS_OPS_OK);
  });
}

int ds_ops_async_io_free(ds_ops_async_io* handle) {
  const int code = ds_ops_async_io_close(handle);
  if (code == DS_OPS_OK && !handle->is_forked()) {
    delete handle;
  }
  return code;
}

int ds_ops_async_io_lock(const void* memory, int64_t bytes) {
  const int code = ds_ops::check_span({memory, bytes, 1, false});
  if (code != DS_OPS_OK) {
    return code;
  }
  return mlock(memory, static_cast<std::size_t>(bytes)) == 0 ? DS_OPS_OK : DS_OPS_ERRNO + errno;
}

const char* ds_ops_error_text(int code) {
  return ds_ops::error_text(code);
}
