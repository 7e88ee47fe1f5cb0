// SPDX-License-Identifier: Apache-2.0
//
// Host names to addresses without blocking. Its source is the only file that names c-ares.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "transport/loop.h"

namespace ds {

struct SocketAddress {
  sockaddr_storage bytes{};
  socklen_t size = 0;
};

struct LookupAnswer {
  std::vector<SocketAddress> addresses;  ///< families in turn (RFC 8305, section 4)
  std::string problem;                   ///< why there is none
};

class Resolver : private Loop::Member {
 public:
  using Done = std::function<void(LookupAnswer)>;

  explicit Resolver(Loop& loop);
  ~Resolver() override;
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  /// Looks up a name or a numeric address; /etc/hosts first, then DNS. `family`: AF_UNSPEC, AF_INET
  /// or AF_INET6. `done` is called once, at once where nothing need be asked, and never after
  /// cancel().
  std::uint64_t begin(const std::string& host, int port, int family, Done done);
  void cancel(std::uint64_t lookup) { waiting_.erase(lookup); }

 private:
  struct Channel;
  void wants(std::vector<pollfd>& waits) const override;
  Clock::time_point deadline() const override;
  void turn() override;
  void open();
  void answer(std::uint64_t lookup, LookupAnswer answer);

  Loop& loop_;
  std::unique_ptr<Channel> channel_;  ///< from the first name on
  std::uint64_t next_ = 1;
  std::unordered_map<std::uint64_t, Done> waiting_;
  friend struct ResolverCallback;
};

}  // namespace ds
