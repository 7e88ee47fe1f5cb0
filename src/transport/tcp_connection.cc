// SPDX-License-Identifier: Apache-2.0
#include "transport/tcp_connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>

#include "base/error.h"

namespace ds {

void TcpConnection::begin(const std::string& host, int port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG;
  addrinfo* found = nullptr;
  int failure = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (failure != 0) {
    // Without a network, AI_ADDRCONFIG hides loopback addresses written as numbers.
    hints.ai_flags = AI_NUMERICSERV | AI_NUMERICHOST;
    const int again = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
    if (again == 0)
      failure = 0;
  }
  if (failure != 0) {
    problem_ = std::string("the name cannot be resolved (") + ::gai_strerror(failure) + ")";
    return;
  }
  addresses_.reset(found);
  next_ = found;
  try_next();
}

TcpConnection::Progress TcpConnection::try_next() {
  while (next_ != nullptr) {
    const addrinfo& address = *next_;
    next_ = next_->ai_next;
    socket_ = Fd(::socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!socket_) {
      problem_ = errno_text(errno);
      continue;
    }
    const int on = 1;
    ::setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    if (::connect(socket_.get(), address.ai_addr, address.ai_addrlen) == 0) {
      problem_.clear();
      return Progress::connected;
    }
    if (errno == EINPROGRESS) {
      problem_.clear();
      return Progress::waiting;
    }
    problem_ = errno_text(errno);
    socket_.close();
  }
  return Progress::failed;
}

TcpConnection::Progress TcpConnection::step() {
  if (!socket_)
    return Progress::failed;
  int failure = 0;
  socklen_t size = sizeof failure;
  ::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &failure, &size);
  if (failure == 0)
    return Progress::connected;
  problem_ = errno_text(failure);
  socket_.close();
  return try_next();
}

}  // namespace ds
