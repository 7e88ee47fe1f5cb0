// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "transport/ssh_config.h"
#include "transport/ssh_connection.h"

namespace ds {

/// Public-key authentication (RFC 4252), in ssh's order: the key files, then the agent's keys.
class SshLogin {
 public:
  SshLogin(SshConnection& connection, const SshSettings& settings)
      : connection_(connection), settings_(settings) {}

  SshConnection::Progress step();
  /// After `failed`, what the server did: "refused the login of NAME: tried ...; it takes ...".
  const std::string& problem() const { return problem_; }

 private:
  using Progress = SshConnection::Progress;
  enum class Phase { methods, files, agent };

  Progress ask_methods();
  Progress try_files();
  Progress try_agent();
  Progress refuse();

  SshConnection& connection_;
  const SshSettings& settings_;
  Phase phase_ = Phase::methods;
  std::size_t file_ = 0;  ///< identity that is tried next
  std::string methods_;
  std::vector<std::string> tried_;
  std::string problem_;
};

}  // namespace ds
