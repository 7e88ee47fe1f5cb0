// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "base/error.h"
#include "base/text.h"
#include "plan/explain_flags.h"
#include "plan/plan.h"
#include "plan/planner.h"
#include "plan/source_flags.h"
#include "plan/source_jobs.h"
#include "source/source.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

/// The ops as choose_ops() and the rules know them. That they go by the kind of library is of no
/// matter here: all of them link torch.
std::vector<Op> ops_of(const SourceTree& tree) {
  std::vector<Op> ops;
  for (const SourceOp& source : tree.ops) {
    Op op;
    op.name = source.name;
    op.kind = source.cuda ? Op::Kind::cuda : Op::Kind::cpu;
    op.build_variable = source.build_variable;
    op.minimum_compute_capability = source.minimum_compute_capability;
    op.links_torch = true;
    ops.push_back(std::move(op));
  }
  return ops;
}

std::optional<bool> cxx11_abi(const SourceTorch& torch) {
  const auto found = torch.abi.find("_GLIBCXX_USE_CXX11_ABI");
  if (found == torch.abi.end())
    return std::nullopt;
  return found->second == "True" || found->second == "1";
}

/// The build machine, with the interpreter that was asked in place of the one that was probed.
HostFacts with_interpreter(const SourceTree& tree, HostFacts builder) {
  builder.torch = {tree.torch.version, tree.torch.cuda, torch_folder(tree.torch),
                   cxx11_abi(tree.torch)};
  builder.python.executable = tree.python.executable;
  builder.python.version = tree.python.version;
  builder.python.soabi = tree.python.soabi;
  return builder;
}

/// A library loads into one Python only.
void check_pythons(const SourceTree& tree, const Fleet& fleet, std::vector<std::string>& notes) {
  const std::string here = major_minor(tree.python.version);
  std::vector<std::string> others;
  bool one_has = false, one_is_known = false;
  for (const HostFacts& host : fleet.hosts) {
    if (host.state != HostFacts::State::reached || host.python.version.empty())
      continue;
    one_is_known = true;
    if (major_minor(host.python.version) == here)
      one_has = true;
    else
      others.push_back(fmt::format("{} has {}", host.host, host.python.version));
  }
  if (others.empty())
    return;
  const std::string what = fmt::format("the ops are for Python {}, and {}", here, some_of(others));
  if (one_is_known && !one_has) {
    throw Error(what,
                "name with --python an interpreter of the hosts' version that has their torch",
                ExitStatus::build_failed);
  }
  notes.push_back(what);
}

void refuse_without_torch(const SourceTree& tree) {
  const SourceTorch& torch = tree.torch;
  const std::string problem =
      torch.stub ? "it has no torch, and the ops were read with a stub in its place"
      : !torch.cpp.problem.empty() ? "its torch cannot say how to compile: " + torch.cpp.problem
                                   : "";
  if (!problem.empty()) {
    throw Error(
        fmt::format("{} cannot be compiled for {}: {}", tree.name, tree.python.executable, problem),
        "install the hosts' torch there, or name another interpreter with --python",
        ExitStatus::build_failed);
  }
}

/// Torch's header, once for the units of each set of flags.
struct PlannedHeaders {
  std::vector<Job> jobs;
  HeaderJobs places;
};

class SourcePlanner : public Planner {
 public:
  SourcePlanner(const SourceTree& tree, const std::vector<Op>& ops, const PlanOptions& options,
                const std::string& machine, const PlannedHeaders& headers = {})
      : Planner(ops, options),
        tree_(tree),
        known_(ops),
        x86_(machine.empty() || machine == "x86_64"),
        headers_(headers.places) {
    made().jobs = headers.jobs;
  }

  const std::map<std::string, SourceFlags>& flags() const { return flags_; }

