// SPDX-License-Identifier: Apache-2.0
//
// From nothing to a connection on which commands can be run: route, handshake, host key, login. A
// server that hangs up before it has shown who it is (MaxStartups, PerSourcePenalties) is tried
// again, later each time.
#pragma once

#include <memory>
#include <string>

#include "transport/route.h"
#include "transport/ssh_connection.h"
#include "transport/ssh_login.h"
#include "transport/ssh_services.h"

namespace ds {

struct LinkFailure {
  ExecResult::Outcome outcome = ExecResult::Outcome::unreachable;
  std::string message;     ///< clean; what happened and what to do
  std::string by_openssh;  ///< why the ssh program would get further; empty: it would not
  std::optional<SeenHostKey> seen_key;  ///< that was not taken
};

class SshLink {
 public:
  SshLink(const SshSettings& settings, SshServices& services, Loop::Member& owner)
      : settings_(settings), services_(services), owner_(owner) {}
  ~SshLink() { drop(); }
  SshLink(const SshLink&) = delete;
  SshLink& operator=(const SshLink&) = delete;

  /// Connects anew.
  void begin();
  /// `done`: ready. `failed`: failure() says why; begin() may be called again.
  SshProgress step();
  bool off() const { return phase_ == Phase::off; }
  bool ready() const { return phase_ == Phase::ready; }
  /// After a failure: the connection itself has ended.
  bool broken() const;
  void drop();

  void wants(std::vector<pollfd>& waits) const;
  Clock::time_point deadline() const;
  std::size_t descriptors() const;

  /// The last login could not do without a person.
  bool needs_person() const { return needs_person_; }

  SshConnection& connection() const { return *connection_; }
  int fd() const { return route_ ? route_->fd() : -1; }
  const LinkFailure& failure() const { return failure_; }
  const SshSettings& settings() const { return settings_; }
  std::string where() const;  ///< "node1:22"
  /// What was behind the end of the connection, as far as the route knows it.
  std::string route_problem() const { return route_ ? route_->problem() : std::string(); }

 private:
  enum class Phase { off, pause, route, handshake, login, ready };

  void open_route();
  std::chrono::milliseconds connect_limit() const;
  SshProgress advance();
  SshProgress reach();
  SshProgress shake_hands();
  std::vector<std::string> key_types_on_file() const;
  SshProgress check_key();
  SshProgress log_in();
  SshProgress hung_up(const std::string& while_doing);
  SshProgress enter(Phase phase);
  SshProgress fail(LinkFailure failure);
  bool late() const;
  std::string what_was_late() const;

  const SshSettings& settings_;
  SshServices& services_;
  Loop::Member& owner_;
  std::unique_ptr<Route> route_;
  std::unique_ptr<SshConnection> connection_;
  std::unique_ptr<SshLogin> login_;
  Phase phase_ = Phase::off;
  int tries_ = 0;             ///< that the server hung up on
  bool turned_away_ = false;  ///< at one of them it did not even say what it is
  bool needs_person_ = false;
  bool queued_ = false;  ///< as the route was at its last step
  Clock::time_point
      phase_ends_;  ///< connecting and handshake share one limit, the login has its own
  LinkFailure failure_;
};

}  // namespace ds
