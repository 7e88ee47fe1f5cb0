// SPDX-License-Identifier: Apache-2.0
//
// Questions of a server (keyboard-interactive) to the person at the terminal.
#pragma once

#include <optional>
#include <string>

#include "base/fd.h"

namespace ds {

/// One line from `terminal` (open_terminal()); with `echo` off nobody sees it typed. Nothing if the
/// person gave up (Ctrl-D) or the run was interrupted. Blocks.
std::optional<std::string> ask_on_terminal(const Fd& terminal, const std::string& prompt,
                                           bool echo);

/// Shows `text` on a line of its own.
void tell_on_terminal(const Fd& terminal, const std::string& text);

/// Overwrites a secret before its memory is given back.
void wipe(std::string& secret);

}  // namespace ds
