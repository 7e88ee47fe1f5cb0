// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

#include "base/file.h"
#include "base/text.h"
#include "facts/facts.h"
#include "support/fake_transport.h"
#include "support/input_text.h"
#include "support/recording_status.h"
#include "support/shell.h"

namespace ds {

/// A host whose tools lie in one folder, put first in PATH by its env-script.
struct Bench {
  TempDir folder;
  Inventory inventory = local_inventory();
  ProbeOptions options;
  std::string prelude;  ///< sh text before the probe

  Bench() {
    std::filesystem::create_directory(folder.path() / "bin");
    env("PATH=" + (folder.path() / "bin").string() + ":$PATH\n");
  }
  void env(const std::string& text) {
    write_file(folder.path() / "env", text);
    inventory.hosts[0].env_script = (folder.path() / "env").string();
  }
  void tool(const std::string& name, const std::string& body) {
    write_file(folder.path() / "bin" / name, "#!/bin/sh\n" + body + "\n", 0755);
  }

  ExecResult run(const Exec& exec, const std::string& shell_name = "dash") {
    write_file(folder.path() / "in", text_of(exec.input));
    // As a login shell gets it: one word after -c.
    const ShellResult ran = shell(prelude + shell_name + " -c " + shell_quote(exec.script) + " < " +
                                  shell_quote((folder.path() / "in").string()));
    ExecResult result;
    result.exit_status = ran.status;
    result.out = ran.output;
    return result;
  }
  HostFacts ask(const std::string& shell_name = "dash") {
    FakeTransport transport(
        [&](const Endpoint&, const Exec& exec) { return run(exec, shell_name); });
    RecordingStatus status;
    return gather_facts(inventory, options, transport, status).hosts.front();
  }
};

inline bool has_note(const HostFacts& facts, const std::string& text) {
  for (const std::string& note : facts.notes) {
    if (note.find(text) != std::string::npos)
      return true;
  }
  return false;
}

}  // namespace ds
