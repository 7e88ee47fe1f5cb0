// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.h"
#include "cli/session.h"

namespace ds {

/// `history --hosts`: what the hosts noted of each move of their pointer, newest first, whoever
/// made it from wherever; no journal is read.
ExitStatus show_host_history(Session& session);

}  // namespace ds
