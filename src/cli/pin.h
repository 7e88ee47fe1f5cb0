// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.h"
#include "cli/session.h"

namespace ds {

/// Hosts keep a release for a job that wants it whatever is activated meanwhile; prints what the
/// job has to set.
ExitStatus pin(Session& session);

}  // namespace ds
