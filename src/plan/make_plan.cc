// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "plan/arch_list.h"
#include "plan/choose_ops.h"
#include "plan/cpu_level.h"
#include "plan/fit.h"
#include "plan/jobs.h"
#include "plan/plan.h"
#include "plan/toolchain.h"
#include "plan/version_label.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

std::string value_of(const PlanOptions& options, const std::string& variable) {
  const auto found = options.environment.find(variable);
  return found == options.environment.end() ? std::string() : found->second;
}

class Planner {
 public:
  Planner(const OpLibrary& library, const PlanOptions& options)
      : library_(library), options_(options) {}

  BuildPlan plan(const Fleet& fleet, const HostFacts& builder) {
    OpChoice choice = choose_ops(library_.ops, options_.environment);
    skip_cuda_check_ =
        read_switch(options_.environment, "DS_SKIP_CUDA_CHECK",
                    "write 1 to build where CUDA and PyTorch's CUDA differ, 0 not to")
            .value_or(false);
    plan_.notes = std::move(choice.notes);
    plan_.left_out = std::move(choice.left_out);
    choose_tools(choice.chosen, fleet, builder);
    // A list that cannot be read is refused even where no op needs it.
    parse_arch_list(value_of(options_, "TORCH_CUDA_ARCH_LIST"));
    if (wants_archs(choice.chosen)) {
      archs_ = choose_archs(value_of(options_, "TORCH_CUDA_ARCH_LIST"), fleet, tools_.nvcc_version,
                            options_.arch_policy);
      take_notes(archs_.notes);
    }
    for (const ChosenOp& chosen : choice.chosen)
      add(chosen, fleet, builder);
    refuse_incomplete();
    describe(builder);
    return std::move(plan_);
  }

 private:
  void take_notes(const std::vector<std::string>& notes) {
    plan_.notes.insert(plan_.notes.end(), notes.begin(), notes.end());
  }

  void choose_tools(const std::vector<ChosenOp>& chosen, const Fleet& fleet,
                    const HostFacts& builder) {
    tools_ = choose_toolchain(builder, options_);
    if (any(chosen, [](const Op& op) { return op.links_torch; })) {
      torch_ = choose_torch(fleet, builder);
      tools_.torch = torch_.torch;
    }
    const HostCompiler compiler = host_compiler(tools_.host_compiler, builder.cxx);
    CpuLevel cpu = choose_cpu_level(options_.cpu_level, fleet, builder, compiler);
    tools_.cpu_flags = tools_.c_cpu_flags = std::move(cpu.flags);
    // Which version CC is was not asked: it gets no flag that older ones do not know.
    if (!trim(value_of(options_, "CC")).empty())
      std::erase(tools_.c_cpu_flags, "-mneeded");
    plan_.cpu_level = cpu.level;
    ToolkitNeeds needs{
        wanted_archs(value_of(options_, "TORCH_CUDA_ARCH_LIST"), fleet), compiler, {}, {}};
    for (const HostFacts& host : fleet.hosts) {
      if (!host.gpus.empty() && !host.driver.empty())
        needs.drivers.emplace_back(host.host, host.driver);
    }
    if (any(chosen, [](const Op& op) { return op.links_torch && op.kind == Op::Kind::cuda; }))
      needs.torch = tools_.torch;
    choose_toolkit(builder, options_, needs, tools_);
    take_notes(tools_.notes);
    take_notes(cpu.notes);
    for (const JudgedToolkit& toolkit : tools_.toolkits) {
      plan_.toolkits.push_back(
          {toolkit.tool.path, toolkit.tool.version, toolkit.chosen, toolkit.because});
      if (toolkit.chosen && any(chosen, [](const Op& op) { return op.kind == Op::Kind::cuda; }))
        take_notes(toolkit.warnings);
    }
  }

  template <typename Question>
  static bool any(const std::vector<ChosenOp>& chosen, Question ask) {
    return std::any_of(chosen.begin(), chosen.end(),
                       [&ask](const ChosenOp& one) { return ask(*one.op); });
  }

  bool wants_archs(const std::vector<ChosenOp>& chosen) const {
    return !tools_.nvcc.empty() &&
           any(chosen, [](const Op& op) { return op.kind == Op::Kind::cuda; });
  }

  void add(const ChosenOp& chosen, const Fleet& fleet, const HostFacts& builder) {
    const Op& op = *chosen.op;
    std::vector<Arch> archs;
    if (op.kind == Op::Kind::cuda)
      archs = archs_from(archs_.archs, op.minimum_compute_capability);
    PlannedOp planned{op.name, op.kind, sass_names(archs), {}, rules_for(op)};
    const Fit found = fit(planned.rules, fleet, builder);
    const std::string obstacle = found.obstacle.empty() ? obstacle_of(op, archs) : found.obstacle;
    if (!obstacle.empty()) {
      plan_.left_out.push_back({op.name, obstacle, chosen.asked_for});
      return;
    }
    take_notes(found.notes);
    std::string because = fmt::format("op {} is built because {}", op.name, chosen.because);
    if (op.kind == Op::Kind::cuda) {
      because += fmt::format("; needs sm_{}: {}", join(sass_names(archs), ", sm_"), archs_.because);
      note_dropped(op, archs);
    }
    planned.library = add_jobs(op, library_.root, tools_, archs, because, plan_.jobs);
    plan_.ops.push_back(std::move(planned));
  }

