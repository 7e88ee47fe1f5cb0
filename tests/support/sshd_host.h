// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "base/error.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"
#include "support/shell.h"
#include "transport/transport.h"

namespace ds {

/// A listening socket on a free port of 127.0.0.1 that nobody accepts from.
class SilentPort {
 public:
  SilentPort() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        ::listen(fd_.get(), 8) != 0 ||
        ::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      throw Error("no port on 127.0.0.1");
    }
    port_ = ntohs(address.sin_port);
  }
  int port() const { return port_; }
  void close() { fd_.close(); }

 private:
  Fd fd_;
  int port_ = 0;
};

/// A real sshd on 127.0.0.1 with keys of its own, and the ssh configuration that reaches it.
class SshdHost {
 public:
  /// `more` are lines of sshd_config that win over the others; `through` is a command that is given
  /// sshd's command line ("unshare -m ...").
  explicit SshdHost(const std::string& more = "", const std::string& through = "") {
    const std::string at = folder_.path().string();
    make_key("host_key", "ed25519");
    make_key("user_key", "ed25519");
    SilentPort free;
    port_ = free.port();
    free.close();
    write("sshd_config", more + "ListenAddress 127.0.0.1\nPort " + std::to_string(port_) +
                             "\nHostKey " + at + "/host_key\nPidFile " + at +
                             "/pid\nUsePAM no\nStrictModes no\nPasswordAuthentication no\n"
                             "AuthorizedKeysFile " +
                             at + "/user_key.pub\n");
    const std::string host_key = read_file(folder_.path() / "host_key.pub");
    write("known_hosts", "[127.0.0.1]:" + std::to_string(port_) + " " + host_key);
    configure(at + "/user_key");
    const ShellResult started =
        shell("PATH=$PATH:/usr/sbin:/sbin; [ $(id -u) != 0 ] || mkdir -p /run/sshd; " + through +
              " $(command -v "
              "sshd) -E " +
              at + "/log -f " + at + "/sshd_config");
    if (started.status != 0)
      throw Error("sshd did not start: " + started.output);
    shell("for i in 1 2 3 4 5 6 7 8 9; do [ -s " + at + "/pid ] && break; sleep 0.1; done");
  }
  ~SshdHost() { shell("kill $(cat " + (folder_.path() / "pid").string() + ")"); }
  SshdHost(const SshdHost&) = delete;
  SshdHost& operator=(const SshdHost&) = delete;

  /// What the user's ssh configuration says: the key file, then `more`.
  void configure(const std::string& identity, const std::string& more = "  IdentitiesOnly yes\n") {
    write("ssh_config", "Host *\n  HostName 127.0.0.1\n  Port " + std::to_string(port_) +
                            "\n  IdentityFile " + identity + "\n  UserKnownHostsFile " +
                            path("known_hosts") + "\n  GlobalKnownHostsFile /dev/null\n" + more);
  }
  void make_key(const std::string& name, const std::string& type, const std::string& phrase = "") {
    const ShellResult made =
        shell("ssh-keygen -q -t " + type + " -N '" + phrase + "' -f " + path(name));
    if (made.status != 0)
      throw Error("ssh-keygen: " + made.output);
  }
  void write(const std::string& name, const std::string& text) {
    write_file(folder_.path() / name, text, 0600);
  }
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }
  int port() const { return port_; }
  std::string log() const { return read_file(folder_.path() / "log"); }

  TransportOptions options() const {
    TransportOptions options;
    options.ssh_config = path("ssh_config");
    return options;
  }
  static Endpoint endpoint(const std::string& name = "node1") {
    Endpoint endpoint;
    endpoint.name = name;
    return endpoint;
  }
  static bool possible(const std::string& test) {
    return needs("PATH=$PATH:/usr/sbin:/sbin; command -v sshd && command -v ssh-keygen", test,
                 "no sshd (openssh-server)");
  }

 private:
  TempDir folder_;
  int port_ = 0;
};

}  // namespace ds
