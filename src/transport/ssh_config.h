// SPDX-License-Identifier: Apache-2.0
//
// What the user's ssh configuration says of a host: `ssh -G`, where the ssh program exists.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "transport/transport.h"

namespace ds {

struct SshSettings {
  std::string hostname, user;
  int port = 22;
  std::vector<std::filesystem::path> identities;  ///< in the order they are tried
  bool identities_only = false;
  std::string agent;  ///< socket path; empty: none
  std::vector<std::filesystem::path> known_hosts;
  std::string host_key_name;  ///< HostKeyAlias, else hostname
  std::string jump;           ///< ProxyJump or ProxyCommand, if any
  std::string problem;        ///< why the host cannot be tried
};

/// The endpoint's own fields win over the configuration.
SshSettings resolve_ssh_settings(const Endpoint& endpoint, const TransportOptions& options);

}  // namespace ds
