// SPDX-License-Identifier: Apache-2.0
//
// Rules about device code: is there a GPU, does it find an image, does the driver take it.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "audit/rule.h"
#include "base/text.h"

namespace ds {
namespace {

std::vector<const LibraryNeeds*> device_libraries(const Subject& subject) {
  std::vector<const LibraryNeeds*> found;
  for (const Requirements& wheel : subject.wheels) {
    for (const LibraryNeeds& library : wheel.libraries) {
      if (library.gpu.units > 0)
        found.push_back(&library);
    }
  }
  return found;
}

/// One wheel can hold libraries of several toolkits.
const std::string& toolkit_of(const Requirements& wheel, const LibraryNeeds& library) {
  return library.cuda.empty() ? wheel.cuda : library.cuda;
}

/// Compute capability to the GPU's name.
std::map<std::string, std::string> gpu_kinds(const HostFacts& host) {
  std::map<std::string, std::string> kinds;
  for (const Gpu& gpu : host.gpus)
    kinds.emplace(gpu.compute_capability, gpu.name);
  return kinds;
}

/// "90a" -> "9.0a"
std::string dotted(const std::string& arch) {
  const std::size_t digits = std::min(arch.find_first_not_of("0123456789"), arch.size());
  return digits < 2 ? arch : arch.substr(0, digits - 1) + "." + arch.substr(digits - 1);
}

/// TORCH_CUDA_ARCH_LIST that gives code for this GPU, and for whatever else the fleet lacks.
std::string wider_arch_list(const LibraryNeeds& library, const Subject& subject,
                            const std::string& capability_here) {
  std::map<std::string, bool> archs = {{capability_here, false}};  // value: with PTX
  for (const std::string& sass : library.gpu.sass)
    archs[dotted(sass)];
  for (const PtxImage& ptx : library.gpu.ptx)
    archs[dotted(ptx.arch)] = true;
  for (const std::string& capability : subject.summary.capabilities) {
    if (image_for(library.gpu, capability, *subject.options.catalog) == Image::none)
      archs[capability];
  }
  std::vector<std::string> list;
  for (const auto& [arch, ptx] : archs)
    list.push_back(arch + (ptx ? "+PTX" : ""));
  std::sort(list.begin(), list.end(), [](const std::string& left, const std::string& right) {
    const int order = compare_versions(left, right);
    return order != 0 ? order < 0 : left < right;
  });
  return join(list, ";");
}

std::string images_text(const GpuImages& images) {
  std::vector<std::string> pieces;
  for (const std::string& sass : images.sass) {
    const auto& all = images.sass_all_units;
    const bool everywhere = std::find(all.begin(), all.end(), sass) != all.end();
    pieces.push_back("sm_" + sass + (everywhere ? "" : " (not in every source file)"));
  }
  for (const PtxImage& ptx : images.ptx)
    pieces.push_back("PTX " + ptx.arch);
  if (pieces.empty())
    return "nothing";
  return join(pieces, ", ") + (images.ptx.empty() ? ", no PTX" : "");
}

Finding no_image(const Subject& subject, const Requirements& wheel, const LibraryNeeds& library,
                 const std::string& capability, const std::string& gpu) {
  std::string arch = capability;
  arch.erase(std::remove(arch.begin(), arch.end(), '.'), arch.end());
  const bool dropped = compare_versions(toolkit_of(wheel, library), "13") >= 0 &&
                       compare_versions(capability, "7.5") < 0;
  return with_ways(
      finding(Severity::fail,
              fmt::format("{} has no code for sm_{} ({}, compute capability {}): it has {}",
                          label(library), arch, gpu.empty() ? "a GPU of this host" : gpu,
                          capability, images_text(library.gpu)),
              fmt::format("build for {} too{}: TORCH_CUDA_ARCH_LIST=\"{}\", or {}", capability,
                          dropped ? " (with CUDA 12.9 or older: 13 cannot)" : "",
                          wider_arch_list(library, subject, capability), leave_out(subject)),
              label(library)),
      {Change{dropped ? "old-arch" : "arch", capability}});
}

bool driver_compiles(const Subject& subject, const LibraryNeeds& library) {
  const auto kinds = gpu_kinds(subject.host);
  return std::any_of(kinds.begin(), kinds.end(), [&](const auto& kind) {
    return image_for(library.gpu, kind.first, *subject.options.catalog) == Image::ptx;
  });
}

struct Floor {
  std::string driver;  ///< empty: not known
  std::string reason;
};

Floor sass_floor(const std::string& cuda, const GpuImages& images, const Catalog& catalog) {
  const auto& compression = images.compression;
  const bool zstd = std::find(compression.begin(), compression.end(), "zstd") != compression.end();
  const Catalog::Major* major = catalog.major_of(cuda);
  if (zstd && major != nullptr && !major->zstd_driver.empty())
    return {major->zstd_driver, "zstd-compressed code of CUDA " + cuda};
  const std::string driver = major == nullptr ? "" : major->driver;
  return {driver,
          driver.empty() && cuda.empty() ? "code of an unknown CUDA version" : "CUDA " + cuda};
}

/// The driver has to be as new as the toolkit that wrote the newest PTX.
Floor ptx_floor(const std::string& cuda, const GpuImages& images, const Catalog& catalog) {
  std::string newest;
  for (const PtxImage& ptx : images.ptx) {
    const std::string known = catalog.toolkit_of_ptx(ptx.isa);
    const std::string toolkit = known.empty() ? cuda : known;
    if (compare_versions(toolkit, newest) > 0)
      newest = toolkit;
  }
  const Catalog::Toolkit* toolkit = catalog.toolkit(newest);
  return {toolkit == nullptr ? "" : toolkit->driver,
          newest.empty() ? "PTX of an unknown CUDA version" : "PTX of CUDA " + newest};
}

Finding judge_driver(const Subject& subject, const LibraryNeeds& library, const Floor& floor,
                     const std::string& driver) {
  const std::string name = label(library);
  if (floor.driver.empty()) {
    return finding(
        Severity::unknown,
        fmt::format("{} has {}, and which driver that needs is not known", name, floor.reason), "",
        name);
  }
  // The libcuda that a process loads counts: a forward-compatible one takes more than the kernel
  // driver alone, one that was left behind takes less.
  const DriverFacts& loads = subject.host.nvidia;
  const std::string wanted = subject.options.catalog->cuda_of_driver(floor.driver);
  const bool new_enough = compare_versions(driver, floor.driver) >= 0;
  const bool loads_newer = compare_versions(loads.cuda, wanted) >= 0;
  if (!loads.cuda.empty() && !wanted.empty() && new_enough != loads_newer) {
    const std::string libcuda = fmt::format(
        "the libcuda that this environment loads, {}, is for "
        "CUDA {}",
        loads.libcuda, loads.cuda);
    if (loads_newer) {
      return finding(Severity::ok, fmt::format("{} needs CUDA {} of the driver, and {}",
                                               floor.reason, wanted, libcuda));
    }
    return finding(
        Severity::fail,
        fmt::format("{} has {}, which needs CUDA {} of the driver, and {}", name, floor.reason,
                    wanted, libcuda),
        "take its folder out of LD_LIBRARY_PATH (env-script=): the driver's own is newer", name);
  }
  if (new_enough) {
    return finding(Severity::ok, fmt::format("{} needs NVIDIA driver {}, {} is there", floor.reason,
                                             floor.driver, driver));
  }
  std::vector<Change> ways = {{"driver", floor.driver}};
  if (const std::string cuda = subject.options.catalog->cuda_of_driver(driver); !cuda.empty())
    ways.push_back({"cuda", cuda});
  return with_ways(
      finding(Severity::fail,
              fmt::format("{} has {}, which needs NVIDIA driver {} or newer, and this host has "
                          "{}",
                          name, floor.reason, floor.driver, driver),
              fmt::format("update the driver to {}, build with an older CUDA, or {}", floor.driver,
                          leave_out(subject)),
              name),
      std::move(ways));
}

}  // namespace

Findings gpu_rule(const Subject& subject) {
  const std::vector<const LibraryNeeds*> libraries = device_libraries(subject);
  const HostFacts& host = subject.host;
  const bool required = subject.options.require_gpu;
  if (libraries.empty() && !required)
    return {};
  if (!host.gpus.empty())
    return {finding(Severity::ok, count(host.gpus.size(), "GPU"))};
  std::vector<std::string> names;
  for (const LibraryNeeds* library : libraries)
    names.push_back(label(*library));
  const std::optional<OpVerdict> without = judge_gpu(names, host);
  if (!without)
    return {finding(Severity::fail, "this host has no GPU",
                    leave_out(subject) + ", or drop --require-gpu")};
  const Severity severity = required ? Severity::fail : without->severity;
  if (without->severity == Severity::unknown)
    return {finding(severity, without->because, without->fix + ", or " + leave_out(subject))};
  return {finding(severity, without->because,
                  required ? leave_out(subject) + ", or drop --require-gpu" : without->fix,
                  names.size() == 1 ? names.front() : "")};
}

Findings minimum_capability_rule(const Subject& subject) {
  return op_findings(subject, "minimum-capability");
}

Findings gpu_image_rule(const Subject& subject) {
  Findings found;
  for (const auto& [capability, gpu] : gpu_kinds(subject.host)) {
    std::size_t covered = 0;
    for (const Requirements& wheel : subject.wheels) {
      for (const LibraryNeeds& library : wheel.libraries) {
        // The rule minimum-capability has told of GPUs that an op is not for.
        const bool below = is_capability(capability) &&
                           compare_versions(capability, library.minimum_capability) < 0;
        if (library.gpu.units == 0 || below)
          continue;
        if (!is_capability(capability)) {
          found.push_back(finding(Severity::unknown,
                                  fmt::format("whether {} has code for {} is not known: its "
                                              "driver does not say the compute capability",
                                              label(library), gpu.empty() ? "a GPU" : gpu),
                                  "update the NVIDIA driver", label(library)));
          continue;
        }
        const Image image = image_for(library.gpu, capability, *subject.options.catalog);
        if (image == Image::none) {
          found.push_back(no_image(subject, wheel, library, capability, gpu));
        } else if (image == Image::ptx) {
          found.push_back(finding(
              Severity::warn,
              fmt::format("{} has only PTX for compute capability {}: the driver compiles it at "
                          "its first use",
                          label(library), capability),
              fmt::format("build for {} too: TORCH_CUDA_ARCH_LIST=\"{}\"", capability,
                          wider_arch_list(library, subject, capability)),
              label(library)));
        } else {
          ++covered;
        }
      }
    }
    if (covered > 0) {
      found.push_back(
          finding(Severity::ok,
                  fmt::format("{} {} code for compute capability {}", count(covered, "CUDA op"),
                              covered == 1 ? "has" : "have", capability)));
    }
  }
  return found;
}

Findings driver_rule(const Subject& subject) {
  const HostFacts& host = subject.host;
  if (host.gpus.empty() || device_libraries(subject).empty())
    return {};
  const std::string driver = driver_of(host);
  if (driver.empty())
    return {finding(Severity::unknown, "which NVIDIA driver this host has is not known")};
  const Catalog& catalog = *subject.options.catalog;
  Findings found;
  for (const Requirements& wheel : subject.wheels) {
    for (const LibraryNeeds& library : wheel.libraries) {
      if (library.gpu.units == 0)
        continue;
      const Floor floor = driver_compiles(subject, library)
                              ? ptx_floor(toolkit_of(wheel, library), library.gpu, catalog)
                              : sass_floor(toolkit_of(wheel, library), library.gpu, catalog);
      found.push_back(judge_driver(subject, library, floor, driver));
    }
  }
  return found;
}

}  // namespace ds
