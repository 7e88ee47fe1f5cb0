// SPDX-License-Identifier: Apache-2.0
//
// What a wheel needs, whole, as a text that lies beside its release on hosts and is read again when
// somebody goes back to it. What comes from a host is hostile: it is cleaned, bounded, and no more
// than a claim.
#include <nlohmann/json.hpp>

#include "artifact/artifact.h"
#include "base/text.h"

namespace nlohmann {

template <typename T>
struct adl_serializer<std::optional<T>> {
  static void to_json(json& out, const std::optional<T>& value) {
    if (value)
      out = *value;
  }
  static void from_json(const json& in, std::optional<T>& value) {
    if (!in.is_null())
      value = in.get<T>();
  }
};

}  // namespace nlohmann

namespace ds {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(PtxImage, arch, isa)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(UnitImages, sass, ptx)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(GpuImages, units, sass, sass_all_units, ptx,
                                                ptx_all_units, unit_kinds, lto, compression)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(InstructionSet, flag, level, count, first)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(Instructions, read, sets, asks_cpu)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(LibraryNeeds, path, op, machine, glibc, glibcxx,
                                                cxxabi, gcc, weak_versions, needed, opens, soname,
                                                runpath, rpath, undefined, outside, cxx_strings,
                                                torch_abi, cuda, cuda_runtime, cpu_level,
                                                instructions, python, links_torch,
                                                minimum_capability, torch, torch_cxx11_abi, toolkit,
                                                cuda_check_skipped, gpu)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(InstallRecord, version, accelerator, torch, cuda,
                                                ops)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(Requirements, file, kind, sha256, name, version,
                                                python_tag, requires_python, requires_dist, glibc,
                                                glibcxx, cxxabi, cpu_level, needed, torch, cuda,
                                                installed_bytes, installed_files, libraries,
                                                deepspeed)

namespace {

using nlohmann::json;

constexpr const char* schema = "ds-deploy.needs/1";
constexpr std::size_t longest_text = 4096;  // a mangled name
constexpr int deepest = 32;

void clean_all(json& value) {
  if (value.is_string())
    value = clean_line(value.get<std::string>(), longest_text);
  if (!value.is_structured())
    return;
  for (json& item : value)
    clean_all(item);
}

}  // namespace

bool has_device_code(const Requirements& requirements) {
  return std::any_of(requirements.libraries.begin(), requirements.libraries.end(),
                     [](const LibraryNeeds& library) {
                       return library.gpu.units > 0 || !library.gpu.lto.empty();
                     });
}

std::string requirements_json(const Requirements& requirements) {
  json whole = requirements;
  whole["schema"] = schema;
  return whole.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::optional<Requirements> read_requirements(std::string_view text) {
  const auto shallow = [](int depth, json::parse_event_t, json&) { return depth < deepest; };
  json whole = json::parse(text, shallow, false);
  if (!whole.is_object() || whole.value("schema", json()) != json(schema))
    return std::nullopt;
  try {
    clean_all(whole);
    return whole.get<Requirements>();
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

}  // namespace ds
