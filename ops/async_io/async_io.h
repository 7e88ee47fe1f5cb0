/* SPDX-License-Identifier: Apache-2.0
 *
 * C ABI of the op `async_io`: reads and writes of memory from and to files, many at one time, by
 * io_uring or Linux native AIO, with O_DIRECT where the file system has it.
 *
 * The library starts no thread. A handle works in threads of the caller: each of the `threads` that
 * it was opened for calls ds_ops_async_io_work, which comes back when the handle is closed.
 *
 * A code above DS_OPS_ERRNO is an errno of the system. All functions may be called by any thread,
 * at any time, but _free, which must be the last call. In a child of fork() a handle of the parent
 * gives DS_OPS_HANDLE_FORKED; closing and freeing it there does nothing.
 */
#pragma once

#include <stdint.h>

#include "ds_ops/abi.h"

enum {
  DS_OPS_ASYNC_IO_ANY = 0, /* io_uring; native AIO where the kernel refuses it */
  DS_OPS_ASYNC_IO_URING = 1,
  DS_OPS_ASYNC_IO_LINUX_AIO = 2
};

enum { DS_OPS_ASYNC_IO_READ = 0, DS_OPS_ASYNC_IO_WRITE = 1 };

struct ds_ops_async_io_options {
  int64_t block_size;     /* bytes of one I/O: a multiple of 4096, at most 1 GiB */
  int32_t queue_depth;    /* I/Os in flight in each thread: 1 to 4096 */
  int32_t threads;        /* 1 to 64 */
  int32_t single_submit;  /* not 0: one system call for each I/O; 0: one for all that are ready */
  int32_t overlap_events; /* not 0: a new I/O starts when one ends; 0: when all in flight ended */
  int32_t engine;
};

/* A read of `bytes` bytes of a file, from byte `offset` on, to `memory`, or a write of them.
 *
 * With `path` (NUL-terminated, copied, looked up when the work starts, not now) the file is opened
 * for this request, with O_DIRECT if its file system has that. For a write it is created if it does
 * not exist, with mode 0666 less the umask, and never cut. Without it `fd` is used as it was
 * opened: with O_DIRECT or without. It is duplicated: the caller may close it after the call.
 *
 * The file is regular or a block device. Neither `memory`, nor `offset`, nor `bytes` need be
 * aligned. `memory` must stay until the request has ended; what overlapping requests leave there or
 * in the file is not defined. */
struct ds_ops_async_io_request {
  void* memory;
  int64_t bytes;
  int64_t offset;
  const char* path;
  int32_t fd;
  int32_t operation;
  int32_t collected; /* 0: its end is asked for by its id; else told by _wait with id 0 */
};

/* `code` DS_OPS_OK: every byte was read, or written. Else parts of them may have been.
 * DS_OPS_END_OF_FILE: the file has, or had while it was read, fewer bytes. */
struct ds_ops_async_io_result {
  int64_t id;
  int64_t bytes; /* how many were read or written; not always the first ones */
  int32_t code;
};

/* What a handle has done. `..._bytes` are those of the I/Os: with O_DIRECT from or to the caller's
 * memory, with O_DIRECT through a buffer of the handle, and through the page cache. */
struct ds_ops_async_io_totals {
  int64_t requests; /* that ended */
  int64_t failed;
  int64_t direct_bytes;
  int64_t bounced_bytes;
  int64_t buffered_bytes;
  int64_t not_direct; /* requests by path whose file system or file refused O_DIRECT */
  int32_t engine;     /* DS_OPS_ASYNC_IO_URING or _LINUX_AIO */
  int32_t refused;    /* the errno for which io_uring is not used, or 0 */
};

struct ds_ops_async_io;

/* Makes a handle. What the kernel says when it refuses the engine is an errno: ENOSYS, EPERM. */
DS_OPS_EXPORT int ds_ops_async_io_open(const struct ds_ops_async_io_options* options,
                                       struct ds_ops_async_io** handle);

/* Works until the handle is closed and nothing is left to do. DS_OPS_BAD_WORKERS: as many threads
 * as the handle was opened for have called this before. */
DS_OPS_EXPORT int ds_ops_async_io_work(struct ds_ops_async_io* handle);

/* Puts a request in the queue. What is wrong with the file is told by its result. `id`: above 0. */
DS_OPS_EXPORT int ds_ops_async_io_submit(struct ds_ops_async_io* handle,
                                         const struct ds_ops_async_io_request* request,
                                         int64_t* id);

/* Waits until the request `id` has ended (0: one that is collected), at most `milliseconds` (below
 * 0: without end), and forgets it. DS_OPS_PENDING: it has not. DS_OPS_HANDLE_CLOSED, for 0: the
 * handle is closed and all are told. */
DS_OPS_EXPORT int ds_ops_async_io_wait(struct ds_ops_async_io* handle, int64_t id,
                                       int64_t milliseconds, struct ds_ops_async_io_result* result);

DS_OPS_EXPORT int ds_ops_async_io_report(struct ds_ops_async_io* handle,
                                         struct ds_ops_async_io_totals* totals);

/* Takes no request from now on, ends those that are in the queue, and comes back when no thread is
 * in _work. Their results can still be asked for. */
DS_OPS_EXPORT int ds_ops_async_io_close(struct ds_ops_async_io* handle);

/* Frees a handle that is closed and that no thread uses; closes it first if it is not. */
DS_OPS_EXPORT int ds_ops_async_io_free(struct ds_ops_async_io* handle);

/* Keeps memory from being paged out, as far as RLIMIT_MEMLOCK goes (ENOMEM, EPERM). */
DS_OPS_EXPORT int ds_ops_async_io_lock(const void* memory, int64_t bytes);
