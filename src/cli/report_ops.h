// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.h"
#include "cli/session.h"

namespace ds {

/// The command `report`: what ds_report shows, of every host, and whether each op can be loaded
/// there, for which GPUs it has code, and what the host is.
ExitStatus show_report(Session& session);

}  // namespace ds
