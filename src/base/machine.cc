// SPDX-License-Identifier: Apache-2.0
#include "base/machine.h"

#include <pwd.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>

#include "base/text.h"

namespace ds {

std::string host_name() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return clean_line(name, 100);
}

std::string user_name() {
  const passwd* entry = ::getpwuid(::geteuid());
  return entry != nullptr ? clean_line(entry->pw_name, 100) : std::to_string(::geteuid());
}

bool may_be_running(std::string_view pid) {
  const std::optional<long> number = parse_integer(pid, 1, 1 << 30);
  return !number || ::kill(static_cast<pid_t>(*number), 0) == 0 || errno != ESRCH;
}

}  // namespace ds
