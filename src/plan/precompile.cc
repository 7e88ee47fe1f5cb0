// SPDX-License-Identifier: Apache-2.0
#include "plan/precompile.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "plan/source_jobs.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

/// Of its own alone: a macro, or a warning, which no precompiled header depends on.
bool is_macro_or_warning(const std::string& word) {
  if (word == "-Wpedantic")
    return false;  // it changes macros of the compiler
  if (word.starts_with("-W"))
    return !word.starts_with("-Wl,") && !word.starts_with("-Wp,") && !word.starts_with("-Wa,");
  return word.size() > 2 && (word.starts_with("-D") || word.starts_with("-U"));
}

bool is_folder_of_tree(const std::string& word) {
  return word.starts_with("-I") && word.size() > 2 && fs::path(word.substr(2)).is_relative();
}

}  // namespace

Words header_words(const Job& unit, const SourceOp& op, const SourceFlags& flags,
                   const std::string& cuda_include) {
  Words own = {"-DTORCH_EXTENSION_NAME=" + last_part(op.module)};
  std::copy_if(flags.cxx.begin(), flags.cxx.end(), std::back_inserter(own), is_macro_or_warning);
  for (const std::string& define : op.defines)
    own.push_back("-D" + define);
  Words words;
  std::string level;  // of -O, of which the last counts
  for (const std::string& word : unit.command.argv) {
    if (word == "-MD")
      break;
    if (!words.empty() && words.back() == "-isystem" && word == cuda_include) {
      words.pop_back();
    } else if (word.starts_with("-O")) {
      level = word;
    } else if (std::find(own.begin(), own.end(), word) == own.end() && !is_folder_of_tree(word)) {
      words.push_back(word);
    }
  }
  words.push_back(level);
  return words;
}

Job header_job(const Job& unit, const Words& words, std::size_t units) {
  Job job;
  job.kind = Job::Kind::precompile;
  job.op = "torch";
  job.name = fmt::format("c++ torch/extension.h, precompiled for {}", count(units, "source"));
  job.command.argv = words;
  append(job.command.argv, {"-MD", "-MF", "@DEP@", "-x", "c++-header", "-include",
                            "torch/extension.h", "-o", "@OUT@", "/dev/null"});
  job.command.cwd = unit.command.cwd;
  job.command.environment = unit.command.environment;
  job.least = least_units;
  job.output = fs::path("pch") / digest12(words) / "torch" / "extension.h.gch";
  job.because = fmt::format("{} include it, with the same flags", count(units, "source"));
  return job;
}

void read_precompiled(Job& unit, const std::string& digest, std::size_t header) {
  Words& argv = unit.command.argv;
  const auto options = std::find_if(argv.begin(), argv.end(),
                                    [](const std::string& word) { return word.starts_with("-"); });
  argv.insert(options, {"-I@BUILD@/pch/" + digest, "-include", "torch/extension.h"});
  unit.output = object_path(unit.op, unit.inputs.front(), argv);
  unit.needs = {header};
}

}  // namespace ds
