// SPDX-License-Identifier: Apache-2.0
#include <deque>

#include "base/text.h"
#include "rollout/rollout_state.h"

namespace ds {
namespace {

using nlohmann::json;

/// An answer that has not its form throws, and run_phase says so.
std::vector<CheckedRelease> releases_of(const json& answer) {
  std::vector<CheckedRelease> releases;
  for (const json& item : answer.value("releases", json::array())) {
    releases.push_back({clean_line(item.value("sha256", std::string()), 64),
                        clean_line(item.value("file", std::string()), 300),
                        clean_line(item.value("damage", std::string()), 1000)});
  }
  return releases;
}

}  // namespace

void check_releases(const Inventory& inventory, const ProbeOptions& probe, Fleet& fleet,
                    Transport& transport, Status& status) {
  PhaseDescription phase;
  phase.name = "check";
  phase.done_word = "checked";
  phase.command = [](const RolloutHost&) { return PhaseCommand{{{"phase", "check"}}, {}}; };
  std::map<const RolloutHost*, HostFacts*> facts;
  phase.accept = [&facts](RolloutHost& host, const json& answer) {
    facts.at(&host)->installed.checked = releases_of(answer);
  };
  std::deque<RolloutHost> hosts;
  std::vector<RolloutHost*> asked;
  for (std::size_t at = 0; at < fleet.hosts.size() && at < inventory.hosts.size(); ++at) {
    if (fleet.hosts[at].python.executable.empty())
      continue;
    RolloutHost& host = hosts.emplace_back(host_to_ask(inventory.hosts[at], probe));
    host.facts = &fleet.hosts[at];
    facts[&host] = &fleet.hosts[at];
    asked.push_back(&host);
  }
  run_phase(phase, asked, transport, status);
  for (const RolloutHost& host : hosts) {
    HostFacts& known = *facts.at(&host);
    if (host.good)
      continue;
    known.installed.checked.reset();
    known.notes.push_back("its releases could not be read: " + host.outcome.message);
  }
}

}  // namespace ds
