// SPDX-License-Identifier: Apache-2.0
//
// What a rollout knows of each host while it runs, and how one phase is done on many of them.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "rollout/rollout.h"

namespace ds {

struct RolloutHost {
  const Host* host = nullptr;
  const HostFacts* facts = nullptr;
  HostOutcome outcome;
  std::string python;
  bool takes_part = false;            ///< false: another name for a host that does
  bool good = true;                   ///< nothing went wrong so far
  bool changed = false;               ///< a phase wrote something
  bool activated = false;             ///< the pointer was moved by this run
  std::vector<std::string> previous;  ///< what the pointer said before
};

/// One remote command of a phase: the request for templates/host.py or confirm.py.
struct PhaseCommand {
  nlohmann::json request;
  std::filesystem::path file;  ///< sent after the request
};

struct PhaseDescription {
  std::string name;       ///< stage, verify, activate, confirm, rollback
  std::string done_word;  ///< "staged"
  std::function<PhaseCommand(const RolloutHost&)> command;
  std::function<void(RolloutHost&, const nlohmann::json& answer)> accept;
  std::chrono::milliseconds time_limit = std::chrono::minutes(30);
};

std::vector<std::string> wanted_releases(const std::vector<Parcel>& parcels);

/// nullptr if the host was not audited.
const HostAudit* audit_of(const AuditReport& audit, const std::string& host);

/// What facts and audit say of a host before anything is sent.
HostOutcome judge(const HostFacts& facts, const HostAudit* audit,
                  const std::vector<std::string>& wanted);

/// Does the phase on `hosts` at once. A host whose answer is no, cut or late gets good = false, a
/// step and a message.
void run_phase(const PhaseDescription& phase, const std::vector<RolloutHost*>& hosts,
               Transport& transport, Status& status);

}  // namespace ds
