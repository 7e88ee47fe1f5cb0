// SPDX-License-Identifier: Apache-2.0
//
// Jump hosts (ProxyJump): one connection to each, shared by all hosts behind it; every one of them
// gets a socket whose bytes go through a channel of that connection (RFC 4254, section 7.2).
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "transport/route.h"
#include "transport/ssh_config.h"

namespace ds {

struct SshServices;
class Bastion;

class Bastions {
 public:
  explicit Bastions(SshServices& services);
  ~Bastions();
  Bastions(const Bastions&) = delete;
  Bastions& operator=(const Bastions&) = delete;

  /// Asks ssh for the configuration of the jump hosts that these settings name, and whether a
  /// ControlPath master of one is up: that one is used, for it may have asked for a second factor.
  void prepare(const std::vector<SshSettings>& hosts);

  /// The way to a host through its `jumps`. `owner` is woken when it moves.
  std::unique_ptr<Route> route(const SshSettings& host, Loop::Member& owner);

  /// Of the jump hosts that this process may not be able to enter again, should their connection
  /// end, because their login wants a person: a line each.
  std::vector<std::string> warnings() const;

 private:
  Bastion& bastion(const std::vector<std::string>& jumps);
  void prepare_chain(const std::vector<std::string>& jumps);

  SshServices& services_;
  std::map<std::string, std::unique_ptr<Bastion>> bastions_;  ///< by "first,second" of their jumps
  std::set<std::string> masters_;  ///< those whose ControlPath connection is used
};

/// "[user@]host[:port]" or "ssh://[user@]host[:port]" (ssh_config(5), ProxyJump).
Endpoint jump_endpoint(const std::string& jump);

}  // namespace ds
