// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <poll.h>

#include <string>
#include <vector>

#include "transport/key_ring.h"
#include "transport/ssh_config.h"
#include "transport/ssh_connection.h"

namespace ds {

class SshLogin {
 public:
  SshLogin(SshConnection& connection, const SshSettings& settings, KeyRing& keys)
      : connection_(connection), settings_(settings) { (void)keys; }
  SshProgress step();
  void wants(std::vector<pollfd>&) const {}
  bool waits_for_agent() const { return false; }
  const std::string& problem() const { return problem_; }
  std::string better_by_openssh() const { return {}; }

 private:
  SshConnection& connection_;
  const SshSettings& settings_;
  std::size_t file_ = 0;
  bool asked_ = false;
  std::string methods_, problem_;
};

}  // namespace ds
