// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "base/in_use.h"

namespace ds {

/// Unpacks an sdist (tar, also compressed, or zip) below `cache`, under the name of its content: a
/// second call finds it there. The folder of the tree: the one that the archive holds, if it holds
/// no more. Error (usage) for a file that is no archive or is damaged, or that has an entry that
/// must not be unpacked: a name that climbs or repeats, a link that leads out, a device, too much.
/// `in_use` holds the folder below `cache`.
std::filesystem::path unpack_source(const std::filesystem::path& file,
                                    const std::filesystem::path& cache, InUse& in_use);

}  // namespace ds
