// SPDX-License-Identifier: Apache-2.0
#include "build/compile_commands.h"

#include <nlohmann/json.hpp>

#include "build/job_files.h"

namespace ds {

std::string compile_commands(const BuildPlan& plan, const std::filesystem::path& build_folder) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const Job& job : plan.jobs) {
    if (job.kind != Job::Kind::compile || job.inputs.empty())
      continue;
    const JobFiles files(job, build_folder, {});
    all.push_back({{"directory", files.folder().string()},
                   {"file", files.absolute(job.inputs.front())},
                   {"arguments", files.shown_command(job).argv},
                   {"output", files.output().string()}});
  }
  return all.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace ds
