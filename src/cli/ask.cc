// SPDX-License-Identifier: Apache-2.0
#include "cli/ask.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "base/interrupt.h"
#include "base/terminal_use.h"
#include "base/text.h"

namespace ds {
namespace {

/// The line that is typed; Ctrl-C ends the run.
std::string read_answer() {
  std::string line;
  while (line.find('\n') == std::string::npos) {
    pollfd waits[] = {{STDIN_FILENO, POLLIN, 0}, {interrupt_fd(), POLLIN, 0}};
    if (::poll(waits, 2, -1) < 0 && errno != EINTR)
      break;
    check_interrupt();
    char buffer[256];
    const ssize_t got = waits[0].revents != 0 ? ::read(STDIN_FILENO, buffer, sizeof buffer) : 0;
    if (waits[0].revents != 0 && got <= 0 && !(got < 0 && errno == EINTR))
      break;
    line.append(buffer, static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  }
  return line;
}

}  // namespace

bool confirmed(const std::string& question) {
  const TerminalUse in_use;
  std::fputs((question + " [y/N] ").c_str(), stderr);
  const std::string answer = lower(trim(read_answer()));
  return answer == "y" || answer == "yes";
}

}  // namespace ds
