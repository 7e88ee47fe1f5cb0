// SPDX-License-Identifier: Apache-2.0
//
// Whether a run takes the key that a server shows: what is on file, and StrictHostKeyChecking.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "transport/known_hosts.h"
#include "transport/learn_host_key.h"
#include "transport/ssh_config.h"

namespace ds {

/// The files of each host, read once for all hosts that name the same ones.
class KnownHostsFiles {
 public:
  const KnownHosts& of(const SshSettings& settings);

 private:
  using Files = std::vector<std::filesystem::path>;
  std::map<std::pair<Files, Files>, KnownHosts> read_;
};

struct KeyDecision {
  bool accepted = false;
  std::string message;     ///< why not, and what to do; clean
  std::string by_openssh;  ///< why only the ssh program can tell; empty: it would say the same
  std::optional<SeenHostKey> seen;  ///< of a key that is not taken
};

/// May add the key to the user's file (StrictHostKeyChecking accept-new).
KeyDecision decide_host_key(KnownHostsFiles& files, const SshSettings& settings,
                            const std::string& key);

}  // namespace ds
