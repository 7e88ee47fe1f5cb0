// SPDX-License-Identifier: Apache-2.0
//
// Releases that jobs are promised: templates/pins.py.
#include <algorithm>

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
  const auto meant = [&releases](const Host& host) {
    const auto wanted = releases.find(host.name);
    return wanted != releases.end() && !wanted->second.empty();
  };
  std::vector<PinnedHost> pinned;
  for (const RolloutHost& host : ask_each(phase, inventory, probe, meant, transport, status)) {
    const std::string& name = host.outcome.host;
    pinned.push_back({name, host.good ? "" : host.outcome.message, until[name]});
  }
  return pinned;
}

}  // namespace ds
