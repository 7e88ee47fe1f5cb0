// SPDX-License-Identifier: Apache-2.0
#include "cli/pack_source.h"

#include <algorithm>

#include "base/text.h"
#include "cli/plan_source.h"
#include "cli/run_build.h"
#include "cli/source_wheel.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

const SourceOp& op_named(const SourceTree& tree, const std::string& name) {
  return *std::find_if(tree.ops.begin(), tree.ops.end(),
                       [&name](const SourceOp& op) { return op.name == name; });
}

/// DeepSpeed takes a host for "cuda" where torch sees a GPU. A wheel with CUDA ops is for such
/// hosts, also where none of them has answered.
std::string accelerator_of(const PlannedWheel& planned) {
  const bool has_cuda = std::any_of(planned.plan.ops.begin(), planned.plan.ops.end(),
                                    [](const auto& op) { return op.kind == Op::Kind::cuda; });
  return has_cuda || planned.for_gpus ? "cuda" : "cpu";
}

SourcePackage package_of(const PlannedWheel& planned, Session& session) {
  PackageOptions how;
  how.in_use = &session.in_use();
  how.cache = cache_folder(session.options());
  how.environment = source_environment(planned.builder);
  how.accelerator = accelerator_of(planned);
  return read_package(*planned.source, planned.python, how);
}

SourceWheel source_wheel(const PlannedWheel& planned) {
  const SourceTree& tree = *planned.source;
  SourceWheel wheel;
  wheel.tree = tree;
  wheel.version = planned.plan.version;
  wheel.accelerator = accelerator_of(planned);
  wheel.cuda = planned.plan.cuda;
  wheel.compiler = planned.plan.compiler;
  wheel.nvcc = planned.plan.nvcc;
  const std::vector<std::string>& archs = planned.plan.archs;
  wheel.bf16 = !archs.empty() && std::all_of(archs.begin(), archs.end(), [](const auto& arch) {
    return compare_versions(arch, "80") >= 0;
  });
  for (const PlannedOp& op : planned.plan.ops) {
    wheel.ops.push_back({.name = op.name,
                         .kind = op.kind,
                         .library = planned.folder / op.library,
                         .path = {},
                         .module = op_named(tree, op.name).module,
                         .builder = op_named(tree, op.name).builder,
                         .self_test = {},
                         .rules = op.rules});
  }
  return wheel;
}

}  // namespace

std::vector<fs::path> make_source_wheels(const std::vector<PlannedWheel>& wheels,
                                         const fs::path& output, Session& session) {
  std::vector<SourcePackage> packages;
  std::vector<const BuildPlan*> plans;
  for (const PlannedWheel& planned : wheels) {
    // Before the compilers start: what it lacks is told now.
    packages.push_back(package_of(planned, session));
    plans.push_back(&planned.plan);
  }
  FileHashes hashes(FileHashes::memory_in(cache_folder(session.options())));
  run_build(one_graph(plans), wheels.front().folder, session, hashes);
  std::vector<fs::path> made;
  for (std::size_t at = 0; at < wheels.size(); ++at) {
    made.push_back(
        make_source_wheel(source_wheel(wheels[at]), packages[at], output, session, hashes));
  }
  return made;
}

}  // namespace ds
