// SPDX-License-Identifier: Apache-2.0
//
// What a person and what a program reads of an inspection.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "artifact/artifact.h"
#include "artifact/without.h"
#include "base/text.h"

namespace ds {
namespace {

using Json = nlohmann::ordered_json;

/// The wheel's tag; of a library alone, what its own name says.
std::string python_of(const Requirements& requirements) {
  const bool alone = requirements.kind == "library" && !requirements.libraries.empty();
  return alone ? requirements.libraries.front().python : requirements.python_tag;
}

Json gpu_json(const GpuImages& gpu) {
  if (gpu.units == 0)
    return nullptr;
  Json ptx = Json::array();
  for (const PtxImage& image : gpu.ptx) {
    ptx.push_back(Json{{"arch", image.arch}, {"isa", image.isa}});
  }
  return {{"units", gpu.units},    {"sass", gpu.sass}, {"sass_all_units", gpu.sass_all_units},
          {"ptx", std::move(ptx)}, {"lto", gpu.lto},   {"compression", gpu.compression}};
}

Json instructions_json(const Instructions& instructions) {
  if (!instructions.read)
    return nullptr;
  Json sets = Json::array();
  for (const InstructionSet& set : instructions.sets) {
    sets.push_back(
        {{"flag", set.flag}, {"level", set.level}, {"count", set.count}, {"first", set.first}});
  }
  return {{"asks_cpu", instructions.asks_cpu}, {"sets", std::move(sets)}};
}

Json library_json(const LibraryNeeds& library) {
  Json all = {{"path", library.path},
              {"op", library.op},
              {"machine", library.machine},
              {"python", library.python},
              {"soname", library.soname},
              {"glibc", library.glibc},
              {"glibcxx", library.glibcxx},
              {"cxxabi", library.cxxabi},
              {"gcc", library.gcc},
              {"weak_versions", library.weak_versions},
              {"cpu_level", library.cpu_level},
              {"needed", library.needed},
              {"opens", library.opens},
              {"runpath", library.runpath},
              {"rpath", library.rpath},
              {"undefined", library.undefined},
              {"cxx_strings", library.cxx_strings},
              {"torch_abi", library.torch_abi},
              {"cuda", library.cuda},
              {"cuda_runtime", library.cuda_runtime},
              {"gpu", gpu_json(library.gpu)}};
  if (library.instructions)
    all["instructions"] = instructions_json(*library.instructions);
  return all;
}

std::vector<std::string> prefixed(std::string_view prefix, const std::vector<std::string>& names) {
  std::vector<std::string> out;
  for (const std::string& name : names)
    out.push_back(std::string(prefix) + name);
  return out;
}

std::vector<std::string> image_names(const std::vector<std::string>& sass,
                                     const std::vector<PtxImage>& ptx) {
  std::vector<std::string> names;
  if (!sass.empty())
    names.push_back(join(prefixed("sm_", sass), " "));
  for (const PtxImage& image : ptx) {
    names.push_back(fmt::format("PTX compute_{} (ISA {})", image.arch, image.isa));
  }
  return names;
}

/// "label    value", nothing for an empty value.
void row(std::string& out, std::string_view label, const std::string& value) {
  if (!value.empty())
    out += fmt::format("  {:<11}{}\n", label, value);
}

std::string libstdcxx(const std::string& glibcxx, const std::string& cxxabi) {
  std::vector<std::string> names;
  if (!glibcxx.empty())
    names.push_back("GLIBCXX_" + glibcxx);
  if (!cxxabi.empty())
    names.push_back("CXXABI_" + cxxabi);
  return join(names, ", ");
}

std::string cpu(int level) {
  if (level == 0)
    return {};
  return level == 1 ? "x86-64" : fmt::format("x86-64-v{}", level);
}

/// A row for each level: "x86-64-v3: avx 12, fma 3; the first avx in scale+0x1c".
void instruction_rows(std::string& out, const Instructions& instructions) {
  if (!instructions.read) {
    row(out, "code", "not scanned: it is not for x86-64");
    return;
  }
  for (const int level : {2, 3, 4, 0}) {
    std::vector<std::string> counts;
    std::string first;
    for (const InstructionSet& set : instructions.sets) {
      if (set.level != level)
        continue;
      counts.push_back(fmt::format("{} {}", set.flag, set.count));
      if (first.empty())
        first = fmt::format("{} in {}", set.flag, set.first);
    }
    if (!counts.empty())
      row(out, "code",
          fmt::format("{}: {}; the first {}", level == 0 ? "no level" : cpu(level),
                      join(counts, ", "), first));
  }
  if (instructions.sets.empty())
    row(out, "code", "x86-64 only");
  row(out, "asks cpu",
      instructions.asks_cpu ? "yes: it may choose its code by what the CPU can do" : "no");
}

void library_rows(std::string& out, const LibraryNeeds& library) {
  row(out, "machine", library.machine);
  row(out, "op", library.op);
  row(out, "python", library.python);
  row(out, "glibc", library.glibc);
  row(out, "libstdc++", libstdcxx(library.glibcxx, library.cxxabi));
  row(out, "cpu", cpu(library.cpu_level));
  if (library.instructions)
    instruction_rows(out, *library.instructions);
  row(out, "needs", join(library.needed, " "));
  row(out, "opens", join(library.opens, " "));
  row(out, "runpath", library.runpath);
  row(out, "rpath", library.rpath);
  if (!library.weak_versions.empty())
    row(out, "optional", join(library.weak_versions, " "));
  row(out, "strings", library.cxx_strings);
  row(out, "torch abi", library.torch_abi);
  const GpuImages& gpu = library.gpu;
  if (gpu.units == 0)
    return;
  row(out, "gpu",
      fmt::format("{}; {}, compression {}", join(image_names(gpu.sass, gpu.ptx), ", "),
                  count(static_cast<std::size_t>(gpu.units), "unit"), join(gpu.compression, " ")));
  row(out, "lto", join(prefixed("lto_", gpu.lto), " "));
  row(out, "cudart", library.cuda_runtime);
  row(out, "some units",
      join(image_names(without(gpu.sass, gpu.sass_all_units), without(gpu.ptx, gpu.ptx_all_units)),
           ", "));
}

}  // namespace

std::string inspect_json(const Requirements& requirements) {
  Json libraries = Json::array();
  for (const LibraryNeeds& library : requirements.libraries) {
    libraries.push_back(library_json(library));
  }
  Json all = {{"schema", "ds-deploy.inspect/1"},
              {"file", requirements.file},
              {"kind", requirements.kind},
              {"sha256", requirements.sha256},
              {"requirements",
               {{"python", python_of(requirements)},
                {"packages", requirements.requires_dist},
                {"glibc", requirements.glibc},
                {"glibcxx", requirements.glibcxx},
                {"cxxabi", requirements.cxxabi},
                {"cpu_level", requirements.cpu_level},
                {"needed", requirements.needed},
                {"torch", requirements.torch},
                {"cuda", requirements.cuda}}},
              {"libraries", std::move(libraries)}};
  if (requirements.deepspeed) {
    const InstallRecord& record = *requirements.deepspeed;
    all["deepspeed"] = {{"version", record.version},
                        {"accelerator", record.accelerator},
                        {"torch", record.torch},
                        {"cuda", record.cuda},
                        {"ops", record.ops}};
  }
  return all.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string inspect_text(const Requirements& requirements) {
  std::string out = clean_line(requirements.file) + "\n";
  const std::string bytes = human_bytes(requirements.installed_bytes);
  if (requirements.kind == "library") {
    row(out, "kind", "library, " + bytes);
    row(out, "sha256", requirements.sha256);
    row(out, "cuda", requirements.cuda);
    row(out, "torch", requirements.torch);
    for (const LibraryNeeds& library : requirements.libraries)
      library_rows(out, library);
    return out;
  }
  const std::string& python = requirements.requires_python;
  row(out, "kind",
      fmt::format("{}, {}, {}{}", requirements.kind, count(requirements.installed_files, "file"),
                  bytes, requirements.kind == "wheel" ? " unpacked" : ""));
  row(out, "sha256", requirements.sha256);
  row(out, "python", requirements.python_tag + (python.empty() ? "" : ", " + python));
  row(out, "packages", join(requirements.requires_dist, ", "));
  row(out, "glibc", requirements.glibc);
  row(out, "libstdc++", libstdcxx(requirements.glibcxx, requirements.cxxabi));
  row(out, "cpu", cpu(requirements.cpu_level));
  row(out, "cuda", requirements.cuda);
  row(out, "torch", requirements.torch);
  row(out, "needs", join(requirements.needed, " "));
  if (requirements.deepspeed) {
    const InstallRecord& record = *requirements.deepspeed;
    row(out, "deepspeed",
        fmt::format("{} for accelerator {}{}{}: {}", record.version, record.accelerator,
                    record.torch.empty() ? "" : ", torch " + record.torch,
                    record.cuda.empty() ? "" : ", CUDA " + record.cuda, join(record.ops, " ")));
  }
  for (const LibraryNeeds& library : requirements.libraries) {
    out += "\n" + library.path + "\n";
    library_rows(out, library);
  }
  return out;
}

}  // namespace ds
