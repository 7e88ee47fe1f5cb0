// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

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
  std::vector<std::string> processes;  ///< "0123456789ab: python3 of alice (4711)", if asked for
  std::string owed;     ///< what runs of this coordinator left to do, and the command that does it
  bool decided = true;  ///< nothing has to happen there any more
};

/// For a host that gave no answer: unreachable, failed or refused.
std::string word_for(HostFacts::State state);

/// With --json an object of this schema, else `text` under the environments' names.
void print_hosts(Session& session, const char* schema, const std::vector<HostStatus>& hosts,
                 ExitStatus exit, const std::string& text);

HostStatus host_status(const HostFacts& facts);

/// The command: asks the hosts, and the journal for what they are owed; changes nothing.
ExitStatus show_status(Session& session);

}  // namespace ds
