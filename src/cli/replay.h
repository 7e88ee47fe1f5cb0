// SPDX-License-Identifier: Apache-2.0
//
// Saved facts in place of hosts: which of them a run is for. Pure.
#pragma once

#include <string>

#include "facts/facts.h"
#include "inventory/inventory.h"

namespace ds {

/// The hosts of saved facts, as if a hostfile named them: slots are their GPUs, one at least.
Inventory inventory_of(const Fleet& saved, const std::string& file);

/// The facts of these hosts, in the inventory's order. UsageError with all names that `file` does
/// not have.
Fleet facts_of(const Inventory& hosts, const Fleet& saved, const std::string& file);

/// UsageError for a @tag in --limit: only a hostfile has tags.
void refuse_tags(const Selection& selection, const std::string& file);

}  // namespace ds
