// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "support/sshd_host.h"
#include "transport/ssh_login.h"

namespace ds {

/// Settings that reach a server on this machine with these key files and nothing else.
inline SshSettings login_settings(int port, const std::vector<std::filesystem::path>& identities) {
  SshSettings settings;
  settings.name = "node1";
  settings.hostname = "127.0.0.1";
  settings.port = port;
  settings.user = trim(shell("id -un").output);
  settings.identities = identities;
  return settings;
}

struct LoginOutcome {
  SshProgress progress = SshProgress::waiting;  ///< waiting: the time was over
  std::string problem, by_openssh;
  bool after_acceptance = false;
  bool waited_for_agent = false;  ///< in the end
  bool ok() const { return progress == SshProgress::done; }
};

/// Connects, shakes hands and logs in, as a session does, but alone.
class LoginDriver {
 public:
  LoginDriver(const SshSettings& settings, KeyRing& ring, std::chrono::milliseconds limit)
      : socket_(connected(settings.port)),
        connection_(socket_.get(), {}),
        login_(connection_, settings, ring),
        ends_(std::chrono::steady_clock::now() + limit) {}
  ~LoginDriver() { ::shutdown(socket_.get(), SHUT_RDWR); }
  LoginDriver(const LoginDriver&) = delete;
  LoginDriver& operator=(const LoginDriver&) = delete;

  LoginOutcome run() {
    SshProgress progress = SshProgress::waiting;
    while ((progress = connection_.handshake()) == SshProgress::waiting && wait()) {
    }
    if (progress != SshProgress::done)
      return {progress, "handshake: " + connection_.last_error(), {}, false, false};
    while ((progress = login_.step()) == SshProgress::waiting && wait()) {
    }
    return {progress, login_.problem(), login_.better_by_openssh(), login_.after_acceptance(),
            login_.waits_for_agent()};
  }

 private:
  static Fd connected(int port) {
    Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
    if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      throw Error("nobody listens on port " + std::to_string(port));
    ::fcntl(fd.get(), F_SETFL, O_NONBLOCK);
    return fd;
  }
  bool wait() {
    std::vector<pollfd> waits;
    if (login_.waits_for_agent())
      login_.wants(waits);
    else
      waits.push_back(
          {socket_.get(), static_cast<short>(connection_.wants_to_send() ? POLLOUT : POLLIN), 0});
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        ends_ - std::chrono::steady_clock::now());
    return left.count() > 0 &&
           ::poll(waits.data(), waits.size(), static_cast<int>(left.count())) > 0;
  }

  Fd socket_;
  SshConnection connection_;
  SshLogin login_;
  std::chrono::steady_clock::time_point ends_;
};

inline LoginOutcome log_in(const SshSettings& settings, KeyRing& ring,
                           std::chrono::milliseconds limit = std::chrono::seconds(30)) {
  return LoginDriver(settings, ring, limit).run();
}

}  // namespace ds
