// SPDX-License-Identifier: Apache-2.0
#include "cli/replay.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"

namespace ds {

Inventory inventory_of(const Fleet& saved, const std::string& file) {
  Inventory inventory{file, {}};
  for (const HostFacts& facts : saved.hosts) {
    Host host;
    host.name = facts.host;
    host.endpoint.name = host.endpoint.address = facts.host;
    host.slots = std::max(1, static_cast<int>(facts.gpus.size()));
    for (int slot = 0; slot < host.slots; ++slot)
      host.selected_slots.push_back(slot);
    inventory.hosts.push_back(std::move(host));
  }
  return inventory;
}

Fleet facts_of(const Inventory& hosts, const Fleet& saved, const std::string& file) {
  Fleet fleet;
  std::vector<std::string> missing;
  for (const Host& host : hosts.hosts) {
    if (const HostFacts* facts = saved.find(host.name)) {
      fleet.hosts.push_back(*facts);
    } else {
      missing.push_back(host.name);
    }
  }
  if (!missing.empty()) {
    throw UsageError(
        fmt::format("{} has no facts of {}, named in {}", file, join(missing, ", "), hosts.file),
        "write the facts anew with ds-deploy facts --save-facts, or choose hosts that are in them");
  }
  return fleet;
}

void refuse_tags(const Selection& selection, const std::string& file) {
  for (const std::string& list : selection.limit) {
    for (const std::string& piece : split(list, ',')) {
      const std::string_view pattern = trim(piece);
      if (!pattern.starts_with('@'))
        continue;
      throw UsageError(fmt::format("--limit: '{}' is a tag, and the facts in {} have none",
                                   clean_line(pattern, 80), file),
                       "give the hostfile that has the tags too: --hostfile FILE");
    }
  }
}

}  // namespace ds
