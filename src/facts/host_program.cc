// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "base/text.h"
#include "facts/facts.h"

namespace ds {

SharedText program_text(const std::vector<std::string>& files) {
  std::string text;
  for (const std::string& file : files)
    text += template_text(file);
  return std::make_shared<const std::string>(std::move(text));
}

Exec host_program(const Host& host, const std::string& python, const SharedText& program,
                  const std::string& request, bool as_job) {
  Exec exec;
  exec.script = "cd /\n";
  if (!host.env_script.empty())
    exec.script += ". " + shell_path(host.env_script) + " < /dev/null\n";
  // What a job asks for is its own.
  exec.script += "unset DS_DEPLOY_RELEASE\n";
  // With -c the first entry of sys.path is "", the current folder.
  exec.script += fmt::format(
      "exec {} {} -c 'import sys; sys.path[:] = [entry for entry in sys.path if entry]; "
      "exec(compile(sys.stdin.buffer.read({}), \"ds-deploy\", \"exec\"))'",
      shell_path(python), as_job ? "-B" : "-I -B", program->size());
  exec.input.head = program;
  exec.input.bytes = request.empty() ? "" : request + "\n";
  return exec;
}

}  // namespace ds
