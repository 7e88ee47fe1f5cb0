// SPDX-License-Identifier: Apache-2.0
//
// Which image a GPU loads (CUDA C++ Programming Guide, "Binary Compatibility" and "PTX
// Compatibility").
#include <algorithm>
#include <optional>

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

std::string capability_of(int number) {
  return std::to_string(number / 10) + "." + std::to_string(number % 10);
}

bool is_integrated(int gpu, const Catalog& catalog) {
  const Catalog::Gpu* known = catalog.gpu(capability_of(gpu));
  return known != nullptr && known->integrated;
}

bool same_family(int image, int gpu, const Catalog& catalog) {
  if (image == gpu)
    return true;
  const Catalog::Gpu* known = catalog.gpu(capability_of(image));
  return known != nullptr &&
         std::find(known->kin.begin(), known->kin.end(), capability_of(gpu)) != known->kin.end();
}

/// Code for the desktop chips of a major version is not promised to run on integrated ones.
bool sass_runs(const Arch& image, int gpu, const Catalog& catalog) {
  if (image.suffix == 'a' || is_integrated(gpu, catalog) || is_integrated(image.number, catalog))
    return image.number == gpu;
  if (image.suffix == 'f')
    return same_family(image.number, gpu, catalog);
  return image.major() == gpu / 10 && image.number <= gpu;
}

bool ptx_compiles(const Arch& image, int gpu, const Catalog& catalog) {
  if (image.suffix == 'a')
    return image.number == gpu;
  if (image.suffix == 'f')
    return same_family(image.number, gpu, catalog);
  return image.number <= gpu;
}

Image image_of_unit(const UnitImages& unit, int gpu, const Catalog& catalog) {
  for (const std::string& sass : unit.sass) {
    const auto arch = parse_arch(sass);
    if (arch && sass_runs(*arch, gpu, catalog))
      return Image::sass;
  }
  for (const PtxImage& ptx : unit.ptx) {
    const auto arch = parse_arch(ptx.arch);
    if (arch && ptx_compiles(*arch, gpu, catalog))
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

Image image_for(const GpuImages& images, const std::string& compute_capability,
                const Catalog& catalog) {
  const auto gpu = parse_capability(compute_capability);
  if (!gpu || images.units == 0)
    return Image::none;
  if (images.unit_kinds.empty()) {
    return image_of_unit({.sass = images.sass_all_units, .ptx = images.ptx_all_units}, *gpu,
                         catalog);
  }
  Image worst = Image::sass, best_special = Image::none;
  bool only_special = true;
  for (const UnitImages& unit : images.unit_kinds) {
    const Image image = image_of_unit(unit, *gpu, catalog);
    if (is_special(unit)) {
      best_special = std::min(best_special, image);
    } else {
      only_special = false;
      worst = std::max(worst, image);
    }
  }
  return only_special ? best_special : worst;
}

}  // namespace ds
