// SPDX-License-Identifier: Apache-2.0
#include "process/process.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
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

namespace {

/// The ids in the order in which they ended.
std::vector<int> run_all(CommandRunner& runner, const std::vector<std::string>& scripts,
                         std::vector<CommandResult>* results = nullptr) {
  std::vector<int> order;
  std::size_t next = 0;
  while (order.size() < scripts.size()) {
    for (; next < scripts.size() && runner.can_run_more(); ++next)
      runner.start(static_cast<int>(next), {{"sh", "-c", scripts[next]}, {}, {}});
    const std::optional<CommandResult> result = runner.wait();
    if (!result)
      continue;
    order.push_back(result->id);
    if (results != nullptr)
      results->push_back(*result);
  }
  return order;
}

std::size_t tokens_in(JobServer& server) {
  std::size_t taken = 0;
  while (server.take())
    ++taken;
  for (std::size_t i = 0; i < taken; ++i)
    server.give();
  return taken;
}

}  // namespace

TEST_CASE("runner: a command that takes too long is ended, with all that it started") {
  RunnerOptions options{2};
  options.limit = std::chrono::seconds(1);
  const auto runner = make_command_runner(options);
  std::vector<CommandResult> results;
  CHECK(run_all(*runner, {"sleep 100 & sleep 100", "echo quick"}, &results) ==
        std::vector<int>{1, 0});
  CHECK(results[0].ok());
  CHECK(results[0].output == "quick\n");
  CHECK(results[1].timed_out);
  CHECK(results[1].seconds < 3);
}

TEST_CASE("runner: the memory of a command is that of all its processes at one time") {
  // Two children hold 300 MB each for a second. (wait4 alone would tell of one, or of this process:
  // execve leaves a child with the peak of its parent.)
  const std::string child = "python3 -c \"b = b'x' * 300000000; import time; time.sleep(1)\"";
  const auto runner = make_command_runner({});
  REQUIRE(runner->can_run_more());
  runner->start(1, {{"sh", "-c", child + " & " + child + "; wait"}, {}, {}});
  std::optional<CommandResult> result;
  while (!result)
    result = runner->wait();
  CHECK(result->ok());
  CHECK(result->peak_rss_kb > 600000);
  struct rusage ours {};
  ::getrusage(RUSAGE_SELF, &ours);
  CHECK(result->peak_rss_kb < std::max(900000L, ours.ru_maxrss + 1000));
}

TEST_CASE("runner: a job server's tokens bound what runs, and come back") {
  const auto server = make_job_server(3);
  CHECK(tokens_in(*server) == 2);
  RunnerOptions options{8};
  options.job_server = server.get();
  {
    const auto runner = make_command_runner(options);
    std::size_t running = 0;
    for (; runner->can_run_more(); ++running)
      runner->start(static_cast<int>(running), {{"sleep", "0.2"}, {}, {}});
    CHECK(running == 3);
    CHECK(tokens_in(*server) == 0);
    for (std::size_t ended = 0; ended < 3;)
      ended += runner->wait().has_value();
    CHECK(tokens_in(*server) == 2);
    // A token that was taken for nothing goes back while one waits.
    CHECK(runner->can_run_more());
    runner->start(0, {{"sleep", "0.1"}, {}, {}});
    CHECK(runner->can_run_more());
    CHECK(tokens_in(*server) == 1);
    runner->wait();
    CHECK(tokens_in(*server) == 2);
    runner->start(0, {{"sleep", "100"}, {}, {}});
    CHECK(runner->can_run_more());
    runner->start(1, {{"sleep", "100"}, {}, {}});
  }
  CHECK(tokens_in(*server) == 2);
}

TEST_CASE("runner: more slots for one command, with their tokens") {
  const auto server = make_job_server(4);
  RunnerOptions options{4};
  options.job_server = server.get();
  const auto runner = make_command_runner(options);
  REQUIRE(runner->can_run_more());
  CHECK(runner->take_more(5, 1) == 2);
  runner->start(0, {{"sleep", "0.2"}, {}, {}});
  CHECK(tokens_in(*server) == 1);
  REQUIRE(runner->can_run_more());
  CHECK(runner->take_more(1, 0) == 0);
  runner->start(1, {{"sleep", "0.1"}, {}, {}});
  CHECK_FALSE(runner->can_run_more());
  for (std::size_t ended = 0; ended < 2;)
    ended += runner->wait().has_value();
  CHECK(runner->can_run_more());
  CHECK_THROWS_AS(runner->wait(), Error);
  CHECK(tokens_in(*server) == 3);
}

TEST_CASE("runner: commands are told of the job server") {
  const auto server = make_job_server(4);
  RunnerOptions options{1};
  options.job_server = server.get();
  const auto runner = make_command_runner(options);
  std::vector<CommandResult> results;
  run_all(*runner, {"echo $MAKEFLAGS"}, &results);
  CHECK(results[0].output.starts_with("-j4 --jobserver-auth=fifo:/"));
}

TEST_CASE("job server: one that MAKEFLAGS names") {
  const auto own = make_job_server(3);
  const std::string flags = own->variable().substr(std::string("MAKEFLAGS=").size());
  const auto joined = join_job_server("k" + flags);
  REQUIRE(joined);
  CHECK(joined->take());
  CHECK(tokens_in(*own) == 1);
  joined->give();
  CHECK(tokens_in(*own) == 2);
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  CHECK(::write(ends[1], "ab", 2) == 2);
  {
    const auto piped = join_job_server(" --jobserver-auth=" + std::to_string(ends[0]) + "," +
                                       std::to_string(ends[1]));
    REQUIRE(piped);
    CHECK(piped->take());
    CHECK(piped->take());
    CHECK_FALSE(piped->take());
    // The pipe that make gave us still blocks.
    CHECK((::fcntl(ends[0], F_GETFL) & O_NONBLOCK) == 0);
  }
  char back[3] = {};
  CHECK(::read(ends[0], back, 2) == 2);
  CHECK(std::string(back).size() == 2);
  for (const char* other : {"", "-j4", "--jobserver-auth=3", "--jobserver-auth=900,901",
                            "--jobserver-auth=fifo:/nowhere", "--jobserver-auth=a,b"})
    CHECK_FALSE(join_job_server(other));
  ::close(ends[0]);
  ::close(ends[1]);
}
