// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/error.h"
#include "cli/session.h"
#include "facts/facts.h"

namespace ds {

/// What is active on a host, and how that came about, by the host's own notes.
struct HostStatus {
  std::string host;
  std::string release;  ///< sha256, several: "+"; empty: none of ours
  /// confirmed, unconfirmed, overdue, rolled-back, active (nothing tells how), none, damaged; or
  /// what kept it from answering: unreachable, refused, failed
  std::string state;
  std::string message;
  bool decided = true;  ///< nothing has to happen there any more
};

HostStatus host_status(const HostFacts& facts);

/// The command: asks the hosts alone, changes nothing.
ExitStatus show_status(Session& session);

}  // namespace ds
