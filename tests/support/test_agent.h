// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <string>

#include "base/error.h"
#include "base/fd.h"
#include "base/file.h"
#include "support/shell.h"

namespace ds {

/// A real ssh-agent.
class TestAgent {
 public:
  TestAgent() {
    const ShellResult started = shell("ssh-agent -s -a " + socket());
    const std::size_t at = started.output.find("SSH_AGENT_PID=");
    if (at == std::string::npos)
      throw Error("ssh-agent: " + started.output);
    pid_ = std::stoi(started.output.substr(at + 14));
  }
  ~TestAgent() { ::kill(pid_, SIGKILL); }
  TestAgent(const TestAgent&) = delete;
  TestAgent& operator=(const TestAgent&) = delete;

  std::string socket() const { return (folder_.path() / "agent").string(); }
  void add(const std::string& file) const { run("ssh-add -q " + file); }
  /// A line of sh with this agent; whatever asks for a passphrase there is told "geheim".
  void run(const std::string& line) const {
    const std::string answer = (folder_.path() / "answer").string();
    write_file(answer, "#!/bin/sh\necho geheim\n", 0700);
    const ShellResult ran = shell("export SSH_AUTH_SOCK=" + socket() + " SSH_ASKPASS=" + answer +
                                  " SSH_ASKPASS_REQUIRE=force; " + line);
    if (ran.status != 0)
      throw Error(line + ": " + ran.output);
  }
  void stop() const { ::kill(pid_, SIGSTOP); }

 private:
  TempDir folder_;
  pid_t pid_ = -1;
};

/// The socket of an agent without an agent: the test says its part.
class FakeAgent {
 public:
  explicit FakeAgent(int queue = 8) : listening_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket().copy(address.sun_path, sizeof address.sun_path - 1);
    if (::bind(listening_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(listening_.get(), queue) != 0) {
      throw Error("no socket " + socket());
    }
  }
  std::string socket() const { return (folder_.path() / "agent").string(); }
  void accept() { peer_ = Fd(::accept(listening_.get(), nullptr, nullptr)); }
  void say(const std::string& bytes) const {
    ::send(peer_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  void hang_up() { peer_ = Fd(); }
  void stop_listening() { listening_ = Fd(); }

 private:
  TempDir folder_;
  Fd listening_, peer_;
};

}  // namespace ds
