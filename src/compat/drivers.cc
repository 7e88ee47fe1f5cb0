// SPDX-License-Identifier: Apache-2.0
//
// Which NVIDIA driver a CUDA toolkit needs on Linux x86_64: "CUDA Toolkit and Corresponding Driver
// Versions" and "CUDA Minor Version Compatibility" of NVIDIA's CUDA Toolkit Release Notes.
#include <array>
#include <string_view>

#include "compat/compat.h"

namespace ds {
namespace {

struct ToolkitDriver {
  std::string_view cuda;
  std::string_view driver;  ///< shipped with the toolkit; its PTX needs this one
};

constexpr std::array toolkit_drivers = {
    ToolkitDriver{"11.0", "450.51.05"}, ToolkitDriver{"11.1", "455.23"},
    ToolkitDriver{"11.2", "460.27.03"}, ToolkitDriver{"11.3", "465.19.01"},
    ToolkitDriver{"11.4", "470.42.01"}, ToolkitDriver{"11.5", "495.29.05"},
    ToolkitDriver{"11.6", "510.39.01"}, ToolkitDriver{"11.7", "515.43.04"},
    ToolkitDriver{"11.8", "520.61.05"}, ToolkitDriver{"12.0", "525.60.13"},
    ToolkitDriver{"12.1", "530.30.02"}, ToolkitDriver{"12.2", "535.54.03"},
    ToolkitDriver{"12.3", "545.23.06"}, ToolkitDriver{"12.4", "550.54.14"},
    ToolkitDriver{"12.5", "555.42.02"}, ToolkitDriver{"12.6", "560.28.03"},
    ToolkitDriver{"12.8", "570.26"},    ToolkitDriver{"12.9", "575.51.03"},
    ToolkitDriver{"13.0", "580.65.06"}, ToolkitDriver{"13.1", "590.44.01"},
};

struct MajorFloor {
  std::string_view cuda_major;
  std::string_view driver;  ///< SASS of any toolkit of this major version runs from here on
};

constexpr std::array major_floors = {
    MajorFloor{"11", "450.80.02"},
    MajorFloor{"12", "525.60.13"},
    MajorFloor{"13", "580.65.06"},
};

}  // namespace

std::string major_of(const std::string& version) {
  return version.substr(0, version.find('.'));
}

std::string driver_floor(const std::string& cuda) {
  for (const MajorFloor& floor : major_floors) {
    if (floor.cuda_major == major_of(cuda))
      return std::string(floor.driver);
  }
  return {};
}

std::string driver_of_toolkit(const std::string& cuda) {
  for (const ToolkitDriver& row : toolkit_drivers) {
    if (row.cuda == cuda)
      return std::string(row.driver);
  }
  return {};
}

}  // namespace ds
