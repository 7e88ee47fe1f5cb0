// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"

#include <system_error>

namespace ds {
namespace {

std::string list_problems(const std::vector<Problem>& problems) {
  std::string text;
  for (const Problem& problem : problems) {
    if (!text.empty())
      text += '\n';
    text += problem.file;
    if (problem.line > 0)
      text += ':' + std::to_string(problem.line);
    if (problem.line > 0 && problem.column > 0)
      text += ':' + std::to_string(problem.column);
    text += ": " + problem.what;
    if (!problem.fix.empty())
      text += "; " + problem.fix;
  }
  return text;
}

}  // namespace

InputError::InputError(std::vector<Problem> problems)
    : Error(list_problems(problems), {}, ExitStatus::usage), problems_(std::move(problems)) {}

std::string errno_text(int number) {
  return std::generic_category().message(number);
}

}  // namespace ds
