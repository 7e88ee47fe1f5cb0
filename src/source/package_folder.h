// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

#include "source/source.h"

namespace ds {

/// An unpacked wheel as a package, `record` left to the caller. It was made by a stranger's code:
/// Error (build_failed) for links and names that no wheel may have, and for what lacks the parts of
/// one.
SourcePackage package_in(const std::filesystem::path& folder);

/// SHA-256, in hex, of the paths, modes and contents in it. Error as package_in gives.
std::string package_seal(const std::filesystem::path& folder);

}  // namespace ds
