// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/wait.h>

#include <cstdio>
#include <iostream>
#include <string>

namespace ds {

struct ShellResult {
  int status = -1;
  std::string output;  ///< stdout and stderr
};

/// Runs a line of sh to its end.
inline ShellResult shell(const std::string& line) {
  ShellResult result;
  std::FILE* pipe = ::popen(("{ " + line + "\n} 2>&1").c_str(), "r");
  if (pipe == nullptr)
    return result;
  char buffer[4096];
  for (std::size_t got = 0; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) {
    result.output.append(buffer, got);
  }
  const int status = ::pclose(pipe);
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return result;
}

/// False if the shell cannot run `probe`; then the skip is said where the runner counts it.
inline bool needs(const std::string& probe, const std::string& test, const std::string& reason) {
  if (shell(probe).status == 0)
    return true;
  std::cout << "SKIPPED: " << test << ": " << reason << std::endl;
  return false;
}

}  // namespace ds
