// SPDX-License-Identifier: Apache-2.0
//
// Folders that are shared by processes, and removed by one while others may read them.
#pragma once

#include <filesystem>
#include <vector>

#include "base/fd.h"

namespace ds {

/// Holds folders until it ends, and until the process does, however that ends: flock(2). Where the
/// file system has no flock, nothing is held.
class InUse {
 public:
  /// Also notes that it is used, as its time of last change. False if it is not there, or not any
  /// more.
  bool hold(const std::filesystem::path& folder);

 private:
  std::vector<Fd> held_;
};

/// Removes the folder with all in it, unless somebody holds it or it cannot be removed: then false.
/// Its name is free before the first file goes.
bool remove_unused(const std::filesystem::path& folder);

}  // namespace ds
