// SPDX-License-Identifier: Apache-2.0
//
// Releases that jobs are promised: templates/pins.py.
#include <algorithm>
#include <deque>

#include "base/text.h"
#include "rollout/rollout_state.h"

namespace ds {

using nlohmann::json;

std::vector<PinnedHost> pin_releases(const Inventory& inventory, const ProbeOptions& probe,
                                     const HostReleases& releases, int days, Transport& transport,
                                     Status& status) {
  std::map<std::string, std::int64_t> until;
  PhaseDescription phase;
  phase.name = "pin";
  phase.done_word = "keeps it";
  phase.command = [&releases, days](const RolloutHost& host) {
    return PhaseCommand{{{"phase", "pin"},
                         {"releases", releases.at(host.outcome.host)},
                         {"days", days},
                         {"hook", std::string(template_text("hook.py"))}}};
  };
  phase.accept = [&until](RolloutHost& host, const json& answer) {
    if (answer.value("ok", false)) {
      until[host.outcome.host] = std::max<std::int64_t>(answer.at("until").get<std::int64_t>(), 0);
    }
  };
  std::deque<RolloutHost> hosts;
  std::vector<RolloutHost*> asked;
  for (const Host& host : inventory.hosts) {
    const auto wanted = releases.find(host.name);
    if (wanted != releases.end() && !wanted->second.empty())
      asked.push_back(&hosts.emplace_back(host_to_ask(host, probe)));
  }
  run_phase(phase, asked, transport, status);
  std::vector<PinnedHost> pinned;
  for (const RolloutHost& host : hosts) {
    const std::string& name = host.outcome.host;
    pinned.push_back({name, host.good ? "" : host.outcome.message, until[name]});
  }
  return pinned;
}

}  // namespace ds
