// SPDX-License-Identifier: Apache-2.0
//
// The device code of a library: containers lie back to back in the section .nv_fatbin, one for each
// translation unit, each with images for several GPUs. Headers say all that is needed; nothing is
// decompressed.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "artifact/artifact.h"

namespace ds {

struct FatbinSection {
  std::string_view bytes;
  std::uint64_t address = 0;  ///< where it will be loaded, relative to the library
};

struct DeviceCode {
  std::vector<FatbinSection> sections;
  /// Addresses of the containers that the device linker made, as .nvFatBinSegment says. Without
  /// relocatable device code they hold no kernel, and no PTX even where every unit has some.
  std::set<std::uint64_t> linked;
  bool relocatable = false;  ///< has __nv_relfatbin
};

struct Fatbin {
  GpuImages images;
  std::string toolkit;  ///< newest that made machine code, as far as it shows: "13.0"
};

/// Error (usage) for damaged sections.
Fatbin read_fatbin(const DeviceCode& code, const std::string& path);

}  // namespace ds
