// SPDX-License-Identifier: Apache-2.0
#include "audit/python_tag.h"

#include <optional>

#include "base/text.h"

namespace ds {
namespace {

struct Interpreter {
  int major = 0, minor = 0;
  std::string flags;  ///< "t" is free-threaded, "d" a debug build
};

std::optional<Interpreter> interpreter_of(const PythonFacts& python) {
  const std::vector<std::string> pieces = split(python.version, '.');
  if (pieces.size() < 2)
    return std::nullopt;
  const auto major = parse_integer(pieces[0], 2, 9);
  const auto minor = parse_integer(pieces[1], 0, 99);
  if (!major || !minor)
    return std::nullopt;
  Interpreter found{static_cast<int>(*major), static_cast<int>(*minor), {}};
  const std::string mark = "cpython-" + pieces[0] + pieces[1];
  if (python.soabi.starts_with(mark)) {
    const std::string rest = python.soabi.substr(mark.size());
    found.flags = rest.substr(0, rest.find('-'));
  }
  return found;
}

std::string digits_of(const Interpreter& interpreter) {
  return std::to_string(interpreter.major) + std::to_string(interpreter.minor);
}

/// The minor version of "cp39" or "py39" for major version 3; nothing for other tags.
std::optional<long> minor_of(std::string_view tag, std::string_view family, int major) {
  const std::string head = std::string(family) + std::to_string(major);
  if (!tag.starts_with(head))
    return std::nullopt;
  return parse_integer(tag.substr(head.size()), 0, 99);
}

bool pair_fits(const std::string& python, const std::string& abi, const Interpreter& here) {
  const std::string exact = "cp" + digits_of(here);
  if (abi == "none") {
    const std::optional<long> minor = minor_of(python, "py", here.major);
    return python == "py" + std::to_string(here.major) || python == exact ||
           (minor && *minor <= here.minor);
  }
  if (abi == "abi3") {
    const std::optional<long> minor = minor_of(python, "cp", here.major);
    const bool free_threaded = here.flags.find('t') != std::string::npos;
    return minor && *minor <= here.minor && !free_threaded;
  }
  return python == exact && abi == exact + here.flags;
}

}  // namespace

std::string python_tag_of(const PythonFacts& python) {
  const std::optional<Interpreter> here = interpreter_of(python);
  return here ? "cp" + digits_of(*here) + here->flags : std::string();
}

bool tag_fits(const std::string& tag, const PythonFacts& python) {
  const std::optional<Interpreter> here = interpreter_of(python);
  const std::vector<std::string> pieces = split(tag, '-');
  if (!here || pieces.size() < 2)
    return false;
  for (const std::string& language : split(pieces[0], '.')) {
    for (const std::string& abi : split(pieces[1], '.')) {
      if (pair_fits(language, abi, *here))
        return true;
    }
  }
  return false;
}

}  // namespace ds
