// SPDX-License-Identifier: Apache-2.0
//
// Which image a GPU loads (CUDA C++ Programming Guide, "Binary Compatibility" and "PTX
// Compatibility").
#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "artifact/artifact.h"
#include "base/text.h"

namespace ds {
namespace {

/// "90a" as 90 and 'a'.
struct Arch {
  int number = 0;
  char suffix = '\0';
  int major() const { return number / 10; }
};

std::optional<Arch> parse_arch(std::string_view text) {
  Arch arch;
  if (text.ends_with('a') || text.ends_with('f')) {
    arch.suffix = text.back();
    text.remove_suffix(1);
  }
  const auto number = parse_integer(text, 10, 999);
  if (!number)
    return std::nullopt;
  arch.number = static_cast<int>(*number);
  return arch;
}

std::optional<int> parse_capability(const std::string& text) {
  const std::vector<std::string> pieces = split(text, '.');
  if (pieces.size() != 2)
    return std::nullopt;
  const auto major = parse_integer(pieces[0], 1, 99);
  const auto minor = parse_integer(pieces[1], 0, 9);
  if (!major || !minor)
    return std::nullopt;
  return static_cast<int>(*major * 10 + *minor);
}

/// Integrated GPUs: code for the desktop chips of the same major is not promised to run there, nor
/// the other way round.
bool is_tegra(int gpu) {
  constexpr std::array tegra = {53, 62, 72, 87, 110};
  return std::find(tegra.begin(), tegra.end(), gpu) != tegra.end();
}

bool same_family(int image, int gpu) {
  constexpr std::array<std::pair<int, int>, 2> families = {{{100, 103}, {120, 121}}};
  if (image == gpu)
    return true;
  return std::find(families.begin(), families.end(), std::pair(image, gpu)) != families.end();
}

bool sass_runs(const Arch& image, int gpu) {
  if (image.suffix == 'a' || is_tegra(gpu) || is_tegra(image.number))
    return image.number == gpu;
  if (image.suffix == 'f')
    return same_family(image.number, gpu);
  return image.major() == gpu / 10 && image.number <= gpu;
}

bool ptx_compiles(const Arch& image, int gpu) {
  if (image.suffix == 'a')
    return image.number == gpu;
  if (image.suffix == 'f')
    return same_family(image.number, gpu);
  return image.number <= gpu;
}

Image image_of_unit(const UnitImages& unit, int gpu) {
  for (const std::string& sass : unit.sass) {
    const auto arch = parse_arch(sass);
    if (arch && sass_runs(*arch, gpu))
      return Image::sass;
  }
  for (const PtxImage& ptx : unit.ptx) {
    const auto arch = parse_arch(ptx.arch);
    if (arch && ptx_compiles(*arch, gpu))
      return Image::ptx;
  }
  return Image::none;
}

/// Code for one architecture or family alone. Such files stand beside others (NCCL, CUTLASS), and
/// the host code chooses among them.
bool is_special(const UnitImages& unit) {
  const auto special = [](const std::string& arch) {
    return arch.ends_with('a') || arch.ends_with('f');
  };
  return std::all_of(unit.sass.begin(), unit.sass.end(), special) &&
         std::all_of(unit.ptx.begin(), unit.ptx.end(),
                     [&](const PtxImage& ptx) { return special(ptx.arch); });
}

}  // namespace

Image image_for(const GpuImages& images, const std::string& compute_capability) {
  const auto gpu = parse_capability(compute_capability);
  if (!gpu || images.units == 0)
    return Image::none;
  if (images.unit_kinds.empty()) {
    return image_of_unit({.sass = images.sass_all_units, .ptx = images.ptx_all_units}, *gpu);
  }
  Image worst = Image::sass, best_special = Image::none;
  bool only_special = true;
  for (const UnitImages& unit : images.unit_kinds) {
    const Image image = image_of_unit(unit, *gpu);
    if (is_special(unit)) {
      best_special = std::min(best_special, image);
    } else {
      only_special = false;
      worst = std::max(worst, image);
    }
  }
  return only_special ? best_special : worst;
}

std::string toolkit_of_ptx_isa(const std::string& isa) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 23> table = {{
      {"6.3", "10.0"}, {"6.4", "10.1"}, {"6.5", "10.2"}, {"7.0", "11.0"}, {"7.1", "11.1"},
      {"7.2", "11.2"}, {"7.3", "11.3"}, {"7.4", "11.4"}, {"7.5", "11.5"}, {"7.6", "11.6"},
      {"7.7", "11.7"}, {"7.8", "11.8"}, {"8.0", "12.0"}, {"8.1", "12.1"}, {"8.2", "12.2"},
      {"8.3", "12.3"}, {"8.4", "12.4"}, {"8.5", "12.5"}, {"8.6", "12.7"}, {"8.7", "12.8"},
      {"8.8", "12.9"}, {"9.0", "13.0"}, {"9.1", "13.1"},
  }};
  for (const auto& [known, toolkit] : table) {
    if (known == isa)
      return std::string(toolkit);
  }
  return {};
}

}  // namespace ds
