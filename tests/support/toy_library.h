// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

#include "base/file.h"
#include "support/shell.h"

namespace ds {

/// Compiles C++ or assembler to a shared library in `folder`; empty, after saying why, if there is
/// no compiler that takes these flags.
inline std::filesystem::path toy_library(const std::filesystem::path& folder,
                                         const std::string& name, const std::string& source,
                                         const std::string& flags, const std::string& test) {
  const std::filesystem::path file = folder / name;
  const std::filesystem::path code = file.string() + (source.starts_with('.') ? ".s" : ".cc");
  write_file(code, source);
  const ShellResult made = shell("cd '" + folder.string() + "' && g++ -shared -fPIC -o '" +
                                 file.string() + "' '" + code.string() + "' " + flags);
  if (made.status == 0)
    return file;
  std::cout << "SKIPPED: " << test << ": g++ " << flags << ": "
            << made.output.substr(0, made.output.find('\n')) << std::endl;
  return {};
}

}  // namespace ds
