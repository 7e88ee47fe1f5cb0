// SPDX-License-Identifier: Apache-2.0
//
// Which keys are offered to a host, and in which order: that of ssh (pubkey_prepare in OpenSSH's
// sshconnect2.c), because a server counts the tries.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "transport/key_ring.h"
#include "transport/ssh_config.h"

namespace ds {

struct LoginKey {
  std::string label;       ///< "/home/u/.ssh/id_ed25519", "agent key 'laptop'"; clean
  std::string blob;        ///< public key or certificate, as it is offered; empty: unknown
  std::string signs_with;  ///< the public key or certificate by which the agent knows it
  std::string agent;       ///< socket of the agent that holds it; empty: it is in `file`
  std::filesystem::path file;
  std::string unusable;      ///< why libssh2 cannot offer it; empty: it can
  bool openssh_can = false;  ///< but the ssh program can
};

/// Certificates of CertificateFile, key files that an agent holds, the agent's other keys (unless
/// IdentitiesOnly), the other key files; each with its certificate before it.
std::vector<LoginKey> order_login_keys(const SshSettings& settings, KeyRing& ring,
                                       const AgentKeys& agent);

}  // namespace ds
