// SPDX-License-Identifier: Apache-2.0
#include "build/compile_commands.h"

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "build/job_files.h"
#include "cache/cache.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

std::string compile_commands(const BuildPlan& plan, const fs::path& build_folder) {
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

}  // namespace

void save_compile_commands(const BuildPlan& plan, const fs::path& build_folder) {
  const std::string text = compile_commands(plan, build_folder);
  const fs::path file = build_folder / "compile_commands.json";
  std::error_code absent;
  if (fs::file_size(file, absent) != text.size() || absent || read_file(file) != text)
    write_memory(file, text);
}

}  // namespace ds
