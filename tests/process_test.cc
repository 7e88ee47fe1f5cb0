// SPDX-License-Identifier: Apache-2.0
#include "process/process.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file_limit.h"
#include "base/text.h"

using namespace ds;

namespace {

rlim_t soft_limit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur;
}

rlim_t hard_limit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_max;
}

/// What a child of ours sees.
std::string limit_of_child() {
  return std::string(trim(run_command({{"sh", "-c", "ulimit -n"}, {}, {}}).output));
}

/// 0 if all is as it should be, else the number of the step that is not. Changes the limits of this
/// process.
int try_limits() {
  const rlimit low{64, hard_limit()};
  if (::setrlimit(RLIMIT_NOFILE, &low) != 0 || limit_of_child() != "64")
    return 1;
  raise_file_limit();
  raise_file_limit();
  if (soft_limit() != hard_limit())
    return 2;
  if (limit_of_child() != "64")
    return 3;
  // More files are open than the child may open: its pipes have numbers beyond its limit.
  for (int at = 0; at < 100; ++at) {
    if (::open("/dev/null", O_RDONLY | O_CLOEXEC) < 0)
      return 4;
  }
  if (limit_of_child() != "64")
    return 5;
  return soft_limit() == hard_limit() ? 0 : 6;
}

}  // namespace

TEST_CASE("process: our limit of open files is raised, that of children is what it was") {
  const pid_t child = ::fork();
  if (child == 0)
    ::_exit(try_limits());
  int status = 0;
  ::waitpid(child, &status, 0);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}
