// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <netdb.h>

#include <memory>
#include <string>

#include "base/fd.h"

namespace ds {

/// Connects to the first address of a host that takes it, without blocking (but for the name
/// service).
class TcpConnection {
 public:
  /// Looks the name up and begins. `problem()` says why nothing can be tried.
  void begin(const std::string& host, int port);

  enum class Progress { waiting, connected, failed };
  Progress step();  ///< when the socket is writable

  Fd& socket() { return socket_; }
  int fd() const { return socket_.get(); }
  const std::string& problem() const { return problem_; }

 private:
  struct FreeAddresses {
    void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
  };
  Progress try_next();

  std::unique_ptr<addrinfo, FreeAddresses> addresses_;
  const addrinfo* next_ = nullptr;
  Fd socket_;
  std::string problem_;
};

}  // namespace ds