  /// What pays for the units of `plan`, which this planner made: GCC alone makes a header that is
  /// used or not as it fits, and what runs before it must not guess what it reads.
  PlannedHeaders headers_for(const BuildPlan& plan, const HostFacts& builder) const {
    PlannedHeaders headers;
    const HostCompiler compiler = host_compiler(tools().host_compiler, builder.cxx);
    if (!options().pch || compiler.kind != HostCompiler::Kind::gcc ||
        tools().cxx.front() != tools().host_compiler)
      return headers;
    std::map<std::string, std::vector<const Job*>> units;
    std::map<std::string, Words> words;
    for (const Job& job : plan.jobs) {
      const SourceOp& op = source(job.op);
      if (!reads_torch(job, op))
        continue;
      const Words read = header_words(job, op, flags_.at(job.op), tools().cuda_include);
      words[digest12(read)] = read;
      units[digest12(read)].push_back(&job);
    }
    for (const auto& [digest, jobs] : units) {
      if (jobs.size() < least_units)
        continue;
      headers.places[digest] = headers.jobs.size();
      headers.jobs.push_back(header_job(*jobs.front(), words[digest], jobs.size()));
    }
    return headers;
  }

 protected:
  void widen(OpChoice& choice) const override {
    const bool by_name = std::any_of(choice.chosen.begin(), choice.chosen.end(),
                                     [](const ChosenOp& op) { return op.asked_for; });
    if (value_of("DS_BUILD_OPS").empty() && !by_name) {
      choice.notes.push_back(
          "no DS_BUILD_ variable asks for an op: every compatible one is built, where the tree's "
          "own setup.py would build none");
    }
    // What is brought in may need others itself.
    for (std::size_t at = 0; at < choice.chosen.size(); ++at) {
      const SourceOp& op = source(choice.chosen[at].op->name);
      for (const std::string& needed : op.needs)
        bring(needed, op.name, choice);
    }
    std::sort(choice.chosen.begin(), choice.chosen.end(),
              [](const ChosenOp& left, const ChosenOp& right) { return left.op < right.op; });
  }

  bool uses_cuda(const Op& op) const override { return source(op.name).links_cuda; }

  std::string problem_of(const Op& op) const override {
    const SourceOp& of_tree = source(op.name);
    if (!of_tree.compatible)
      return of_tree.because;
    const std::string& problem = tree_.torch.cuda_extension.problem;
    return of_tree.links_cuda && !problem.empty() ? "torch gives no CUDA extension: " + problem
                                                  : "";
  }

  OpRules rules_for(const Op& op) const override {
    OpRules rules = Planner::rules_for(op);
    rules.links_torch_cuda = uses_cuda(op);
    return rules;
  }

  std::string path_of(const Op& op) const override {
    return module_path(source(op.name).module, tree_.python);
  }

  fs::path add_jobs(const Op& op, const std::vector<Arch>& archs,
                    const std::string& because) override {
    const SourceOp& of_tree = source(op.name);
    const SourceFlags& flags = flags_[op.name] = source_flags(of_tree, targets(archs));
    if (flags.standard_raised)
      raised_.push_back(op.name);
    if (flags.bf16_kept || flags.bf16_lost)
      (flags.bf16_kept ? bf16_kept_ : bf16_lost_).push_back(op.name);
    return add_source_jobs({tree_, tools(), options().debug_info, headers_}, of_tree, flags, archs,
                           because, made().jobs);
  }

  void describe(const BuiltFor& built_for, const HostFacts&) override {
    made().package = tree_.name;
    std::replace_if(
        made().package.begin(), made().package.end(), [](char c) { return c == '-' || c == '.'; },
        '_');
    made().tag = wheel_tag(tree_.python);
    BuiltFor named = built_for;
    for (const PlannedOp& op : made().ops)
      named.ops.push_back(op.name);
    made().version = source_wheel_version({.version = tree_.version,
                                           .commit = tree_.git_hash,
                                           .digest = tree_.digest,
                                           .dirty = tree_.dirty,
                                           .build_string = tree_.build_string},
                                          options().environment, named);
    say_what_changed();
  }

 private:
  const SourceOp& source(const std::string& name) const {
    return *std::find_if(tree_.ops.begin(), tree_.ops.end(),
                         [&name](const SourceOp& op) { return op.name == name; });
  }

  FlagTargets targets(const std::vector<Arch>& archs) {
    FlagTargets targets;
    targets.cpu_level = made().cpu_level;
    targets.cpu_flags = tools().cpu_flags;
    targets.x86 = x86_;
    targets.torch = tree_.torch.version;
    targets.nvcc_version = tools().nvcc_version;
    targets.debug_info = options().debug_info;
    targets.archs = archs;
    targets.cuda_home = tree_.torch.cuda_home;
    if (!tools().nvcc.empty())
      targets.cuda_root = fs::path(tools().nvcc).parent_path().parent_path().string();
    return targets;
  }

