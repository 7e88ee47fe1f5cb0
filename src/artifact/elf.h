// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "artifact/artifact.h"
#include "artifact/fatbin.h"

namespace ds {

struct ElfFile {
  LibraryNeeds needs;  ///< without op, python and gpu
  DeviceCode device;   ///< points into the bytes that were read
};

/// A 64-bit little-endian shared library or program. Error (usage) for everything else.
ElfFile read_elf(std::string_view bytes, const std::string& path);

}  // namespace ds
