// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "source/source.h"

namespace ds {

std::string wheel_tag(const SourcePython& python) {
  const std::vector<std::string> pieces = split(python.soabi, '-');
  const std::size_t digits =
      pieces.size() < 3 ? 0 : std::min(pieces[1].find_first_not_of("0123456789"), pieces[1].size());
  if (digits < 2 || pieces[0] != "cpython") {
    throw Error(fmt::format("{} has the ABI '{}', for which no wheel can be named",
                            python.executable, clean_line(python.soabi, 80)),
                "name a CPython with --python", ExitStatus::build_failed);
  }
  return fmt::format("cp{}-cp{}-linux_{}", pieces[1].substr(0, digits), pieces[1], pieces[2]);
}

std::string module_path(const std::string& module, const SourcePython& python) {
  std::string path = module;
  std::replace(path.begin(), path.end(), '.', '/');
  return path + python.ext_suffix;
}

}  // namespace ds
