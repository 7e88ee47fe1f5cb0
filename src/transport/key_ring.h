// SPDX-License-Identifier: Apache-2.0
//
// The keys of a run: what the user's agents hold, and key files, which a private ssh-agent reads
// (by ssh-add), so that a passphrase is asked once for all hosts and no private key is parsed here.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "transport/loop.h"
#include "transport/ssh_config.h"
#include "transport/ssh_connection.h"

namespace ds {

/// A key that an agent can sign with.
struct LoginKey {
  std::string label;   ///< "/home/u/.ssh/id_ed25519", "agent key 'laptop'": for messages
  std::string blob;    ///< public key (RFC 4253, section 6.6) or certificate
  std::string type;    ///< "ssh-ed25519"
  std::string socket;  ///< of the agent that holds it
};

class KeyRing {
 public:
  KeyRing();
  ~KeyRing();
  KeyRing(const KeyRing&) = delete;
  KeyRing& operator=(const KeyRing&) = delete;
};

}  // namespace ds
