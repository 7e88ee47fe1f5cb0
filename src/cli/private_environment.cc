// SPDX-License-Identifier: Apache-2.0
#include "cli/private_environment.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/text.h"
#include "cache/cache.h"
#include "cli/run_build.h"
#include "process/process.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

/// What went wrong, in pip's words: its last lines that say ERROR, else the last one.
std::string last_words(const CommandResult& result) {
  if (result.timed_out)
    return "it took too long";
  std::string errors, last;
  for (const std::string& line : lines(result.output + "\n" + result.errors)) {
    const std::string text(trim(line));
    if (text.starts_with("ERROR: "))
      errors += (errors.empty() ? "" : "; ") + text.substr(7);
    if (!text.empty())
      last = text;
  }
  return clean_line(errors.empty() ? last : errors, 400);
}

void run(const std::vector<std::string>& words, const fs::path& requirements,
         const std::string& python) {
  const CommandResult result = run_command({words, {}, {}}, std::chrono::hours(2));
  if (result.ok())
    return;
  throw Error(fmt::format("no environment of {} could be made from {}: '{}' failed: {}", python,
                          requirements.string(), words[1] + " " + words[2], last_words(result)),
              "make one by hand, and name its folder with --env", ExitStatus::build_failed);
}

}  // namespace

std::string private_environment(const fs::path& requirements, const std::string& python,
                                Session& session) {
  const std::string wanted = read_file(requirements, 1u << 20);
  const fs::path program = find_program(python);
  std::error_code failure;
  const std::string origin = fs::canonical(program, failure).string();
  const fs::path folder =
      cache_folder(session.options()) / "environments" /
      sha256_hex(fmt::format("ds-deploy.environment/1\n{}\n{}", origin, wanted)).substr(0, 16);
  const fs::path made = folder / "complete", interpreter = folder / "bin/python";
  make_folders(folder.parent_path());
  const FileLock lock(folder.string() + ".lock", [&](const std::string& owner) {
    session.status().remark(
        fmt::format("the environment for {} is being made by {}; waiting", python, owner));
  });
  if (fs::exists(made))
    return interpreter.string();
  fs::remove_all(folder);
  session.status().remark(fmt::format("{}: pip makes an environment of {} in {}", python,
                                      requirements.string(), folder.string()));
  run({python, "-m", "venv", folder.string()}, requirements, python);
  run({interpreter.string(), "-m", "pip", "install", "--no-input", "--disable-pip-version-check",
       "-r", requirements.string(), "setuptools"},
      requirements, python);
  write_file(made, wanted);
  return interpreter.string();
}

}  // namespace ds
