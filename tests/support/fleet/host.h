// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <netinet/in.h>
#include <sys/types.h>

#include <set>
#include <string>
#include <vector>

#include "base/fd.h"
#include "support/fleet/fault.h"

namespace fleet {

/// One simulated host: its listener, what is wrong with it, and the sshd processes of its
/// connections.
class Host {
 public:
  Host(std::string name, std::string address, std::string root)
      : name(std::move(name)), address(std::move(address)), root(std::move(root)) {}

  const std::string name, address, root;
  Fault fault;
  long accepted = 0;
  std::set<pid_t> sshds;

  /// Binds and listens; false with errno when it cannot.
  bool listen(int port);
  /// Which descriptor to poll; -1 while nothing is to be accepted.
  int listener() const { return accepts_ ? listener_.get() : -1; }
  /// The next connection, blocking; empty when there is none.
  ds::Fd accept();
  /// Puts a fault in force in place of the last one.
  void set_fault(const Fault& next);
  /// One more connection was turned away; after the last the host is well again.
  void count_turned_away();
  /// ROOT/pid: the sshd processes, one a line.
  void write_pids() const;

 private:
  void fill_backlog();

  ds::Fd listener_;
  bool accepts_ = true;
  std::vector<ds::Fd> fillers_;
};

sockaddr_in socket_address(const std::string& address, int port);

/// A TCP connection to `address` from this process, as its two ends.
bool connected_pair(const std::string& address, ds::Fd& client, ds::Fd& server);

}  // namespace fleet
