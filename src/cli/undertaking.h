// SPDX-License-Identifier: Apache-2.0
//
// What every command does that takes releases to hosts, once it knows which: audit, rollout,
// report.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "artifact/artifact.h"
#include "base/error.h"
#include "cli/session.h"
#include "cli/wheel_sets.h"
#include "config/config.h"
#include "journal/journal.h"
#include "report/report.h"
#include "rollout/rollout.h"

namespace ds {

struct Undertaking {
  Report report;
  StageTimes times;
  Policy policy;
  RolloutOptions::Goal goal = RolloutOptions::Goal::confirmed;
  bool sealed_there = false;  ///< hosts hold their releases; nothing is sent
  bool audited = true;        ///< false: every host that answers is ready
  std::string resumes;        ///< id of the run that this one goes on with; or empty
  std::deque<Wheel> wheels;   ///< what parcels point to
  std::vector<SetNeeds> needs;
  std::vector<ReleaseSet> releases;  ///< as many
  std::optional<Journal> journal;    ///< nothing: a dry run
};

/// With an id, --policy's policy, and a journal unless it is dry. Error (usage) before anything is
/// done where the journal or a file of the report cannot be written, or no environment is named.
Undertaking begin_undertaking(Session& session);

/// The hosts' facts, once those have come back that the policy waits for.
void ask_hosts(Undertaking& undertaking, Session& session);

/// Wheels of this machine go to hosts.
void add_wheels(Undertaking& undertaking, WheelSet set, Session& session);

/// Takes releases that nobody uses off hosts, or with --all everything that is of ours.
ExitStatus remove_from_hosts(Session& session);

/// Holds them against the hosts' facts, then takes them there, unless it is dry; prints the report.
ExitStatus carry_out(Undertaking& undertaking, Session& session);

}  // namespace ds
