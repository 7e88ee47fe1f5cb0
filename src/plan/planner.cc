// SPDX-License-Identifier: Apache-2.0
#include "plan/planner.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/text.h"

namespace ds {

BuildPlan Planner::plan(const Fleet& fleet, const HostFacts& builder) {
  OpChoice choice = choose_ops(ops_, options_.environment);
  widen(choice);
  skip_cuda_check_ = read_switch(options_.environment, "DS_SKIP_CUDA_CHECK",
                                 "write 1 to build where CUDA and PyTorch's CUDA differ, 0 not to")
                         .value_or(false);
  plan_.notes = std::move(choice.notes);
  plan_.left_out = std::move(choice.left_out);
  choose_tools(choice.chosen, fleet, builder);
  // A list that cannot be read is refused even where no op needs it.
  parse_arch_list(value_of("TORCH_CUDA_ARCH_LIST"));
  const bool wants_archs =
      any(choice.chosen, [](const Op& op) { return op.kind == Op::Kind::cuda; });
  if (!tools_.nvcc.empty() && wants_archs) {
    archs_ = choose_archs(value_of("TORCH_CUDA_ARCH_LIST"), fleet, tools_.nvcc_version,
                          options_.arch_policy, *options_.catalog);
    take_notes(archs_.notes);
  }
  for (const ChosenOp& chosen : choice.chosen)
    add(chosen, fleet, builder);
  refuse_incomplete();
  describe(say_what_is_used(), builder);
  return std::move(plan_);
}

std::string Planner::value_of(const std::string& variable) const {
  const auto found = options_.environment.find(variable);
  return found == options_.environment.end() ? std::string() : found->second;
}

void Planner::take_notes(const std::vector<std::string>& notes) {
  plan_.notes.insert(plan_.notes.end(), notes.begin(), notes.end());
}

template <typename Question>
bool Planner::any(const std::vector<ChosenOp>& chosen, Question ask) {
  return std::any_of(chosen.begin(), chosen.end(),
                     [&ask](const ChosenOp& one) { return ask(*one.op); });
}

void Planner::choose_tools(const std::vector<ChosenOp>& chosen, const Fleet& fleet,
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
  if (!trim(value_of("CC")).empty())
    std::erase(tools_.c_cpu_flags, "-mneeded");
  plan_.cpu_level = cpu.level;
  judge_tools(chosen, fleet, builder, compiler);
  take_notes(tools_.notes);
  take_notes(cpu.notes);
  const bool with_cuda = any(chosen, [this](const Op& op) { return uses_cuda(op); });
  for (const JudgedToolkit& toolkit : tools_.toolkits) {
    plan_.toolkits.push_back(
        {toolkit.tool.path, toolkit.tool.version, toolkit.chosen, toolkit.because});
    if (toolkit.chosen && with_cuda)
      take_notes(toolkit.warnings);
  }
}

void Planner::judge_tools(const std::vector<ChosenOp>& chosen, const Fleet& fleet,
                          const HostFacts& builder, const HostCompiler& compiler) {
  ToolkitNeeds needs{
      wanted_archs(value_of("TORCH_CUDA_ARCH_LIST"), fleet), compiler, {}, {}, options_.catalog};
  for (const HostFacts& host : fleet.hosts) {
    if (!host.gpus.empty() && !host.driver.empty())
      needs.drivers.emplace_back(host.host, host.driver);
  }
  if (any(chosen, [this](const Op& op) { return op.links_torch && uses_cuda(op); }))
    needs.torch = tools_.torch;
  choose_toolkit(builder, options_, needs, tools_);
}

void Planner::add(const ChosenOp& chosen, const Fleet& fleet, const HostFacts& builder) {
  const Op& op = *chosen.op;
  std::vector<Arch> archs;
  if (op.kind == Op::Kind::cuda)
    archs = archs_from(archs_.archs, op.minimum_compute_capability);
  PlannedOp planned{op.name, op.kind, sass_names(archs), {}, rules_for(op), path_of(op)};
  for (const Arch& arch : archs) {
    if (arch.ptx)
      planned.ptx.push_back(to_string(Arch{arch.number, arch.suffix, false}));
  }
  Fit found;
  found.obstacle = problem_of(op);
  if (found.obstacle.empty())
    found = fit(planned.rules, fleet, builder);
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
  planned.library = add_jobs(op, archs, because);
  plan_.ops.push_back(std::move(planned));
}

/// The rules of the op, and what it would be built with.
OpRules Planner::rules_for(const Op& op) const {
  OpRules rules = rules_of(op);
  if (uses_cuda(op))
    rules.cuda = tools_.nvcc_version;
  if (op.links_torch) {
    rules.torch = torch_.torch.version;
    rules.cxx11_abi = torch_.torch.cxx11_abi;
    rules.skip_cuda_check = skip_cuda_check_;
  }
  return rules;
}

/// What the build machine lacks for an op; empty if nothing.
std::string Planner::obstacle_of(const Op& op, const std::vector<Arch>& archs) const {
  if (op.links_torch && !torch_.obstacle.empty())
    return torch_.obstacle;
  if (!uses_cuda(op) || !archs.empty())
    return {};
  if (tools_.nvcc.empty()) {
    return "no nvcc was found on the build machine (CUDA_HOME, PATH, /usr/local/cuda, the target "
           "environment)";
  }
  if (op.kind == Op::Kind::cpu)
    return {};
  if (archs_.archs.empty()) {
    return fmt::format("nvcc {} cannot compile for any GPU of the hosts", tools_.nvcc_version);
  }
  return fmt::format("it needs compute capability {}, and the arch list ends at {}",
                     op.minimum_compute_capability, capability_text(archs_.archs.back()));
}

/// Where the archs are those of the hosts, fit() has told which hosts cannot run the op.
void Planner::note_dropped(const Op& op, const std::vector<Arch>& archs) {
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

void Planner::refuse_incomplete() const {
  std::vector<std::string> asked, all;
  for (const LeftOutOp& op : plan_.left_out) {
    all.push_back(fmt::format("{}: {}", op.name, op.because));
    if (op.asked_for)
      asked.push_back(all.back());
  }
  if (!asked.empty()) {
    throw Error("an op that was asked for cannot be built: " + join(asked, "; "),
                "put that right, or leave its DS_BUILD_ variable unset", ExitStatus::build_failed);
  }
  if (plan_.ops.empty()) {
    throw Error("nothing is left to build: " + join(all, "; "),
                "set DS_BUILD_OPS=1, or see why each op is left out", ExitStatus::build_failed);
  }
}

/// Tools and architectures of the ops that are built, without those of the ops that are not.
BuiltFor Planner::say_what_is_used() {
  plan_.compiler = tools_.cxx_text;
  plan_.nvcc = tools_.nvcc_text;
  std::vector<Arch> used;
  for (const Arch& arch : archs_.archs) {
    const bool wanted = std::any_of(plan_.ops.begin(), plan_.ops.end(), [&](const auto& op) {
      return std::find(op.archs.begin(), op.archs.end(), to_string(arch)) != op.archs.end();
    });
    if (wanted)
      used.push_back(arch);
  }
  const auto one_has = [this](auto has) {
    return std::any_of(plan_.ops.begin(), plan_.ops.end(), has);
  };
  if (!used.empty()) {
    plan_.archs = sass_names(used);
    plan_.archs_because = archs_.because;
  }
  if (one_has([](const PlannedOp& op) { return !op.rules.cuda.empty(); }))
    plan_.cuda = tools_.nvcc_version;
  BuiltFor built_for{plan_.cuda, plan_.archs, plan_.cpu_level, ""};
  if (one_has([](const PlannedOp& op) { return op.rules.links_torch; }))
    built_for.torch = tools_.torch.version;
  return built_for;
}

}  // namespace ds
