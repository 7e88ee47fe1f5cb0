// SPDX-License-Identifier: Apache-2.0
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "base/error.h"
#include "transport/route.h"

namespace ds {
namespace {

/// RFC 8305, section 5: the Connection Attempt Delay.
constexpr auto kAttemptDelay = std::chrono::milliseconds(250);

void set(int socket, int level, int option, int value) {
  ::setsockopt(socket, level, option, &value, sizeof value);
}

class TcpRoute : public Route {
 public:
  TcpRoute(const TcpTarget& target, Resolver& resolver, Loop& loop, Loop::Member& owner)
      : target_(target), resolver_(resolver), loop_(loop), owner_(owner) {}
  ~TcpRoute() override { resolver_.cancel(lookup_); }
  TcpRoute(const TcpRoute&) = delete;
  TcpRoute& operator=(const TcpRoute&) = delete;

  Progress step() override;
  void wants(std::vector<pollfd>& waits) const override;
  Clock::time_point deadline() const override;
  int fd() const override { return socket_.get(); }
  std::string problem() const override { return problem_; }

 private:
  void look_up();
  void begin_attempt();
  Fd open_socket(const SocketAddress& address) const;
  void settle_attempts();
  bool more() const { return answer_ && next_ < answer_->addresses.size(); }

  TcpTarget target_;
  Resolver& resolver_;
  Loop& loop_;
  Loop::Member& owner_;
  bool asked_ = false;
  std::uint64_t lookup_ = 0;
  std::optional<LookupAnswer> answer_;
  std::size_t next_ = 0;      ///< address that is tried next
  std::vector<Fd> attempts_;  ///< under way
  Clock::time_point next_attempt_;
  Fd socket_;  ///< the winner
  std::string problem_;
};

void TcpRoute::look_up() {
  asked_ = true;
  lookup_ =
      resolver_.begin(target_.host, target_.port, target_.family, [this](LookupAnswer answer) {
        answer_ = std::move(answer);
        loop_.wake(owner_);
      });
}

Fd TcpRoute::open_socket(const SocketAddress& address) const {
  Fd socket(::socket(address.bytes.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket)
    return socket;
  // Without it every step of the handshake waits 40 ms for a delayed acknowledgement.
  set(socket.get(), IPPROTO_TCP, TCP_NODELAY, 1);
  set(socket.get(), SOL_SOCKET, SO_KEEPALIVE, 1);
  set(socket.get(), IPPROTO_TCP, TCP_KEEPIDLE, target_.keepalive);
  set(socket.get(), IPPROTO_TCP, TCP_KEEPINTVL, target_.keepalive);
  set(socket.get(), IPPROTO_TCP, TCP_KEEPCNT, 3);
  set(socket.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, target_.keepalive * 4000);
  return socket;
}

/// Begins with the next address that takes a beginning.
void TcpRoute::begin_attempt() {
  while (more()) {
    const SocketAddress& address = answer_->addresses[next_++];
    Fd socket = open_socket(address);
    if (!socket) {
      problem_ = errno_text(errno);
      continue;
    }
    if (!target_.bind_address.empty()) {
      resolver_.begin(
          target_.bind_address, 0, address.bytes.ss_family, [&socket](const LookupAnswer& own) {
            if (!own.addresses.empty()) {
              const SocketAddress& from = own.addresses.front();
              ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&from.bytes), from.size);
            }
          });
    }
    const int rc =
        ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address.bytes), address.size);
    if (rc != 0 && errno != EINPROGRESS) {
      problem_ = errno_text(errno);
      continue;
    }
    attempts_.push_back(std::move(socket));
    next_attempt_ = loop_.now() + kAttemptDelay;
    return;
  }
}

void TcpRoute::settle_attempts() {
  for (Fd& attempt : attempts_) {
    pollfd state{attempt.get(), POLLOUT, 0};
    if (::poll(&state, 1, 0) != 1)
      continue;
    int failure = 0;
    socklen_t size = sizeof failure;
    ::getsockopt(attempt.get(), SOL_SOCKET, SO_ERROR, &failure, &size);
    if (failure == 0 && !socket_) {
      socket_ = std::move(attempt);
    } else if (failure != 0) {
      problem_ = errno_text(failure);
      attempt.close();
    }
  }
  std::erase_if(attempts_, [](const Fd& attempt) { return !attempt; });
}

Route::Progress TcpRoute::step() {
  if (socket_)
    return Progress::connected;
  if (!asked_)
    look_up();
  if (!answer_)
    return Progress::waiting;
  if (!answer_->problem.empty()) {
    problem_ = answer_->problem;
    return Progress::failed;
  }
  settle_attempts();
  if (!socket_ && (attempts_.empty() || loop_.now() >= next_attempt_)) {
    begin_attempt();
    settle_attempts();
  }
  if (socket_) {
    attempts_.clear();
    problem_.clear();
    return Progress::connected;
  }
  if (!attempts_.empty())
    return Progress::waiting;
  return more() ? step() : Progress::failed;
}

void TcpRoute::wants(std::vector<pollfd>& waits) const {
  for (const Fd& attempt : attempts_)
    waits.push_back({attempt.get(), POLLOUT, 0});
}

Clock::time_point TcpRoute::deadline() const {
  return !socket_ && !attempts_.empty() && more() ? next_attempt_ : Clock::time_point::max();
}

}  // namespace

std::unique_ptr<Route> make_tcp_route(const TcpTarget& target, Resolver& resolver, Loop& loop,
                                      Loop::Member& owner) {
  return std::make_unique<TcpRoute>(target, resolver, loop, owner);
}

}  // namespace ds
