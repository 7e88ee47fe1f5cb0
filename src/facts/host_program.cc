// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "base/text.h"
#include "facts/facts.h"

namespace ds {

Exec host_program(const Host& host, const std::string& python,
                  const std::vector<std::string>& files, const std::string& request, bool as_job) {
  std::string source;
  for (const std::string& file : files)
    source += template_text(file);
  Exec exec;
  exec.script = "cd /\n";
  if (!host.env_script.empty())
    exec.script += ". " + shell_path(host.env_script) + " < /dev/null\n";
  // With -c the first entry of sys.path is "", the current folder.
  exec.script += fmt::format(
      "exec {} {} -c 'import sys; sys.path[:] = [entry for entry in sys.path if entry]; "
      "exec(compile(sys.stdin.buffer.read({}), \"ds-deploy\", \"exec\"))'",
      shell_path(python), as_job ? "-B" : "-I -B", source.size());
  exec.input.bytes = request.empty() ? source : source + request + "\n";
  return exec;
}

}  // namespace ds