  void bring(const std::string& needed, const std::string& by, OpChoice& choice) const {
    const auto left = std::find_if(choice.left_out.begin(), choice.left_out.end(),
                                   [&needed](const LeftOutOp& op) { return op.name == needed; });
    if (left == choice.left_out.end())
      return;
    const auto op = std::find_if(known_.begin(), known_.end(),
                                 [&needed](const Op& one) { return one.name == needed; });
    if (value_of(op->build_variable) == "0") {
      choice.notes.push_back(
          fmt::format("op {} loads {} before itself, which {}=0 leaves out: it "
                      "will be compiled on the hosts, if they can",
                      by, needed, op->build_variable));
      return;
    }
    choice.left_out.erase(left);
    choice.chosen.push_back({&*op, fmt::format("op {} loads it before itself", by), false});
  }

  void say_what_changed() {
    const std::string& torch = tree_.torch.version;
    if (!raised_.empty()) {
      made().notes.push_back(
          fmt::format("-std is raised to c++{} for {}: the headers of torch {} "
                      "need it",
                      torch_standard(torch), some_of(raised_), torch));
    }
    if (!bf16_kept_.empty()) {
      made().notes.push_back(
          fmt::format("{}: bf16 kernels are compiled for GPUs before 8.0 too, where they are slow; "
                      "the tree's own setup.py would leave bf16 out for all GPUs",
                      some_of(bf16_kept_)));
    }
    if (!bf16_lost_.empty()) {
      made().notes.push_back(
          fmt::format("{}: no bf16 kernel on any GPU, because one of the architectures is before "
                      "8.0 and CUDA {} cannot compile them for it; build for the others apart, or "
                      "with CUDA 12.2 or later",
                      some_of(bf16_lost_), tools().nvcc_version));
    }
  }

  const SourceTree& tree_;
  const std::vector<Op>& known_;
  const bool x86_;
  const HeaderJobs headers_;
  std::map<std::string, SourceFlags> flags_;  ///< of the ops that are built
  std::vector<std::string> raised_, bf16_kept_, bf16_lost_;
};

}  // namespace

BuildPlan make_source_plan(const SourceTree& tree, const Fleet& fleet, const HostFacts& builder,
                           const PlanOptions& options) {
  refuse_without_torch(tree);
  const std::vector<Op> ops = ops_of(tree);
  std::vector<std::string> notes;
  check_pythons(tree, fleet, notes);
  if (!tree.problem.empty())
    notes.push_back(tree.name + ": " + tree.problem);
  const HostFacts here = with_interpreter(tree, builder);
  SourcePlanner first(tree, ops, options, builder.machine);
  BuildPlan plan = first.plan(fleet, here);
  // Which units share a header is known once all are.
  const PlannedHeaders headers = first.headers_for(plan, builder);
  if (!headers.jobs.empty())
    plan = SourcePlanner(tree, ops, options, builder.machine, headers).plan(fleet, here);
  plan.notes.insert(plan.notes.begin(), notes.begin(), notes.end());
  return plan;
}

std::string explain_flags(const SourceTree& tree, const std::string& op, const Fleet& fleet,
                          const HostFacts& builder, const PlanOptions& options) {
  std::vector<std::string> names;
  for (const SourceOp& one : tree.ops)
    names.push_back(one.name);
  const auto found = std::find(names.begin(), names.end(), op);
  if (found == names.end()) {
    const std::string nearest = suggestion(op, names);
    throw UsageError(fmt::format("{} has no op '{}'", tree.name, clean_line(op, 80)),
                     nearest.empty() ? "it has " + join(names, ", ") : nearest);
  }
  refuse_without_torch(tree);
  const std::vector<Op> ops = ops_of(tree);
  SourcePlanner planner(tree, ops, options, builder.machine);
  const BuildPlan plan = planner.plan(fleet, with_interpreter(tree, builder));
  const auto flags = planner.flags().find(op);
  if (flags != planner.flags().end()) {
    return flags_text(tree.ops[static_cast<std::size_t>(found - names.begin())], flags->second,
                      plan.jobs);
  }
  const auto left = std::find_if(plan.left_out.begin(), plan.left_out.end(),
                                 [&op](const LeftOutOp& one) { return one.name == op; });
  return fmt::format("op {} is not built: {}\n", op, left->because);
}

}  // namespace ds
