// SPDX-License-Identifier: Apache-2.0
//
// Which hosts and slots of an inventory a run is for. NODE_SPEC means what DeepSpeed documents: a
// name without slots is all of that host's slots.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "inventory/host_name.h"
#include "inventory/host_pattern.h"
#include "inventory/inventory.h"

namespace ds {
namespace {

std::vector<std::string> names_of(const Inventory& inventory) {
  std::vector<std::string> names;
  for (const Host& host : inventory.hosts)
    names.push_back(host.name);
  return names;
}

std::string hint(const std::string& nearest, const std::string& otherwise) {
  return nearest.empty() ? otherwise : nearest;
}

const Host* find_host(const Inventory& inventory, std::string_view name) {
  for (const Host& host : inventory.hosts) {
    if (host.name == with_brackets(name))
      return &host;
  }
  return nullptr;
}

std::set<int> parse_slots(const std::string& text, const Host& host, const std::string& option) {
  std::set<int> slots;
  for (const std::string& piece : split(text, ',')) {
    const std::string word(trim(piece));
    const std::optional<long> slot = parse_integer(word, 0, host.slots - 1);
    if (!slot) {
      const bool range = parse_integer(word, 0, 1 << 20) == std::nullopt;
      throw UsageError(
          fmt::format("{}: host '{}' has no slot '{}'", option, host.name, clean_line(word, 80)),
          range ? "write slots as numbers with commas between them, such as 0,1,2"
                : fmt::format("its slots are 0 to {}", host.slots - 1));
    }
    slots.insert(static_cast<int>(*slot));
  }
  return slots;
}

/// One NODE_SPEC in two: the name, and the slots after its colon ("" if it has no colon).
struct NodeSpec {
  std::string name;
  std::optional<std::string> slots;
};

NodeSpec split_spec(std::string_view spec, const Inventory& inventory) {
  if (find_host(inventory, spec) != nullptr)
    return {std::string(spec), std::nullopt};
  std::size_t colon = spec.rfind(':');
  const std::size_t bracket = spec.rfind(']');
  if (bracket != std::string_view::npos && colon != std::string_view::npos && colon < bracket) {
    colon = std::string_view::npos;
  }
  const std::string name(spec.substr(0, colon));
  if (colon == std::string_view::npos)
    return {name, std::nullopt};
  return {name, std::string(spec.substr(colon + 1))};
}

using Chosen = std::map<std::string, std::set<int>>;

Chosen parse_node_specs(const std::string& text, const Inventory& inventory,
                        const std::string& option) {
  Chosen chosen;
  for (const std::string& piece : split(text, '@')) {
    const NodeSpec spec = split_spec(trim(piece), inventory);
    if (spec.name.empty()) {
      throw UsageError(
          fmt::format("{}: a host name is missing in '{}'", option, clean_line(text, 80)),
          "write NAME[:SLOT,...], with @ between hosts");
    }
    const Host* host = find_host(inventory, spec.name);
    if (host == nullptr) {
      throw UsageError(
          fmt::format("{}: host '{}' is not in {}", option, clean_line(spec.name, 80),
                      inventory.file),
          hint(suggestion(spec.name, names_of(inventory)),
               "write NAME[:SLOT,...], with @ between hosts; names without user@, IPv6 in "
               "brackets"));
    }
    std::set<int> slots(host->selected_slots.begin(), host->selected_slots.end());
    if (spec.slots)
      slots = parse_slots(*spec.slots, *host, option);
    chosen[host->name].merge(slots);
  }
  return chosen;
}

void keep_slots(Inventory& inventory, const Chosen& chosen, bool keep) {
  for (Host& host : inventory.hosts) {
    const auto found = chosen.find(host.name);
    std::erase_if(host.selected_slots, [&](int slot) {
      const bool named = found != chosen.end() && found->second.count(slot) > 0;
      return named != keep;
    });
  }
  std::erase_if(inventory.hosts, [](const Host& host) { return host.selected_slots.empty(); });
}

bool matches(const Host& host, const std::string& pattern) {
  if (pattern.starts_with('@')) {
    return std::any_of(host.tags.begin(), host.tags.end(),
                       [&](const std::string& tag) { return glob_match(pattern.substr(1), tag); });
  }
  // In a glob the brackets of an IPv6 name would be a set of characters.
  return host.name == with_brackets(pattern) || matches_pattern(pattern, host.name) ||
         matches_pattern(without_brackets(pattern), without_brackets(host.name));
}

std::string nearest(const std::string& pattern, const Inventory& inventory) {
  if (!pattern.starts_with('@'))
    return suggestion(pattern, names_of(inventory));
  std::vector<std::string> tags;
  for (const Host& host : inventory.hosts) {
    for (const std::string& tag : host.tags)
      tags.push_back("@" + tag);
  }
  return suggestion(pattern, tags);
}

void limit_hosts(Inventory& inventory, const std::vector<std::string>& patterns) {
  std::set<std::string> wanted;
  for (const std::string& list : patterns) {
    for (const std::string& pattern : split_patterns(list)) {
      std::size_t found = 0;
      for (const Host& host : inventory.hosts) {
        if (!matches(host, pattern))
          continue;
        wanted.insert(host.name);
        ++found;
      }
      if (found == 0) {
        throw UsageError(
            fmt::format("--limit: '{}' matches no host of {}", clean_line(pattern, 80),
                        inventory.file),
            hint(nearest(pattern, inventory),
                 "write names, ranges such as node[01-16,20], globs such as 'node*', or @tag"));
      }
    }
  }
  std::erase_if(inventory.hosts, [&](const Host& host) { return wanted.count(host.name) == 0; });
}

}  // namespace

Inventory select_hosts(const Inventory& inventory, const Selection& selection) {
  if (!selection.include.empty() && !selection.exclude.empty()) {
    throw UsageError("--include and --exclude cannot be used together",
                     "name the hosts to use with --include, or those to leave with --exclude");
  }
  Inventory selected = inventory;
  if (!selection.include.empty()) {
    keep_slots(selected, parse_node_specs(selection.include, inventory, "--include"), true);
  }
  if (!selection.exclude.empty()) {
    keep_slots(selected, parse_node_specs(selection.exclude, inventory, "--exclude"), false);
  }
  if (selected.hosts.empty()) {
    throw UsageError(fmt::format("no host of {} is left", inventory.file),
                     "the selection leaves all of them out: name fewer with --exclude");
  }
  if (!selection.limit.empty())
    limit_hosts(selected, selection.limit);
  return selected;
}

}  // namespace ds
