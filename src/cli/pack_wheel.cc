// SPDX-License-Identifier: Apache-2.0
#include "cli/pack_wheel.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "artifact/artifact.h"
#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/text.h"
#include "cache/cache.h"
#include "cli/pack_source.h"
#include "cli/run_build.h"

namespace ds {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

std::vector<LibraryNeeds> inspect_built(const Packing& packing) {
  std::vector<LibraryNeeds> libraries;
  for (const BuiltOp& op : packing.ops)
    libraries.push_back(inspect_library(read_file(op.library), op.path));
  return libraries;
}

/// What no binary shows of an op: the audit goes by it as the plan did.
void add_rules(const OpRules& rules, ordered_json& record) {
  if (!rules.minimum_compute_capability.empty())
    record["minimum_compute_capability"] = rules.minimum_compute_capability;
  if (!rules.links_torch)
    return;
  record["links_torch"] = true;
  record["torch"] = rules.torch;
  if (rules.cxx11_abi)
    record["torch_cxx11_abi"] = *rules.cxx11_abi;
  record["cuda"] = rules.cuda;
  record["cuda_check_skipped"] = rules.skip_cuda_check;
}

/// What the wheel says of itself: derived from the libraries that were just built.
std::string requirements_record(const Packing& packing,
                                const std::vector<LibraryNeeds>& libraries) {
  ordered_json ops = ordered_json::array();
  for (std::size_t at = 0; at < libraries.size(); ++at) {
    const BuiltOp& op = packing.ops[at];
    const LibraryNeeds& needs = libraries[at];
    ops.push_back({{"name", op.name},
                   {"kind", op.kind == Op::Kind::cuda ? "cuda" : "cpu"},
                   {"self_test", op.self_test},
                   {"archs", needs.gpu.sass_all_units},
                   {"glibc", needs.glibc},
                   {"glibcxx", needs.glibcxx},
                   {"cxxabi", needs.cxxabi},
                   {"cpu_level", needs.cpu_level},
                   {"needed", needs.needed},
                   {"host_needs", op.rules.host_needs}});
    if (op.self_test_gpu_memory > 0)
      ops.back()["self_test_gpu_memory"] = op.self_test_gpu_memory;
    if (!op.module.empty())
      ops.back().update({{"library", op.path}, {"module", op.module}});
    if (!op.builder.empty())
      ops.back()["builder"] = op.builder;
    add_rules(op.rules, ops.back());
  }
  const ordered_json record = {{"schema", "ds-deploy.requirements/1"},
                               {"cuda", packing.cuda},
                               {"compiler", packing.compiler},
                               {"nvcc", packing.nvcc},
                               {"ops", ops}};
  return record.dump(1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

WheelSpec wheel_spec(const PlannedWheel& planned) {
  WheelSpec spec;
  spec.name = planned.plan.package;
  spec.version = planned.plan.version;
  spec.tag = planned.plan.tag;
  spec.summary = "C++/CUDA ops, built and deployed by ds-deploy";
  spec.files = package_files(planned);
  return spec;
}

std::string file_name(const WheelSpec& spec) {
  return spec.name + "-" + spec.version + "-" + spec.tag + ".whl";
}

/// Everything that the bytes of a wheel come from: this program, what the packing says and the
/// content of its files.
std::string wheel_key(const Packing& packing, FileHashes& hashes) {
  const char* epoch = std::getenv("SOURCE_DATE_EPOCH");
  std::error_code failure;
  std::string all =
      fmt::format("ds-deploy.wheel/3\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n",
                  hashes.of(fs::read_symlink("/proc/self/exe", failure).string()),
                  file_name(packing.spec), packing.cuda, packing.compiler, packing.nvcc,
                  epoch ? epoch : "", sha256_hex(packing.spec.metadata));
  for (const auto* files : {&packing.spec.files, &packing.spec.data, &packing.spec.dist_info}) {
    for (const WheelFile& file : *files) {
      all += fmt::format(
          "{} {}\n{}\n", file.executable, file.path,
          file.source.empty() ? sha256_hex(file.content) : hashes.of(file.source.string()));
    }
    all += "\n";
  }
  for (const BuiltOp& op : packing.ops) {
    ordered_json rules;
    add_rules(op.rules, rules);
    if (op.self_test_gpu_memory > 0)
      rules["self_test_gpu_memory"] = op.self_test_gpu_memory;
    all += fmt::format("{}\n{}\n{}\n{}\n{}\n{}\n{}\n", op.name, op.kind == Op::Kind::cuda,
                       op.self_test, op.module, op.builder, join(op.rules.host_needs, " "),
                       rules.dump());
  }
  return sha256_hex(all);
}

/// A line about the whole, then one for each op: "fused_adam 1.2 MB: sm_80 410 kB, sm_90 420 kB".
std::string sizes(const Packing& packing, const std::vector<LibraryNeeds>& libraries) {
  const auto by_arch = [](const std::map<std::string, std::uint64_t>& bytes) {
    std::vector<std::string> texts;
    for (const auto& [arch, size] : bytes)
      texts.push_back(arch + " " + human_bytes(size));
    std::stable_sort(texts.begin(), texts.end(), [](const auto& left, const auto& right) {
      return left.find(' ') < right.find(' ');  // sm_90 before sm_100
    });
    return texts.empty() ? "" : ": " + join(texts, ", ");
  };
  std::string ops;
  std::uint64_t all = 0;
  std::map<std::string, std::uint64_t> archs;
  for (std::size_t at = 0; at < libraries.size(); ++at) {
    const BuiltOp& op = packing.ops[at];
    const std::uint64_t size = fs::file_size(op.library);
    ops += fmt::format("\n  {} {}{}", op.name, human_bytes(size), by_arch(libraries[at].gpu.bytes));
    all += size;
    for (const auto& [arch, bytes] : libraries[at].gpu.bytes)
      archs[arch] += bytes;
  }
  return fmt::format("{}, {}{}{}", count(libraries.size(), "op"), human_bytes(all), by_arch(archs),
                     ops);
}

}  // namespace

fs::path pack(const Packing& packing, const fs::path& output, Session& session,
              FileHashes& hashes) {
  const Cache cache(cache_folder(session.options()));
  const std::string key = wheel_key(packing, hashes);
  const fs::path wheel = output / file_name(packing.spec);
  std::optional<MadeResult> made =
      cache.find(key, [](std::string_view) { return std::string_view(); });
  make_folders(output);
  const bool here = made && hashes.of(wheel.string()) == made->output;
  if (here || (made && cache.fetch(made->output, wheel))) {
    cache.touch(key, made->output);
  } else {
    const std::vector<LibraryNeeds> libraries = inspect_built(packing);
    WheelSpec spec = packing.spec;
    spec.dist_info.push_back({record_name, requirements_record(packing, libraries), {}, false});
    write_wheel(spec, output);
    hashes.forget(wheel.string());
    made = {hashes.of(wheel.string()), sizes(packing, libraries)};
    cache.add(key, *made, {}, wheel);
  }
  hashes.save();
  const std::vector<std::string> contents = lines(made->messages);
  const std::string whole =
      fmt::format("wheel: {}, {}; {}", wheel.filename().string(), human_bytes(fs::file_size(wheel)),
                  contents.empty() ? "" : contents.front());
  here ? session.status().note(whole) : session.status().remark(whole);
  for (std::size_t at = 1; at < contents.size(); ++at)
    session.status().note(contents[at]);
  return wheel;
}

std::vector<fs::path> make_wheels(const std::vector<PlannedWheel>& wheels, const fs::path& output,
                                  Session& session) {
  if (wheels.front().source)
    return make_source_wheels(wheels, output, session);
  const PlannedWheel& planned = wheels.front();
  FileHashes hashes(FileHashes::memory_in(cache_folder(session.options())));
  run_build(planned.plan, planned.folder, session, hashes);
  Packing packing{.spec = wheel_spec(planned),
                  .ops = {},
                  .cuda = planned.plan.cuda,
                  .compiler = planned.plan.compiler,
                  .nvcc = planned.plan.nvcc};
  for (const PlannedOp& op : planned.plan.ops) {
    const Op& said = op_named(planned.library, op.name);
    packing.ops.push_back({.name = op.name,
                           .kind = op.kind,
                           .library = planned.folder / op.library,
                           .path = library_path(op),
                           .module = {},
                           .self_test = said.self_test,
                           .self_test_gpu_memory = said.self_test_gpu_memory,
                           .rules = op.rules});
  }
  return {pack(packing, output, session, hashes)};
}

Parcel parcel_of(const Wheel& wheel) {
  std::string ops;
  const std::string record = wheel.dist_info + "/" + record_name;
  read_wheel(wheel, [&](const WheelEntry& entry, std::string_view content) {
    if (entry.path == record)
      ops = content;
  });
  return parcel_of(wheel, ops);
}

Parcel parcel_of(const Wheel& wheel, const std::string& record) {
  Parcel parcel;
  parcel.wheel = &wheel;
  parcel.ops = record;
  const std::optional<std::vector<OpRecord>> ops = read_op_records(record);
  if (!ops)
    return parcel;
  const auto import = [&parcel](const std::string& module) {
    const auto end = parcel.imports.end();
    if (std::find(parcel.imports.begin(), end, module) == end)
      parcel.imports.push_back(module);
  };
  if (ops->empty())
    import(wheel.name);
  for (const OpRecord& op : *ops) {
    if (!op.builder.empty() && !op.module.empty()) {
      parcel.deepspeed.push_back({op.name, op.builder, op.module});
    } else if (!op.module.empty()) {
      // Such a library has torch's symbols from the process that loads it.
      if (op.links_torch)
        import("torch");
      import(op.module);
    } else {
      import(wheel.name);
      import(wheel.name + "." + op.name);
    }
    if (!op.self_test.empty())
      parcel.self_tests[op.name] = op.self_test;
    if (op.self_test_gpu_memory > 0)
      parcel.gpu_memory[op.name] = op.self_test_gpu_memory;
  }
  return parcel;
}

}  // namespace ds
