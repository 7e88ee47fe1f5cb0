// SPDX-License-Identifier: Apache-2.0
//
// One library among those of its wheel or folder.
#pragma once

#include <string>
#include <vector>

#include "artifact/artifact.h"

namespace ds {

struct Inspected {
  LibraryNeeds needs;
  std::vector<std::string> gives = {};  ///< symbols, sorted
};

/// The last part of a path.
std::string file_name(std::string_view path);

/// Takes out of each library's `outside` what it gives itself, and what the others give that it is
/// linked with, directly or through one of them.
void resolve_within(std::vector<Inspected>& libraries);

}  // namespace ds
