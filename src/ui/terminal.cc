// SPDX-License-Identifier: Apache-2.0
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

#include "ui/ui.h"

namespace ds {
namespace {

bool is_set(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0';
}

bool is_dumb() {
  const char* term = std::getenv("TERM");
  return term == nullptr || std::string_view(term) == "dumb";
}

}  // namespace

bool wants_color(std::string_view mode, int fd) {
  if (mode == "always")
    return true;
  if (mode == "never" || is_set("NO_COLOR"))
    return false;
  if (is_set("CLICOLOR_FORCE"))
    return true;
  return ::isatty(fd) != 0 && !is_dumb();
}

bool is_live_terminal(int fd) {
  return ::isatty(fd) != 0 && !is_dumb();
}

int terminal_width(int fd) {
  winsize size{};
  return ::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace ds
