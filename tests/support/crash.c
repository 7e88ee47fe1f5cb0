/* SPDX-License-Identifier: Apache-2.0
 *
 * To preload into a coordinator. What is written to its journal between two syncs is one boundary,
 * counted from 1; what it sends and gets after a boundary belongs to that one.
 * CRASH_LOG=FILE: a line "SENT GOT MS" for each boundary; MS after the beginning it was reached.
 * CRASH_AT="BOUNDARY MOMENT NUMBER" kills the process:
 *   before  nothing of it is written     sent  NUMBER times something was sent
 *   within  its first piece is written   done  likewise, and 0.3 s for the hosts to do it
 *   after   it is on disk                got   NUMBER times something came
 *   later   NUMBER ms after it is on disk; all others at the latest before the next boundary */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static int boundary, writing, sent, got;
static long began, reached;
static int kill_at, kill_number, log_file = -1;
static char kill_moment[16];

static void die(void) {
  kill(getpid(), SIGKILL);
  for (;;)
    pause();
}

static long now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void die_later(int signal_number) {
  (void)signal_number;
  die();
}

__attribute__((constructor)) static void read_environment(void) {
  began = now_ms();
  const char* at = getenv("CRASH_AT");
  const char* file = getenv("CRASH_LOG");
  unsetenv("LD_PRELOAD"); /* what it starts is not counted */
  if (at != NULL && sscanf(at, "%d %15s %d", &kill_at, kill_moment, &kill_number) != 3)
    abort();
  if (file != NULL)
    log_file = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int is(const char* moment) {
  return kill_at == boundary && strcmp(kill_moment, moment) == 0;
}

static int is_journal(int fd) {
  char link[32], path[PATH_MAX] = "";
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  /* What writers share in memory is no record. */
  return readlink(link, path, sizeof path - 1) > 0 && strstr(path, "/journal.db") != NULL &&
         strstr(path, "-shm") == NULL;
}

static void note_traffic(void) {
  if (log_file >= 0 && boundary > 0)
    dprintf(log_file, "%d %d %ld\n", sent, got, reached);
}

__attribute__((destructor)) static void end(void) {
  note_traffic();
}

ssize_t pwrite64(int fd, const void* bytes, size_t size, off64_t at) {
  static ssize_t (*real)(int, const void*, size_t, off64_t);
  if (real == NULL)
    *(void**)&real = dlsym(RTLD_NEXT, "pwrite64");
  const int journal = is_journal(fd), first = journal && !writing;
  if (first) {
    note_traffic();
    sent = got = 0;
    writing = 1;
    reached = now_ms() - began;
    if (++boundary > kill_at && kill_at > 0 && strcmp(kill_moment, "later") != 0)
      die();
    if (is("before"))
      die();
  }
  const ssize_t done = real(fd, bytes, size, at);
  if (first && is("within"))
    die();
  return done;
}

static void synced(int fd) {
  if (!writing || !is_journal(fd))
    return;
  writing = 0;
  if (is("after"))
    die();
  if (is("later")) {
    const struct itimerval once = {{0, 0}, {kill_number / 1000, kill_number % 1000 * 1000 + 1}};
    signal(SIGALRM, die_later);
    setitimer(ITIMER_REAL, &once, NULL);
  }
}

int fdatasync(int fd) {
  static int (*real)(int);
  if (real == NULL)
    *(void**)&real = dlsym(RTLD_NEXT, "fdatasync");
  const int done = real(fd);
  synced(fd);
  return done;
}

int fsync(int fd) {
  static int (*real)(int);
  if (real == NULL)
    *(void**)&real = dlsym(RTLD_NEXT, "fsync");
  const int done = real(fd);
  synced(fd);
  return done;
}

ssize_t send(int fd, const void* bytes, size_t size, int flags) {
  static ssize_t (*real)(int, const void*, size_t, int);
  if (real == NULL)
    *(void**)&real = dlsym(RTLD_NEXT, "send");
  const ssize_t done = real(fd, bytes, size, flags);
  if (done > 0 && ++sent == kill_number && !writing) {
    if (is("done"))
      usleep(300000);
    if (is("sent") || is("done"))
      die();
  }
  return done;
}

ssize_t recv(int fd, void* bytes, size_t size, int flags) {
  static ssize_t (*real)(int, void*, size_t, int);
  if (real == NULL)
    *(void**)&real = dlsym(RTLD_NEXT, "recv");
  const ssize_t done = real(fd, bytes, size, flags);
  if (done > 0 && ++got == kill_number && !writing && is("got"))
    die();
  return done;
}
