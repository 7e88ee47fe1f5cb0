// SPDX-License-Identifier: Apache-2.0
//
// The files of a wheel as a folder that Python imports from, with no installation.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "wheel/wheel.h"

namespace ds {

/// A package in `folder`, named by the SHA-256 of all its paths and contents: what a process has
/// imported is never overwritten by what was made later. It appears by rename; a file of it that is
/// gone or damaged is written anew. The caller holds the lock of `folder`, so that what a killed
/// process left there can be removed. The result goes on sys.path. Error if it cannot be written.
std::filesystem::path lay_out_package(const std::vector<WheelFile>& files,
                                      const std::filesystem::path& folder);

}  // namespace ds
