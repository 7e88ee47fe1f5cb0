// SPDX-License-Identifier: Apache-2.0
#include "cli/jit.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/text.h"
#include "cache/cache.h"
#include "cli/op_package.h"
#include "cli/plan_wheel.h"
#include "cli/run_build.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

/// Where PyTorch keeps what it compiles (torch.utils.cpp_extension, TORCH_EXTENSIONS_DIR).
fs::path extensions_folder() {
  const char* named = std::getenv("TORCH_EXTENSIONS_DIR");
  if (named != nullptr && *named != '\0')
    return fs::absolute(expand_home(named));
  return cache_home().parent_path() / "torch_extensions";
}

/// "py311_cu130_torch2.11_sm90_x86-64-v3": what has another of these lives in a folder of its own.
std::string environment_key(const PlannedWheel& planned) {
  const HostFacts& here = planned.builder;
  const std::vector<std::string> python = split(here.python.version, '.');
  std::string key = python.size() < 2 ? "py" : "py" + python[0] + python[1];
  if (!planned.plan.cuda.empty())
    key += "_cu" + join(split(planned.plan.cuda, '.'), "");
  if (!here.torch.version.empty())
    key += "_torch" + here.torch.version;
  if (!planned.plan.archs.empty())
    key += "_sm" + join(planned.plan.archs, ".");
  key += fmt::format("_{}-v{}", here.machine, planned.plan.cpu_level);
  for (char& c : key) {
    if (c == '/' || c == ' ')
      c = '-';
  }
  return key;
}

/// The interpreter that was named is part of the key, so it has to say what it is.
void refuse_silent_python(const HostFacts& here) {
  if (here.python.asked.empty() || !here.python.version.empty())
    return;
  const auto note = std::find_if(here.notes.begin(), here.notes.end(),
                                 [](const std::string& one) { return one.starts_with("python "); });
  throw UsageError(
      fmt::format("the interpreter {} does not say which Python it is{}",
                  clean_line(here.python.asked), note == here.notes.end() ? "" : ": " + *note),
      "name one that runs, with --python");
}

/// What decides about a library, less the compiler.
std::string request_of(const PlannedWheel& planned) {
  std::string all = planned.library.source_digest + '\n' + join(planned.plan.archs, " ");
  for (const char* variable : {"CFLAGS", "CXXFLAGS", "NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS"}) {
    const char* value = std::getenv(variable);
    all += fmt::format("\n{}={}", variable, value != nullptr ? value : "");
  }
  return sha256_hex(all);
}

/// Why nothing can be made here; empty if it can.
std::string obstacle_of(const BuildPlan& plan, fs::path folder) {
  for (const Job& job : plan.jobs) {
    const std::string& program = job.command.argv.front();
    if (find_program(program).empty())
      return fmt::format("there is no program {} here", clean_line(program));
  }
  std::error_code failure;
  while (!fs::exists(folder, failure) && folder.has_relative_path())
    folder = folder.parent_path();
  return ::access(folder.c_str(), W_OK) == 0
             ? std::string()
             : fmt::format("{} cannot be written to", folder.string());
}

/// Where one op is built and lies.
class OpPlace {
 public:
  OpPlace(const PlannedWheel& planned, fs::path folder)
      : folder_(std::move(folder)), request_(request_of(planned)) {}

  const fs::path& folder() const { return folder_; }
  fs::path lock() const { return folder_ / "lock"; }

  /// The package that was made last, if it was from these sources.
  std::optional<fs::path> made_before() const {
    std::error_code absent;
    if (!fs::is_regular_file(memory(), absent))
      return std::nullopt;
    const std::vector<std::string> words = split_words(read_file(memory(), 4096));
    if (words.size() != 2 || words[0] != request_ ||
        !fs::is_directory(packages() / words[1], absent))
      return std::nullopt;
    return packages() / words[1];
  }

  fs::path lay_out(const std::vector<WheelFile>& files) const {
    fs::path package = lay_out_package(files, packages());
    write_file(memory(), fmt::format("{} {}\n", request_, package.filename().string()), 0644,
               Outlives::process);
    return package;
  }

 private:
  fs::path packages() const { return folder_ / "packages"; }
  fs::path memory() const { return folder_ / "made"; }

  fs::path folder_;
  std::string request_;
};

/// The package: made now, or, where nothing can be made, what was made before.
fs::path package_of(const PlannedWheel& planned, const OpPlace& place, Session& session) {
  const std::string& name = planned.plan.ops.front().name;
  const std::string obstacle = obstacle_of(planned.plan, place.folder());
  if (!obstacle.empty()) {
    if (const std::optional<fs::path> package = place.made_before()) {
      session.status().remark(obstacle + "; what was built before from these sources is used");
      return *package;
    }
    throw Error(fmt::format("{} cannot be built: {}", name, obstacle),
                "install the compiler or set CXX; name a folder with TORCH_EXTENSIONS_DIR",
                ExitStatus::build_failed);
  }
  const FileLock lock(place.lock(), [&](const std::string& owner) {
    session.status().remark(fmt::format("{} is being built by {}; waiting", name, owner));
  });
  FileHashes hashes(FileHashes::memory_in(cache_folder(session.options())));
  run_build(planned.plan, place.folder(), session, hashes);
  return place.lay_out(package_files(planned));
}

}  // namespace

ExitStatus jit(Session& session) {
  const std::string& name = session.options().action;
  PlannedWheel planned = plan_wheel(session, name);
  refuse_silent_python(planned.builder);
  for (const std::string& note : planned.plan.notes)
    session.status().warning(note);
  planned.folder = extensions_folder() / "ds-deploy" / environment_key(planned) / name;
  const OpPlace place(planned, planned.folder);
  const fs::path package =
      with_context(fmt::format("building {} in {}", name, planned.folder.string()),
                   [&] { return package_of(planned, place, session); });
  const fs::path library = package / library_path(planned.plan.ops.front());
  const nlohmann::ordered_json json = {{"schema", "ds-deploy.jit/1"},
                                       {"op", name},
                                       {"library", library.string()},
                                       {"package", package.string()}};
  const std::string text =
      session.options().json
          ? json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n"
          : library.string() + "\n";
  std::fputs(text.c_str(), stdout);
  return ExitStatus::ok;
}

}  // namespace ds
