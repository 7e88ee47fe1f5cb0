/* SPDX-License-Identifier: Apache-2.0
 *
 * A file system of files that fail, each in the way of its name; all are 1 MiB long, and byte i is
 * i * 7 % 251. What is written is only taken if it is those bytes.
 *
 *   good        does not fail
 *   eio         EIO from byte 300000 on
 *   enospc      ENOSPC for writes from byte 300000 on
 *   ends        ends at byte 300000, whatever its length says
 *   short       gives and takes 1000 bytes at a time at most
 *   again       EAGAIN or EINTR every other time
 *   no-direct   can be opened with O_DIRECT, and refuses I/O then
 *   slow        answers when the file RELEASE is there
 *
 * The last arguments: RELEASE, and `async` for asynchronous direct I/O or `sync`.
 */
#define FUSE_USE_VERSION 31
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { size = 1 << 20, fault = 300000 };
static const char* const names[] = {"good",  "eio",   "enospc",    "ends",
                                    "short", "again", "no-direct", "slow"};
static const char* release;
static int asynchronous;
static atomic_int calls;

/* With asynchronous direct I/O the kernel makes EIO of every short write; without it, every I/O
 * keeps the thread that submits it. */
static void* begin(struct fuse_conn_info* connection, struct fuse_config* config) {
  (void)config;
  if (!asynchronous)
    connection->want &= ~FUSE_CAP_ASYNC_DIO;
  return NULL;
}

static int is(const char* path, const char* name) {
  return strcmp(path + 1, name) == 0;
}

static int get_attributes(const char* path, struct stat* about, struct fuse_file_info* file) {
  (void)file;
  memset(about, 0, sizeof *about);
  about->st_mode = S_IFDIR | 0755;
  about->st_nlink = 2;
  if (is(path, "")) {
    return 0;
  }
  for (unsigned i = 0; i < sizeof names / sizeof *names; ++i) {
    if (is(path, names[i])) {
      about->st_mode = S_IFREG | 0666;
      about->st_nlink = 1;
      about->st_size = size;
      return 0;
    }
  }
  return -ENOENT;
}

static int open_file(const char* path, struct fuse_file_info* file) {
  (void)path;
  file->fh = (file->flags & O_DIRECT) != 0;
  file->direct_io = 1;
  return 0;
}

/* How many bytes from `offset` on are read or written; below 0: the error. */
static int allowed(const char* path, size_t bytes, off_t offset, const struct fuse_file_info* file,
                   int writes) {
  size_t most = offset < size ? (size_t)(size - offset) : 0;
  const size_t left = offset < fault ? (size_t)(fault - offset) : 0;
  if (is(path, "eio") || (is(path, "enospc") && writes)) {
    most = left;
    if (most == 0) {
      return is(path, "eio") ? -EIO : -ENOSPC;
    }
  } else if (is(path, "ends") && !writes) {
    most = left;
  } else if (is(path, "short") && most > 1000) {
    most = 1000;
  } else if (is(path, "again")) {
    const int call = ++calls;
    if (call % 2 == 0) {
      return call % 4 == 0 ? -EAGAIN : -EINTR;
    }
  } else if (is(path, "no-direct") && file->fh) {
    return -EINVAL;
  }
  while (is(path, "slow") && access(release, F_OK) != 0) {
    usleep(2000);
  }
  return (int)(bytes < most ? bytes : most);
}

static int read_file(const char* path, char* to, size_t bytes, off_t offset,
                     struct fuse_file_info* file) {
  const int count = allowed(path, bytes, offset, file, 0);
  for (int i = 0; i < count; ++i) {
    to[i] = (char)((offset + i) * 7 % 251);
  }
  return count;
}

static int write_file(const char* path, const char* from, size_t bytes, off_t offset,
                      struct fuse_file_info* file) {
  const int count = allowed(path, bytes, offset, file, 1);
  for (int i = 0; i < count; ++i) {
    if (from[i] != (char)((offset + i) * 7 % 251)) {
      return -EILSEQ;
    }
  }
  return count;
}

int main(int argc, char** argv) {
  const struct fuse_operations operations = {.init = begin,
                                             .getattr = get_attributes,
                                             .open = open_file,
                                             .read = read_file,
                                             .write = write_file};
  release = argv[argc - 2];
  asynchronous = is(argv[argc - 1] - 1, "async");
  return fuse_main(argc - 2, argv, &operations, NULL);
}
