// SPDX-License-Identifier: Apache-2.0
//
// From ops to a plan, wherever the ops come from: which are built, with which tools, for which GPUs
// and CPUs. What is of one kind of source alone is said by the class below.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "plan/arch_list.h"
#include "plan/choose_ops.h"
#include "plan/cpu_level.h"
#include "plan/fit.h"
#include "plan/plan.h"
#include "plan/toolchain.h"
#include "plan/version_label.h"

namespace ds {

class Planner {
 public:
  /// `ops` outlive it.
  Planner(const std::vector<Op>& ops, const PlanOptions& options) : ops_(ops), options_(options) {}
  virtual ~Planner() = default;
  Planner(const Planner&) = delete;
  Planner& operator=(const Planner&) = delete;

  BuildPlan plan(const Fleet& fleet, const HostFacts& builder);

 protected:
  /// Ops that those chosen need.
  virtual void widen(OpChoice&) const {}
  /// It is compiled or linked with CUDA, with or without device code.
  virtual bool uses_cuda(const Op& op) const { return op.kind == Op::Kind::cuda; }
  /// Why it cannot be built, whatever the hosts are; empty if it can.
  virtual std::string problem_of(const Op&) const { return {}; }
  virtual OpRules rules_for(const Op& op) const;
  /// Where its library lies in the wheel.
  virtual std::string path_of(const Op& op) const = 0;
  /// Adds its jobs; the library that they make.
  virtual std::filesystem::path add_jobs(const Op& op, const std::vector<Arch>& archs,
                                         const std::string& because) = 0;
  /// The rest of the plan, once the ops are known.
  virtual void describe(const BuiltFor& built_for, const HostFacts& builder) = 0;

  std::string value_of(const std::string& variable) const;
  void take_notes(const std::vector<std::string>& notes);
  const PlanOptions& options() const { return options_; }
  const Toolchain& tools() const { return tools_; }
  BuildPlan& made() { return plan_; }

 private:
  template <typename Question>
  static bool any(const std::vector<ChosenOp>& chosen, Question ask);
  void choose_tools(const std::vector<ChosenOp>& chosen, const Fleet& fleet,
                    const HostFacts& builder);
  void judge_tools(const std::vector<ChosenOp>& chosen, const Fleet& fleet,
                   const HostFacts& builder, const HostCompiler& compiler);
  void add(const ChosenOp& chosen, const Fleet& fleet, const HostFacts& builder);
  std::string obstacle_of(const Op& op, const std::vector<Arch>& archs) const;
  void note_dropped(const Op& op, const std::vector<Arch>& archs);
  void refuse_incomplete() const;
  BuiltFor say_what_is_used();

  const std::vector<Op>& ops_;
  const PlanOptions& options_;
  Toolchain tools_;
  TorchChoice torch_;
  bool skip_cuda_check_ = false;
  ArchChoice archs_;
  BuildPlan plan_;
};

}  // namespace ds
