// SPDX-License-Identifier: Apache-2.0
#include "ui/watcher.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/terminal_use.h"

namespace ds {
namespace {

constexpr int tick_ms = 200;

// A signal handler can reach nothing but objects of static storage.
volatile sig_atomic_t wakes = -1;

void on_signal(int) {
  const int saved = errno;
  [[maybe_unused]] const ssize_t written = ::write(static_cast<int>(wakes), "?", 1);
  errno = saved;
}

/// Whoever is not in the foreground would be stopped by reading, and a terminal that is gone has
/// always something to say.
bool may_read() {
  return !TerminalUse::any() && ::tcgetpgrp(STDIN_FILENO) == ::getpgrp();
}

/// An empty line was typed.
bool typed_enter() {
  char line[256];
  return may_read() && ::read(STDIN_FILENO, line, sizeof line) == 1 && line[0] == '\n';
}

}  // namespace

Watcher::Watcher(Wants wants, std::function<void()> tick, std::function<void()> asked)
    : wants_(wants), tick_(std::move(tick)), asked_(std::move(asked)) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
    return;  // a run that nobody can ask
  woken_ = Fd(ends[0]);
  wakes_ = Fd(ends[1]);
  wakes = ends[1];
  // Other signals are for the thread that made this one.
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { run(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGUSR1, &action, nullptr);
}

Watcher::~Watcher() {
  if (!thread_.joinable())
    return;
  struct sigaction action {};
  action.sa_handler = SIG_IGN;
  ::sigaction(SIGUSR1, &action, nullptr);
  wakes = -1;
  wakes_.close();
  thread_.join();
}

void Watcher::run() {
  while (true) {
    const bool reads = wants_.reads && may_read();
    pollfd waits[] = {{woken_.get(), POLLIN, 0}, {reads ? STDIN_FILENO : -1, POLLIN, 0}};
    ::poll(waits, 2, wants_.ticks || wants_.reads ? tick_ms : -1);
    char bytes[64];
    const ssize_t got = waits[0].revents != 0 ? ::read(woken_.get(), bytes, sizeof bytes) : -1;
    if (got == 0)
      return;  // the other end was closed
    if (got > 0 || (waits[1].revents != 0 && typed_enter()))
      asked_();
    else if (wants_.ticks && !TerminalUse::any())
      tick_();
  }
}

}  // namespace ds
