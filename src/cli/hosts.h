// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/options.h"
#include "inventory/inventory.h"

namespace ds {

/// The hosts that the command line names, before any selection: those of an earlier run, this
/// machine, hostfiles, or the nodes of a Slurm job; else /job/hostfile, else the job that this
/// process belongs to. UsageError where there is none of them.
Inventory read_inventory(const Options& options);

}  // namespace ds