  /// The manifest's rules, and what it would be built with.
  OpRules rules_for(const Op& op) const {
    OpRules rules = rules_of(op);
    if (op.kind == Op::Kind::cuda)
      rules.cuda = tools_.nvcc_version;
    if (op.links_torch) {
      rules.torch = torch_.torch.version;
      rules.cxx11_abi = torch_.torch.cxx11_abi;
      rules.skip_cuda_check = skip_cuda_check_;
    }
    return rules;
  }

  /// What the build machine lacks for an op; empty if nothing.
  std::string obstacle_of(const Op& op, const std::vector<Arch>& archs) const {
    if (op.links_torch && !torch_.obstacle.empty())
      return torch_.obstacle;
    if (op.kind == Op::Kind::cpu || !archs.empty())
      return {};
    if (tools_.nvcc.empty()) {
      return "no nvcc was found on the build machine (CUDA_HOME, PATH, /usr/local/cuda, the target "
             "environment)";
    }
    if (archs_.archs.empty()) {
      return fmt::format("nvcc {} cannot compile for any GPU of the hosts", tools_.nvcc_version);
    }
    return fmt::format("it needs compute capability {}, and the arch list ends at {}",
                       op.minimum_compute_capability, capability_text(archs_.archs.back()));
  }

  /// Where the archs are those of the hosts, fit() has told which hosts cannot run the op.
  void note_dropped(const Op& op, const std::vector<Arch>& archs) {
    if (archs_.of_hosts)
      return;
    std::vector<std::string> dropped;
    for (const Arch& arch : archs_.archs) {
      const bool kept = std::find(archs.begin(), archs.end(), arch) != archs.end();
      if (!kept && !arch.ptx)
        dropped.push_back(capability_text(arch));
    }
    if (dropped.empty())
      return;
    plan_.notes.push_back(fmt::format("op {} is not compiled for {}: its minimum is {}", op.name,
                                      join(dropped, ", "), op.minimum_compute_capability));
  }

  void refuse_incomplete() const {
    std::vector<std::string> asked, all;
    for (const LeftOutOp& op : plan_.left_out) {
      all.push_back(fmt::format("{}: {}", op.name, op.because));
      if (op.asked_for)
        asked.push_back(all.back());
    }
    if (!asked.empty()) {
      throw Error("an op that was asked for cannot be built: " + join(asked, "; "),
                  "put that right, or leave its DS_BUILD_ variable unset",
                  ExitStatus::build_failed);
    }
    if (plan_.ops.empty()) {
      throw Error("nothing is left to build: " + join(all, "; "),
                  "set DS_BUILD_OPS=1, or see why each op is left out", ExitStatus::build_failed);
    }
  }

  void describe(const HostFacts& builder) {
    plan_.compiler = tools_.cxx_text;
    plan_.nvcc = tools_.nvcc_text;
    plan_.tag = "py3-none-linux_" + (builder.machine.empty() ? "x86_64" : builder.machine);
    std::vector<Arch> used;
    for (const Arch& arch : archs_.archs) {
      const bool wanted = std::any_of(plan_.ops.begin(), plan_.ops.end(), [&](const auto& op) {
        return std::find(op.archs.begin(), op.archs.end(), to_string(arch)) != op.archs.end();
      });
      if (wanted)
        used.push_back(arch);
    }
    if (!used.empty()) {
      plan_.archs = sass_names(used);
      plan_.archs_because = archs_.because;
      plan_.cuda = tools_.nvcc_version;
    }
    BuiltFor built_for{plan_.cuda, plan_.archs, plan_.cpu_level, ""};
    if (std::any_of(plan_.ops.begin(), plan_.ops.end(),
                    [](const PlannedOp& op) { return op.rules.links_torch; }))
      built_for.torch = tools_.torch.version;
    plan_.version = wheel_version(library_, options_.environment, built_for);
    for (const fs::path& file : library_.files)
      add_python_face(file);
  }

  /// common/python/x -> ds_ops/x, OP/python/x -> ds_ops/OP/x.
  void add_python_face(const fs::path& file) {
    auto piece = file.begin();
    const std::string folder = piece->string();
    if (++piece == file.end() || *piece != "python")
      return;
    const bool built = std::any_of(plan_.ops.begin(), plan_.ops.end(),
                                   [&](const PlannedOp& op) { return op.name == folder; });
    if (folder != "common" && !built)
      return;
    fs::path target = plan_.package;
    if (folder != "common")
      target /= folder;
    while (++piece != file.end())
      target /= *piece;
    plan_.files.push_back({library_.root / file, target.generic_string()});
  }

  const OpLibrary& library_;
  const PlanOptions& options_;
  Toolchain tools_;
  TorchChoice torch_;
  bool skip_cuda_check_ = false;
  ArchChoice archs_;
  BuildPlan plan_;
};

}  // namespace

BuildPlan make_plan(const OpLibrary& library, const Fleet& fleet, const HostFacts& builder,
                    const PlanOptions& options) {
  return Planner(library, options).plan(fleet, builder);
}

}  // namespace ds
