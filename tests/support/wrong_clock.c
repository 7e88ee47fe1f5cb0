/* SPDX-License-Identifier: Apache-2.0
 *
 * Preloaded, so that a process has another date: CLOCK_SECONDS since 1970. What measures how long
 * something takes is left alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static time_t wrong_now(void) {
  const char* text = getenv("CLOCK_SECONDS");
  return text ? (time_t)atoll(text) : 0;
}

time_t time(time_t* out) {
  if (out)
    *out = wrong_now();
  return wrong_now();
}

int gettimeofday(struct timeval* restrict out, void* restrict zone) {
  (void)zone;
  out->tv_sec = wrong_now();
  out->tv_usec = 0;
  return 0;
}

int clock_gettime(clockid_t clock, struct timespec* out) {
  int (*real)(clockid_t, struct timespec*) =
      (int (*)(clockid_t, struct timespec*))dlsym(RTLD_NEXT, "clock_gettime");
  const int status = real(clock, out);
  if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
    out->tv_sec = wrong_now();
  return status;
}
