// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "plan/arch_list.h"
#include "plan/choose_ops.h"
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
    tools_ = choose_toolchain(builder, options_);
    plan_.notes = std::move(choice.notes);
    plan_.left_out = std::move(choice.left_out);
    take_notes(tools_.notes);
    // A list that cannot be read is refused even where no op needs it.
    parse_arch_list(value_of(options_, "TORCH_CUDA_ARCH_LIST"));
    if (wants_archs(choice.chosen)) {
      archs_ = choose_archs(value_of(options_, "TORCH_CUDA_ARCH_LIST"), fleet, tools_.nvcc_version,
                            options_.arch_policy);
      take_notes(archs_.notes);
    }
    for (const ChosenOp& chosen : choice.chosen)
      add(chosen);
    refuse_incomplete();
    describe(builder);
    return std::move(plan_);
  }

 private:
  void take_notes(const std::vector<std::string>& notes) {
    plan_.notes.insert(plan_.notes.end(), notes.begin(), notes.end());
  }

  bool wants_archs(const std::vector<ChosenOp>& chosen) const {
    return !tools_.nvcc.empty() &&
           std::any_of(chosen.begin(), chosen.end(), [](const ChosenOp& one) {
             return one.op->kind == Op::Kind::cuda && !one.op->links_torch;
           });
  }

  void add(const ChosenOp& chosen) {
    const Op& op = *chosen.op;
    std::vector<Arch> archs;
    if (op.kind == Op::Kind::cuda)
      archs = archs_from(archs_.archs, op.minimum_compute_capability);
    const std::string obstacle = obstacle_of(op, archs);
    if (!obstacle.empty()) {
      plan_.left_out.push_back({op.name, obstacle, chosen.asked_for});
      return;
    }
    std::string because = fmt::format("op {} is built because {}", op.name, chosen.because);
    if (op.kind == Op::Kind::cuda) {
      because += fmt::format("; needs sm_{}: {}", join(sass_names(archs), ", sm_"), archs_.because);
      note_dropped(op, archs);
    }
    PlannedOp planned{op.name, op.kind, sass_names(archs), {}};
    planned.library = add_jobs(op, library_.root, tools_, archs, because, plan_.jobs);
    plan_.ops.push_back(std::move(planned));
  }

  /// Why an op cannot be built; empty if it can.
  std::string obstacle_of(const Op& op, const std::vector<Arch>& archs) const {
    if (op.links_torch) {
      return "needs PyTorch's C++ headers, which this version does not build against yet";
    }
    if (op.kind == Op::Kind::cpu || !archs.empty())
      return {};
    if (tools_.nvcc.empty()) {
      return "no nvcc was found on the build machine (PATH, CUDA_HOME, /usr/local/cuda)";
    }
    if (archs_.archs.empty()) {
      return fmt::format("nvcc {} cannot compile for any GPU of the hosts", tools_.nvcc_version);
    }
    return fmt::format("it needs compute capability {}, and the arch list ends at {}",
                       op.minimum_compute_capability, capability_text(archs_.archs.back()));
  }

  void note_dropped(const Op& op, const std::vector<Arch>& archs) {
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
    plan_.version = wheel_version(library_, options_.environment, plan_.cuda, plan_.archs);
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
  ArchChoice archs_;
  BuildPlan plan_;
};

}  // namespace

BuildPlan make_plan(const OpLibrary& library, const Fleet& fleet, const HostFacts& builder,
                    const PlanOptions& options) {
  return Planner(library, options).plan(fleet, builder);
}

}  // namespace ds
