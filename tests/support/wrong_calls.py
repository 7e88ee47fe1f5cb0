# SPDX-License-Identifier: Apache-2.0
"""A C library to preload on a host: another time of day, a write or a rename that fails."""
import shutil
import subprocess

CC = shutil.which("cc")
SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long shift(void) { const char *s = getenv("WRONG_CLOCK"); return s ? atol(s) : 0; }
static int is_named(const char *path, const char *variable) {
    const char *end = getenv(variable);
    return end && strlen(path) >= strlen(end) && !strcmp(path + strlen(path) - strlen(end), end);
}
int clock_gettime(clockid_t clock, struct timespec *at) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, at);
    if (!failed && clock == CLOCK_REALTIME) at->tv_sec += shift();
    return failed;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
int rename(const char *from, const char *to) {
    int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");
    if (!is_named(to, "WRONG_RENAME")) return real(from, to);
    errno = ENOSPC;
    return -1;
}
ssize_t write(int fd, const void *bytes, size_t size) {
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    char name[64], path[4096] = "";
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    if (!getenv("WRONG_WRITE") || readlink(name, path, sizeof path - 1) < 0 ||
        !is_named(path, "WRONG_WRITE")) return real(fd, bytes, size);
    errno = EIO;
    return -1;
}
"""


def missing():
    """Why it cannot be built here, or None."""
    return None if CC else "no C compiler to build a library that makes calls fail"


def build(folder):
    """WRONG_CLOCK: seconds to add to the time of day; WRONG_RENAME, WRONG_WRITE: how the path ends
    of the file that cannot be renamed to (ENOSPC) or written (EIO)."""
    source, library = folder / "wrong_calls.c", folder / "wrong_calls.so"
    source.write_text(SOURCE)
    subprocess.run([CC, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library
