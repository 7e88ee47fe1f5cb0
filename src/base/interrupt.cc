// SPDX-License-Identifier: Apache-2.0
#include "base/interrupt.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"

namespace ds {
namespace {

// A signal handler can reach nothing but objects of static storage.
volatile sig_atomic_t signals_seen = 0;
int wake_pipe[2] = {-1, -1};

void on_signal(int) {
  const int saved = errno;
  signals_seen = signals_seen + 1;
  if (signals_seen > 1)
    ::_exit(static_cast<int>(ExitStatus::interrupted));
  [[maybe_unused]] const ssize_t written = ::write(wake_pipe[1], "!", 1);
  errno = saved;
}

void handle(int number, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  ::sigaction(number, &action, nullptr);
}

}  // namespace

InterruptHandlers::InterruptHandlers() {
  if (::pipe2(wake_pipe, O_CLOEXEC | O_NONBLOCK) != 0) {
    throw Error("cannot make a pipe: " + errno_text(errno));
  }
  for (const int number : {SIGINT, SIGTERM, SIGHUP})
    handle(number, on_signal);
  handle(SIGPIPE, SIG_IGN);
}

InterruptHandlers::~InterruptHandlers() {
  for (const int number : {SIGINT, SIGTERM, SIGHUP})
    handle(number, SIG_DFL);
  for (int& fd : wake_pipe) {
    ::close(fd);
    fd = -1;
  }
}

int interrupt_fd() {
  return wake_pipe[0];
}

void check_interrupt() {
  if (signals_seen > 0)
    throw Interrupted{};
}

void clear_interrupt() {
  signals_seen = 0;
  char bytes[64];
  while (wake_pipe[0] >= 0 && ::read(wake_pipe[0], bytes, sizeof bytes) > 0) {
  }
  // A signal that came meanwhile may have lost its byte here.
  if (signals_seen > 0) {
    [[maybe_unused]] const ssize_t written = ::write(wake_pipe[1], "!", 1);
  }
}

}  // namespace ds
