// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "plan/jobs.h"
#include "plan/plan.h"
#include "plan/planner.h"
#include "plan/version_label.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

/// Our own op library: libraries with a C ABI below one Python package.
class LibraryPlanner : public Planner {
 public:
  LibraryPlanner(const OpLibrary& library, const PlanOptions& options)
      : Planner(library.ops, options), library_(library) {}

 protected:
  std::string path_of(const Op& op) const override {
    return fmt::format("ds_ops/{0}/lib{0}.so", op.name);
  }

  fs::path add_jobs(const Op& op, const std::vector<Arch>& archs,
                    const std::string& because) override {
    return ds::add_jobs(op, library_.root, tools(), archs, because, made().jobs);
  }

  void describe(const BuiltFor& built_for, const HostFacts& builder) override {
    made().tag = "py3-none-linux_" + (builder.machine.empty() ? "x86_64" : builder.machine);
    made().version = wheel_version(library_, options().environment, built_for);
    for (const fs::path& file : library_.files)
      add_python_face(file);
  }

 private:
  /// common/python/x -> ds_ops/x, OP/python/x -> ds_ops/OP/x.
  void add_python_face(const fs::path& file) {
    auto piece = file.begin();
    const std::string folder = piece->string();
    if (++piece == file.end() || *piece != "python")
      return;
    const std::vector<PlannedOp>& ops = made().ops;
    const bool built =
        std::any_of(ops.begin(), ops.end(), [&](const PlannedOp& op) { return op.name == folder; });
    if (folder != "common" && !built)
      return;
    fs::path target = made().package;
    if (folder != "common")
      target /= folder;
    while (++piece != file.end())
      target /= *piece;
    made().files.push_back({library_.root / file, target.generic_string()});
  }

  const OpLibrary& library_;
};

}  // namespace

BuildPlan make_plan(const OpLibrary& library, const Fleet& fleet, const HostFacts& builder,
                    const PlanOptions& options) {
  return LibraryPlanner(library, options).plan(fleet, builder);
}

}  // namespace ds
