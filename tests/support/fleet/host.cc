// SPDX-License-Identifier: Apache-2.0
#include "support/fleet/host.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <fstream>

namespace fleet {
namespace {

constexpr int kBacklog = 1024;

ds::Fd tcp_socket(int flags) {
  return ds::Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
}

int port_of(int fd) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

bool connect_to(int fd, const sockaddr_in& address) {
  return ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

}  // namespace

sockaddr_in socket_address(const std::string& address, int port) {
  sockaddr_in result{};
  result.sin_family = AF_INET;
  result.sin_port = htons(static_cast<uint16_t>(port));
  ::inet_pton(AF_INET, address.c_str(), &result.sin_addr);
  return result;
}

bool connected_pair(const std::string& address, ds::Fd& client, ds::Fd& server) {
  const ds::Fd listener = tcp_socket(0);
  const sockaddr_in any = socket_address(address, 0);
  if (::bind(listener.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any) != 0 ||
      ::listen(listener.get(), 1) != 0)
    return false;
  client = tcp_socket(0);
  if (!connect_to(client.get(), socket_address(address, port_of(listener.get()))))
    return false;
  server = ds::Fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  return static_cast<bool>(server);
}

bool Host::listen(int port) {
  listener_ = tcp_socket(SOCK_NONBLOCK);
  const int on = 1;
  ::setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const sockaddr_in at = socket_address(address, port);
  return ::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0 &&
         ::listen(listener_.get(), kBacklog) == 0;
}

ds::Fd Host::accept() {
  ds::Fd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (connection)
    ++accepted;
  return connection;
}

void Host::set_fault(const Fault& next) {
  using Kind = Fault::Kind;
  if (next.kind != fault.kind && (!accepts_ || next.silences_the_listener())) {
    fillers_.clear();
    // On Linux this ends listening and keeps a port that bind() was asked for by number, so that
    // nobody can take it meanwhile. Done twice, it would end every later connection, too.
    if (fault.kind != Kind::refuse)
      ::shutdown(listener_.get(), SHUT_RDWR);
    if (next.kind == Kind::drop)
      fill_backlog();
    else if (next.kind != Kind::refuse)
      ::listen(listener_.get(), kBacklog);
  }
  fault = next;
  accepts_ = !next.silences_the_listener();
  const std::string file = root + "/fault";
  ::unlink(file.c_str());
  if (next.in_the_command())
    std::ofstream(file) << (next.kind == Kind::hang ? "hang " : "kill ") << next.number << '\n';
}

/// A backlog of 0 holds one connection; once it is there, the kernel drops every further SYN.
void Host::fill_backlog() {
  const sockaddr_in at = socket_address(address, port_of(listener_.get()));
  ::listen(listener_.get(), 0);
  for (int i = 0; i < 2; ++i) {
    fillers_.push_back(tcp_socket(SOCK_NONBLOCK));
    connect_to(fillers_.back().get(), at);
  }
}

void Host::count_turned_away() {
  if (fault.number > 0 && --fault.number == 0)
    fault = {};
}

void Host::write_pids() const {
  std::ofstream file(root + "/pid");
  for (const pid_t pid : sshds)
    file << pid << '\n';
}

}  // namespace fleet
