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
std::string accelerator_of(const PlannedWheel& planned, const Fleet& fleet) {
  const bool has_cuda = std::any_of(planned.plan.ops.begin(), planned.plan.ops.end(),
                                    [](const auto& op) { return op.kind == Op::Kind::cuda; });
  const bool has_gpu = std::any_of(fleet.hosts.begin(), fleet.hosts.end(),
                                   [](const HostFacts& host) { return !host.gpus.empty(); });
  return has_cuda || has_gpu ? "cuda" : "cpu";
}

}  // namespace

fs::path make_source_wheel(const PlannedWheel& planned, const fs::path& output, Session& session) {
  const SourceTree& tree = *planned.source;
  SourceWheel wheel;
  wheel.tree = tree;
  wheel.version = planned.plan.version;
  wheel.accelerator = accelerator_of(planned, session.fleet());
  wheel.cuda = planned.plan.cuda;
  wheel.compiler = planned.plan.compiler;
  wheel.nvcc = planned.plan.nvcc;
  const std::vector<std::string>& archs = planned.plan.archs;
  wheel.bf16 = !archs.empty() && std::all_of(archs.begin(), archs.end(), [](const auto& arch) {
    return compare_versions(arch, "80") >= 0;
  });
  PackageOptions how;
  how.cache = cache_folder(session.options());
  how.environment = source_environment(planned.builder);
  how.accelerator = wheel.accelerator;
  // Before the compilers start: what it lacks is told now.
  const SourcePackage package = read_package(tree, session.python_here(), how);

  FileHashes hashes(FileHashes::memory_in(cache_folder(session.options())));
  run_build(planned.plan, planned.folder, session, hashes);
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
  return make_source_wheel(wheel, package, output, session, hashes);
}

}  // namespace ds
