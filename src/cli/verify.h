// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.h"
#include "cli/session.h"

namespace ds {

/// Every file of the active releases, hashed again on every host; and whether hosts are where the
/// journal has them. Changes nothing.
ExitStatus verify_hosts(Session& session);

}  // namespace ds
