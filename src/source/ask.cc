// SPDX-License-Identifier: Apache-2.0
#include "source/ask.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "base/text.h"
#include "process/process.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

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

std::string ask(const Question& question) {
  std::string script;
  for (const std::string& name : question.scripts)
    script += template_text(name);
  const std::string nonce = random_nonce();
  Command command;
  command.argv = {program_of(question.python), "-B", "-c", script, nonce, question.request};
  command.cwd = question.work;
  command.environment = question.environment;
  command.environment.push_back("TMPDIR=" + question.work.string());
  const CommandResult result = run_command(command, question.limit);
  std::string answer = answer_in(result, nonce);
  if (answer.empty()) {
    throw Error(fmt::format("{} gave no answer about {}: {}", question.python, question.about,
                            last_words(result, question.limit)),
                "check that it is a Python of 3.8 or newer that starts, or name another with "
                "--python",
                ExitStatus::build_failed);
  }
  return answer;
}

}  // namespace ds
