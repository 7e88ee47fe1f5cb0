// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace fleet {

/// Writes a new ed25519 key as ssh-keygen does: `path` (mode 0600) and `path`.pub. It takes no
/// process, so a thousand of them take no time. Returns false when it cannot.
bool make_ed25519_key(const std::string& path, const std::string& comment);

}  // namespace fleet
