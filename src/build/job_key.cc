// SPDX-License-Identifier: Apache-2.0
#include "build/job_key.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <set>

#include "base/sha256.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

/// Variables by which a compiler reads or makes something else without a word in its command (gcc,
/// "Environment Variables Affecting GCC"; nvcc, "NVCC Environment Variables"; ld; clang).
constexpr std::array heeded = {
    "CPATH",
    "C_INCLUDE_PATH",
    "CPLUS_INCLUDE_PATH",
    "LIBRARY_PATH",
    "COMPILER_PATH",
    "GCC_EXEC_PREFIX",
    "LD_RUN_PATH",
    "LDEMULATION",
    "CCC_OVERRIDE_OPTIONS",
    "NVCC_PREPEND_FLAGS",
    "NVCC_APPEND_FLAGS",
    "NVCC_CCBIN",
};

/// The folders of -I, -iquote and -isystem that belong to the project: named relative to it.
std::set<fs::path> project_folders(const Job& job) {
  std::set<fs::path> folders;
  const auto add = [&folders](const fs::path& folder) {
    if (folder.is_relative())
      folders.insert(folder.lexically_normal());
  };
  const std::vector<std::string>& words = job.command.argv;
  for (std::size_t at = 0; at < words.size(); ++at) {
    for (const std::string option : {"-I", "-iquote", "-isystem"}) {
      if (words[at] == option && at + 1 < words.size())
        add(words[at + 1]);
      else if (words[at].starts_with(option) && words[at].size() > option.size())
        add(words[at].substr(option.size()));
    }
  }
  if (job.kind == Job::Kind::compile && !job.inputs.empty())
    add(job.inputs.front().parent_path());
  return folders;
}

}  // namespace

const std::string& JobKeys::listing(const fs::path& folder) {
  const auto known = listings_.find(folder);
  if (known != listings_.end())
    return known->second;
  std::vector<std::string> names;
  std::error_code failure;
  fs::recursive_directory_iterator entry(folder, failure), end;
  for (; !failure && entry != end; entry.increment(failure)) {
    const std::string extension = entry->path().extension().string();
    // Byte code comes and goes when the project's own Python runs.
    if (extension != ".pyc" && entry->path().filename() != "__pycache__")
      names.push_back(entry->path().lexically_relative(folder).generic_string());
  }
  std::sort(names.begin(), names.end());
  std::string all;
  for (const std::string& name : names)
    all += name + '\0';
  return listings_[folder] = sha256_hex(all);
}

std::string JobKeys::of(const Job& job, const fs::path& folder) {
  std::string all = "ds-deploy.job/1\n";
  for (const std::string& word : job.command.argv)
    all += word + '\0';
  for (const std::string& setting : job.command.environment)
    all += '\n' + setting;
  for (const char* variable : heeded) {
    if (const char* value = std::getenv(variable))
      all += fmt::format("\n{}={}", variable, value);
  }
  all += '\n' + programs_.identity(job.command.argv);
  for (const fs::path& input : job.inputs)
    all += '\n' + hashes_.of((folder / input).lexically_normal().string());
  for (const fs::path& include : project_folders(job))
    all += '\n' + include.generic_string() + ' ' + listing((folder / include).lexically_normal());
  return sha256_hex(all);
}

}  // namespace ds
