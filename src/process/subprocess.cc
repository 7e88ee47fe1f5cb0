// SPDX-License-Identifier: Apache-2.0
#include "process/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/awake_clock.h"
#include "base/error.h"
#include "base/file_limit.h"
#include "base/interrupt.h"

extern char** environ;

namespace ds {
namespace {

class SpawnActions {
 public:
  SpawnActions() { ::posix_spawn_file_actions_init(&actions_); }
  ~SpawnActions() { ::posix_spawn_file_actions_destroy(&actions_); }
  SpawnActions(const SpawnActions&) = delete;
  SpawnActions& operator=(const SpawnActions&) = delete;
  posix_spawn_file_actions_t* get() { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
};

/// Default signal handlers, nothing blocked.
class SpawnAttributes {
 public:
  explicit SpawnAttributes(Group group) {
    ::posix_spawnattr_init(&attributes_);
    sigset_t none, all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setsigdefault(&attributes_, &all);
    ::posix_spawnattr_setpgroup(&attributes_, 0);
    const int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                      (group == Group::own ? POSIX_SPAWN_SETPGROUP : 0);
    ::posix_spawnattr_setflags(&attributes_, static_cast<short>(flags));
  }
  ~SpawnAttributes() { ::posix_spawnattr_destroy(&attributes_); }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;
  const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_;
};

std::vector<std::string> merged_environment(const std::vector<std::string>& additions) {
  std::vector<std::string> merged;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const std::string key = text.substr(0, text.find('=') + 1);
    bool replaced = false;
    for (const std::string& addition : additions)
      replaced |= addition.starts_with(key);
    if (!replaced)
      merged.push_back(text);
  }
  merged.insert(merged.end(), additions.begin(), additions.end());
  return merged;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> list;
  for (std::string& word : words)
    list.push_back(word.data());
  list.push_back(nullptr);
  return list;
}

}  // namespace

Pipe make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    throw Error("cannot make a pipe: " + errno_text(errno));
  return {Fd(ends[0]), Fd(ends[1])};
}

void set_nonblocking(int fd) {
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
}

int spawn(const Command& command, int in, int out, int err, pid_t& pid, Group group) {
  SpawnActions actions;
  if (in >= 0) {
    ::posix_spawn_file_actions_adddup2(actions.get(), in, STDIN_FILENO);
  } else {
    ::posix_spawn_file_actions_addopen(actions.get(), STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  }
  ::posix_spawn_file_actions_adddup2(actions.get(), out, STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(actions.get(), err, STDERR_FILENO);
  if (!command.cwd.empty()) {
    ::posix_spawn_file_actions_addchdir_np(actions.get(), command.cwd.c_str());
  }
  const SpawnAttributes attributes(group);
  std::vector<std::string> words = command.argv;
  std::vector<std::string> variables = merged_environment(command.environment);
  // posix_spawn has no action for limits.
  const InheritedFileLimit limit;
  return ::posix_spawnp(&pid, words.front().c_str(), actions.get(), attributes.get(),
                        pointers(words).data(), pointers(variables).data());
}

void reap(pid_t pid, CommandResult& result) {
  int status = 0;
  rusage usage{};
  while (::wait4(pid, &status, 0, &usage) < 0 && errno == EINTR) {
  }
  result.peak_rss_kb = usage.ru_maxrss;
  for (const timeval& time : {usage.ru_utime, usage.ru_stime})
    result.cpu_seconds +=
        static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  if (WIFSIGNALED(status)) {
    result.signal = WTERMSIG(status);
  } else {
    result.exit_status = WEXITSTATUS(status);
  }
}

void kill_group(pid_t pid) {
  ::kill(-pid, SIGKILL);
}

CommandResult not_started(const Command& command, int number) {
  CommandResult result;
  result.exit_status = 127;
  result.output = result.errors =
      "cannot start " + command.argv.front() + ": " + errno_text(number) + "\n";
  return result;
}

bool read_available(Fd& fd, std::string& into) {
  char buffer[1 << 16];
  for (;;) {
    const ssize_t got = ::read(fd.get(), buffer, sizeof buffer);
    if (got > 0) {
      into.append(buffer, static_cast<std::size_t>(got));
    } else if (got < 0 && errno == EINTR) {
      continue;
    } else if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      return true;
    } else {
      fd.close();
      return false;
    }
  }
}

Child spawn_with_pipes(const Command& command) {
  Pipe in = make_pipe(), out = make_pipe(), err = make_pipe();
  Child child;
  const int failure = spawn(command, in.read.get(), out.write.get(), err.write.get(), child.pid);
  if (failure != 0) {
    throw Error("cannot start " + command.argv.front() + ": " + errno_text(failure));
  }
  for (const int fd : {in.write.get(), out.read.get(), err.read.get()})
    set_nonblocking(fd);
  child.in = std::move(in.write);
  child.out = std::move(out.read);
  child.err = std::move(err.read);
  return child;
}

SocketChild spawn_with_socket(const Command& command, Fd& socket) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    throw Error("cannot make a socket pair: " + errno_text(errno));
  Fd ours(ends[0]), theirs(ends[1]);
  Pipe err = make_pipe();
  SocketChild child;
  const int failure = spawn(command, theirs.get(), theirs.get(), err.write.get(), child.pid);
  if (failure != 0)
    throw Error("cannot start " + command.argv.front() + ": " + errno_text(failure));
  set_nonblocking(ours.get());
  set_nonblocking(err.read.get());
  socket = std::move(ours);
  child.err = std::move(err.read);
  return child;
}

void end_child(pid_t pid) {
  ::kill(-pid, SIGTERM);
  for (int tries = 0; tries < 20; ++tries) {
    if (::waitpid(pid, nullptr, WNOHANG) != 0)
      return;
    ::usleep(5000);
  }
  kill_group(pid);
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

CommandResult run_command(const Command& command, std::chrono::milliseconds limit) {
  AwakeClock clock;
  const Clock::time_point began = clock.now();
  Pipe out = make_pipe(), err = make_pipe();
  pid_t pid = -1;
  const int failure = spawn(command, -1, out.write.get(), err.write.get(), pid);
  if (failure != 0)
    return not_started(command, failure);
  out.write.close();
  err.write.close();
  set_nonblocking(out.read.get());
  set_nonblocking(err.read.get());
  CommandResult result;
  while (out.read || err.read) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(began + limit - clock.now());
    if (left.count() <= 0) {
      result.timed_out = true;
      break;
    }
    pollfd waits[] = {
        {out.read.get(), POLLIN, 0}, {err.read.get(), POLLIN, 0}, {interrupt_fd(), POLLIN, 0}};
    const auto wait = std::min(left, AwakeClock::longest_wait);
    ::poll(waits, 3, static_cast<int>(wait.count()));
    clock.after(wait);
    if (waits[2].revents != 0) {
      kill_group(pid);
      reap(pid, result);
      throw Interrupted{};
    }
    if (waits[0].revents != 0)
      read_available(out.read, result.output);
    if (waits[1].revents != 0)
      read_available(err.read, result.errors);
  }
  if (result.timed_out)
    kill_group(pid);
  reap(pid, result);
  result.seconds = std::chrono::duration<double>(clock.now() - began).count();
  return result;
}

}  // namespace ds
