// SPDX-License-Identifier: Apache-2.0
//
// What hosts noted of each move of their pointer: templates/history.py.
#include <algorithm>

#include "base/text.h"
#include "rollout/rollout_state.h"

namespace ds {
namespace {

using nlohmann::json;

std::string text_of(const json& entry, const char* key) {
  const auto found = entry.find(key);
  return found != entry.end() && found->is_string() ? clean_line(found->get<std::string>(), 500)
                                                    : std::string();
}

HistoryEntry entry_of(const json& entry) {
  HistoryEntry read;
  read.at = std::max<std::int64_t>(entry.at("at").get<std::int64_t>(), 0);
  read.run = text_of(entry, "run");
  read.event = text_of(entry, "event");
  read.from = releases_of(entry, "from");
  read.to = releases_of(entry, "to");
  read.because = text_of(entry, "because");
  read.user = text_of(entry, "user");
  read.machine = text_of(entry, "machine");
  read.command = text_of(entry, "command");
  read.message = text_of(entry, "message");
  read.login = text_of(entry, "login");
  read.sudo_user = text_of(entry, "sudo_user");
  return read;
}

}  // namespace

HostHistories read_histories(const Inventory& inventory, const ProbeOptions& probe,
                             const Fleet& fleet, std::size_t most, Transport& transport,
                             Status& status) {
  HostHistories histories;
  PhaseDescription phase;
  phase.name = "history";
  phase.most_output = 4u << 20;
  phase.command = [most](const RolloutHost&) {
    return PhaseCommand{{{"phase", "history"}, {"most", most}}};
  };
  phase.accept = [&histories](RolloutHost& host, const json& answer) {
    if (!answer.value("ok", false))
      return;
    std::vector<HistoryEntry>& entries = histories[host.outcome.host];
    for (const json& entry : answer.at("entries")) {
      try {
        entries.push_back(entry_of(entry));
      } catch (const json::exception&) {
        // Damage, or another's writing; the others tell all the same.
      }
    }
  };
  const auto meant = [&fleet](const Host& host) {
    const HostFacts* facts = fleet.find(host.name);
    return facts != nullptr && !facts->python.executable.empty();
  };
  for (const RolloutHost& host : ask_each(phase, inventory, probe, meant, transport, status)) {
    if (!host.good)
      histories.erase(host.outcome.host);
  }
  return histories;
}

}  // namespace ds
