// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.h"
#include "cli/session.h"

namespace ds {

/// `ds-deploy jit OP`: one op for this machine, in the extension cache. Prints the library's path.
ExitStatus jit(Session& session);

}  // namespace ds
