// SPDX-License-Identifier: Apache-2.0
//
// What the commands do. The doors (transport, processes, terminal) are built here and handed down.
#pragma once

#include "base/error.h"
#include "cli/options.h"

namespace ds {

/// Does the command; the result goes to stdout, progress and messages to stderr.
ExitStatus run_program(const Options& options);

}  // namespace ds
