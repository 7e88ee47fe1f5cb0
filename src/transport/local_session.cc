// SPDX-License-Identifier: Apache-2.0
//
// This machine as a host: /bin/sh in "/", no network.
#include <fmt/format.h>
#include <sys/wait.h>

#include <cstring>

#include "transport/process_session.h"

namespace ds {
namespace {

class LocalSession : public ProcessSession {
 public:
  using ProcessSession::ProcessSession;

 protected:
  Command command_for(const CommandIo& io) override {
    return {
        {"/bin/sh", "-c", io.exec().as_self ? io.exec().script : sudo_.script(io.exec().script)},
        "/",
        {}};
  }

  bool has_begun(std::string& /*err*/) const override { return true; }

  void judge(int status, bool /*begun*/, ExecResult& result) const override {
    if (WIFSIGNALED(status)) {
      result.outcome = ExecResult::Outcome::signalled;
      result.message = fmt::format("the command was killed by signal {} ({})", WTERMSIG(status),
                                   ::strsignal(WTERMSIG(status)));
    } else {
      result.exit_status = WEXITSTATUS(status);
    }
  }
};

}  // namespace

std::unique_ptr<HostSession> make_local_session(const SudoAccess& sudo, const Loop& loop) {
  return std::make_unique<LocalSession>(sudo, loop);
}

}  // namespace ds
