// SPDX-License-Identifier: Apache-2.0
//
// Reads a hostfile, DeepSpeed's own format with optional keys after `slots=N`; see
// ds-deploy-hostfile(5). Pure: text in, values out.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/endpoint.h"

namespace ds {

struct Host {
  std::string name;  ///< as reports show it: without user@, IPv6 in brackets; unique
  Endpoint endpoint;
  int slots = 0;
  std::vector<int> selected_slots;  ///< after --include/--exclude, sorted; all of them at first
  std::string python;               ///< interpreter of the environment to deploy to, or empty
  std::string env_script;           ///< sourced before that interpreter is used, or empty
  std::vector<std::string> tags;
  bool writer = false;  ///< it is to write the environment that it shares with others
  int line = 0;         ///< of the hostfile
  bool operator==(const Host&) const = default;
};

struct Inventory {
  std::string file;
  std::vector<Host> hosts;  ///< in the file's order, which is the rank order
  bool operator==(const Inventory&) const = default;
};

/// InputError with every problem of the file.
Inventory parse_hostfile(std::string_view text, const std::string& file);

struct Selection {
  std::string include;  ///< NODE_SPEC[@NODE_SPEC...], NODE_SPEC = NAME[:SLOT[,SLOT...]]
  std::string exclude;
  std::vector<std::string> limit;  ///< names, ranges (node[01-16]), globs, @tag;
                                   ///< several add up
};

/// The hosts that are asked for, in the file's order. UsageError for names, slots or patterns that
/// match nothing, for both include and exclude, and for an empty result.
Inventory select_hosts(const Inventory& inventory, const Selection& selection);

/// Several hostfiles as one. InputError for a host that is in two of them.
Inventory join_inventories(const std::vector<Inventory>& inventories);

/// The nodes of a list as Slurm writes it, node[01-16,20], with `slots` each; `what` is its name
/// for messages. UsageError for what is none.
Inventory slurm_inventory(std::string_view nodelist, const std::string& what, int slots);

/// A hostfile of these, which parse_hostfile() reads as they are.
std::string hostfile_text(const std::vector<Host>& hosts);

/// This machine alone, name "localhost", local transport, one slot (--local_only).
Inventory local_inventory();

}  // namespace ds
