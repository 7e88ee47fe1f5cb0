// SPDX-License-Identifier: Apache-2.0
//
// Runs the jobs of a plan: one thread, `jobs` at a time, nothing that is up to date.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "plan/plan.h"
#include "process/process.h"
#include "ui/ui.h"

namespace ds {

struct BuildOptions {
  std::filesystem::path folder;  ///< objects, libraries, depfiles and stamps; made if absent
  int keep_going = 1;            ///< stop starting jobs after so many failures; 0: never
  bool all_messages = false;     ///< show those of later failures too, unless they were shown
};

struct FailedJob {
  std::string op, name;
  std::string command;  ///< as a shell would take it
  std::string output;   ///< the compiler's messages, clean, whole
};

struct BuildResult {
  std::vector<FailedJob> failed;  ///< in the order they failed
  std::size_t ran = 0;            ///< jobs that were started
  std::size_t up_to_date = 0;
  double seconds = 0;
  bool ok() const { return failed.empty(); }
};

/// A job is up to date when its command, every input and every header its last depfile named have
/// the content they had (by SHA-256), and its output is there. Outputs appear by rename.
BuildResult build(const BuildPlan& plan, CommandRunner& runner, Status& status,
                  const BuildOptions& options);

}  // namespace ds
