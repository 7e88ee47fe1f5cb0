// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "base/text.h"
#include "process/process.h"
#include "source/answer.h"
#include "source/includes.h"
#include "source/source.h"
#include "source/unpack.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

std::string script() {
  std::string all;
  for (const char* name : {"torch_stub.py", "in_child.py", "ask_op.py", "read_source.py"})
    all += template_text(name);
  return all;
}

std::string request(const fs::path& tree, const SourceOptions& options) {
  nlohmann::json stub = nullptr;
  if (options.stub)
    stub = {{"version", options.stub->version}, {"cuda", options.stub->cuda}};
  return nlohmann::json({{"tree", tree.string()},
                         {"limit", options.limit.count()},
                         {"op_limit", options.op_limit.count()},
                         {"stub", stub}})
      .dump();
}

/// Its folder, unpacked if it is an archive.
fs::path folder_of(const fs::path& path, const fs::path& cache) {
  std::error_code failure;
  const fs::path whole = fs::canonical(path, failure);
  if (failure) {
    throw Error(fmt::format("cannot read the source {}: {}", path.string(), failure.message()),
                "name a folder or an sdist", ExitStatus::usage);
  }
  const fs::path folder = fs::is_directory(whole) ? whole : unpack_source(whole, cache);
  if (clean_line(folder.string(), 4096) != folder.string()) {
    throw Error("the path of the source has characters that no command can hold: " +
                    clean_line(folder.string()),
                "move the source", ExitStatus::usage);
  }
  return folder;
}

/// As it is called from another folder.
std::string program_of(const std::string& python) {
  return python.find('/') == std::string::npos ? python
                                               : fs::absolute(expand_home(python)).string();
}

/// The last line that the interpreter wrote, or how it ended.
std::string last_words(const CommandResult& result, std::chrono::seconds limit) {
  std::string how = fmt::format("it ended with status {}", result.exit_status);
  if (result.timed_out)
    how = fmt::format("it took longer than {}", human_seconds(static_cast<double>(limit.count())));
  else if (result.signal != 0)
    how = fmt::format("it ended by signal {}", result.signal);
  const std::vector<std::string> said = lines(trim(result.errors));
  return said.empty() ? how : how + ": " + clean_line(said.back());
}

std::string answer_in(const CommandResult& result, const std::string& nonce) {
  for (const std::string& line : lines(result.output)) {
    if (line.starts_with(nonce + " "))
      return line.substr(nonce.size() + 1);
  }
  return {};
}

}  // namespace

SourceTree read_source(const fs::path& path, const std::string& python,
                       const SourceOptions& options) {
  const fs::path tree = folder_of(path, options.cache);
  // Whatever the tree's code leaves in TMPDIR goes with it.
  const TempDir work("ds-deploy-source");
  const std::string nonce = random_nonce();
  const std::chrono::seconds limit = options.limit + std::chrono::seconds(60);
  Command command;
  command.argv = {program_of(python), "-B", "-c", script(), nonce, request(tree, options)};
  command.cwd = work.path();
  command.environment = options.environment;
  command.environment.push_back("TMPDIR=" + work.path().string());
  const CommandResult result = run_command(command, limit);
  const std::string answer = answer_in(result, nonce);
  if (answer.empty()) {
    throw Error(fmt::format("{} gave no answer about the source {}: {}", python, path.string(),
                            last_words(result, limit)),
                "check that it is a Python of 3.8 or newer that starts, or name another with "
                "--python",
                ExitStatus::build_failed);
  }
  SourceTree read = parse_source_answer(answer, path.string(), python);
  read.root = tree;
  find_torch_units(read);
  return read;
}

}  // namespace ds
