// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/terminal_use.h"
#include "process/subprocess.h"

namespace ds {
namespace {

constexpr int kLook = 20;  // ms between two looks whether it has ended

bool has_ended(pid_t pid) {
  siginfo_t seen{};
  return ::waitid(P_PID, static_cast<id_t>(pid), &seen, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         seen.si_pid == pid;
}

}  // namespace

Fd open_terminal() {
  Fd terminal(::open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC));
  return terminal && ::tcgetpgrp(terminal.get()) == ::getpgrp() ? std::move(terminal) : Fd();
}

CommandResult run_on_terminal(const Command& command, const Fd& terminal) {
  const TerminalUse in_use;
  const int fd = terminal.get();
  pid_t pid = -1;
  const int failure = spawn(command, fd, fd, fd, pid, Group::ours);
  if (failure != 0)
    return not_started(command, failure);
  CommandResult result;
  while (!has_ended(pid)) {
    pollfd interrupt{interrupt_fd(), POLLIN, 0};
    if (::poll(&interrupt, 1, kLook) <= 0)
      continue;
    // It gives the terminal its echo back before it dies of this.
    ::kill(pid, SIGTERM);
    reap(pid, result);
    throw Interrupted{};
  }
  reap(pid, result);
  return result;
}

}  // namespace ds
