// SPDX-License-Identifier: Apache-2.0
//
// This machine as a host: /bin/sh in "/", no network.
#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "process/process.h"
#include "transport/input_stream.h"
#include "transport/session.h"

namespace ds {
namespace {

class LocalSession : public HostSession {
 public:
  ~LocalSession() override { kill_child(); }

  void begin(Exec exec) override {
    exec_ = std::move(exec);
    result_ = {};
    began_ = Clock::now();
    input_ = std::make_unique<InputStream>(std::move(exec_.input));
    child_ = spawn_with_pipes(Command{{"/bin/sh", "-c", exec_.script}, "/", {}});
  }

  void wants(std::vector<pollfd>& waits) const override {
    if (child_.in)
      waits.push_back({child_.in.get(), POLLOUT, 0});
    if (child_.out)
      waits.push_back({child_.out.get(), POLLIN, 0});
    if (child_.err)
      waits.push_back({child_.err.get(), POLLIN, 0});
  }

  std::optional<ExecResult> step() override {
    feed();
    drain(child_.out, result_.out);
    drain(child_.err, result_.err);
    if (result_.out.size() + result_.err.size() > exec_.output_limit) {
      return give_up(ExecResult::Outcome::flooded, printed_too_much(exec_));
    }
    if (child_.out || child_.err)
      return std::nullopt;
    return finished();
  }

  Clock::time_point deadline() const override { return began_ + exec_.time_limit; }

  ExecResult expire() override {
    return give_up(ExecResult::Outcome::timed_out, took_too_long(exec_));
  }

 private:
  void feed() {
    while (child_.in) {
      const std::string_view piece = input_->next();
      if (piece.empty()) {
        child_.in.close();
        return;
      }
      const ssize_t put = ::write(child_.in.get(), piece.data(), piece.size());
      if (put >= 0) {
        input_->consume(static_cast<std::size_t>(put));
      } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return;
      } else if (errno != EINTR) {
        // A command may end without reading everything; its exit status says whether that is right.
        child_.in.close();
      }
    }
  }

  static void drain(Fd& fd, std::string& into) {
    char buffer[1 << 16];
    while (fd) {
      const ssize_t got = ::read(fd.get(), buffer, sizeof buffer);
      if (got > 0) {
        into.append(buffer, static_cast<std::size_t>(got));
        return;
      }
      if (got < 0 && errno == EINTR)
        continue;
      if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return;
      fd.close();
    }
  }

  ExecResult finished() {
    child_.in.close();
    int status = 0;
    while (::waitpid(child_.pid, &status, 0) < 0 && errno == EINTR) {
    }
    child_.pid = -1;
    if (WIFSIGNALED(status)) {
      result_.outcome = ExecResult::Outcome::signalled;
      result_.message = fmt::format("the command was killed by signal {} ({})", WTERMSIG(status),
                                    ::strsignal(WTERMSIG(status)));
    } else {
      result_.exit_status = WEXITSTATUS(status);
    }
    return settled();
  }

  ExecResult give_up(ExecResult::Outcome outcome, std::string message) {
    kill_child();
    result_.outcome = outcome;
    result_.message = std::move(message);
    return settled();
  }

  ExecResult settled() {
    result_.sent_bytes = input_->consumed();
    result_.seconds = std::chrono::duration<double>(Clock::now() - began_).count();
    return std::move(result_);
  }

  void kill_child() {
    if (child_.pid < 0)
      return;
    ::kill(-child_.pid, SIGKILL);
    while (::waitpid(child_.pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    child_ = {};
  }

  Exec exec_;
  ExecResult result_;
  Clock::time_point began_;
  std::unique_ptr<InputStream> input_;
  Child child_;
};

}  // namespace

std::unique_ptr<HostSession> make_local_session() {
  return std::make_unique<LocalSession>();
}

}  // namespace ds
