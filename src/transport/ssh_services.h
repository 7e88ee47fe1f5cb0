// SPDX-License-Identifier: Apache-2.0
//
// What the sessions of one transport share.
#pragma once

#include "transport/bastions.h"
#include "transport/host_key_decision.h"
#include "transport/key_ring.h"
#include "transport/remote_command.h"
#include "transport/resolver.h"

namespace ds {

struct SshServices {
  SshServices(const TransportOptions& options, Loop& loop);

  const TransportOptions& options;
  Loop& loop;
  Resolver resolver;
  KeyRing keys;
  KnownHostsFiles known_hosts;
  Bastions bastions;
  SudoAccess sudo;
};

}  // namespace ds
