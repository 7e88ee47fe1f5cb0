// SPDX-License-Identifier: Apache-2.0
#include "transport/terminal_prompt.h"

#include <poll.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/interrupt.h"
#include "base/terminal_use.h"

namespace ds {
namespace {

constexpr std::size_t kLongestAnswer = 1024;

class EchoOff {
 public:
  explicit EchoOff(const Fd& terminal) : fd_(terminal.get()) {
    if (::tcgetattr(fd_, &before_) != 0)
      return;
    termios silent = before_;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO | ECHOE | ECHOK | ECHONL);
    off_ = ::tcsetattr(fd_, TCSAFLUSH, &silent) == 0;
  }
  ~EchoOff() {
    if (off_)
      ::tcsetattr(fd_, TCSAFLUSH, &before_);
  }
  EchoOff(const EchoOff&) = delete;
  EchoOff& operator=(const EchoOff&) = delete;
  bool off() const { return off_; }

 private:
  int fd_;
  termios before_{};
  bool off_ = false;
};

void write_text(const Fd& terminal, const std::string& text) {
  [[maybe_unused]] const ssize_t put = ::write(terminal.get(), text.data(), text.size());
}

/// False if the run was interrupted before somebody typed.
bool wait_for_line(const Fd& terminal) {
  pollfd waits[] = {{terminal.get(), POLLIN, 0}, {interrupt_fd(), POLLIN, 0}};
  while (waits[0].revents == 0 && waits[1].revents == 0)
    ::poll(waits, 2, -1);
  return waits[1].revents == 0;
}

std::optional<std::string> read_line(const Fd& terminal) {
  std::string line;
  line.reserve(2 * kLongestAnswer);  // so that no copy of it is left behind
  char buffer[kLongestAnswer];
  const ssize_t got =
      wait_for_line(terminal) ? ::read(terminal.get(), buffer, sizeof buffer) : ssize_t{0};
  if (got > 0)
    line.assign(buffer, static_cast<std::size_t>(got));
  ::explicit_bzero(buffer, sizeof buffer);
  if (!line.ends_with('\n')) {
    wipe(line);
    return std::nullopt;
  }
  line.pop_back();
  return line;
}

}  // namespace

std::optional<std::string> ask_on_terminal(const Fd& terminal, const std::string& prompt,
                                           bool echo) {
  if (!terminal)
    return std::nullopt;
  const TerminalUse in_use;
  if (echo) {
    write_text(terminal, "\n" + prompt);
    return read_line(terminal);
  }
  std::optional<std::string> answer;
  {
    const EchoOff silent(terminal);
    if (!silent.off())
      return std::nullopt;
    write_text(terminal, "\n" + prompt);
    answer = read_line(terminal);
  }
  write_text(terminal, "\n");
  return answer;
}

void tell_on_terminal(const Fd& terminal, const std::string& text) {
  write_text(terminal, "\n" + text);
}

void wipe(std::string& secret) {
  ::explicit_bzero(secret.data(), secret.size());
  secret.clear();
}

}  // namespace ds
