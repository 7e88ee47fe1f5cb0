// SPDX-License-Identifier: Apache-2.0
//
// How the socket to an SSH server comes about: TCP, a channel through a jump host, or a command
// (ProxyCommand). Nothing in it blocks.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "transport/loop.h"
#include "transport/resolver.h"
#include "transport/transport.h"

namespace ds {

/// Lives as long as the connection that came of it.
class Route {
 public:
  enum class Progress { waiting, connected, failed };
  virtual ~Route() = default;

  virtual Progress step() = 0;
  /// It waits for something that has time limits of its own: a jump host that many share.
  virtual bool queued() const { return false; }
  virtual void wants(std::vector<pollfd>& waits) const = 0;
  /// When step() has something to do without a descriptor being ready.
  virtual Clock::time_point deadline() const { return Clock::time_point::max(); }
  /// The connected socket, non-blocking.
  virtual int fd() const = 0;
  /// Why it failed; after the connection broke, what the route knows of the reason. Clean.
  virtual std::string problem() const = 0;
  /// What a failure means for the host: a jump host on the way may have been reached and refused.
  virtual ExecResult::Outcome outcome() const { return ExecResult::Outcome::unreachable; }
  virtual std::optional<SeenHostKey> seen_key() const { return {}; }
  /// Whether a connection that broke before it said anything may do better in a while.
  virtual bool worth_another_try() const { return true; }
};

struct TcpTarget {
  std::string host;
  int port = 22;
  int family = 0;            ///< AF_UNSPEC, AF_INET, AF_INET6 (AddressFamily)
  std::string bind_address;  ///< numeric; empty: any (BindAddress)
  int keepalive = 15;        ///< seconds of silence before the kernel asks whether the peer lives
};

/// Tries all addresses, a new one each 250 ms while none answers (RFC 8305); the first wins.
/// `owner` is woken when the name service has answered.
std::unique_ptr<Route> make_tcp_route(const TcpTarget& target, Resolver& resolver, Loop& loop,
                                      Loop::Member& owner);

/// `words` is run with a socket as its stdin and stdout; killed with the route.
std::unique_ptr<Route> make_command_route(const std::vector<std::string>& words);

}  // namespace ds
