// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "audit/audit.h"
#include "cli/session.h"

namespace ds {

/// What the hosts' PyTorch and Python give to the libraries of these wheels; nothing where no
/// library takes anything of them. Replayed facts have what the cache kept of earlier runs.
RuntimeExports hosts_exports(const std::vector<SetNeeds>& sets, Session& session);

}  // namespace ds
