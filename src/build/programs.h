// SPDX-License-Identifier: Apache-2.0
//
// What a command runs: compilers are drivers, and the programs behind them make the output.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "cache/cache.h"

namespace ds {

class Programs {
 public:
  /// `memory`: where the programs behind each compiler are remembered between runs.
  Programs(FileHashes& hashes, std::filesystem::path memory);

  /// SHA-256 over the bytes of all programs that this command runs: its first words up to an option
  /// (a launcher, the compiler), the host compiler after -ccbin, and those behind them: for gcc and
  /// clang cc1plus, as, ld and collect2, as -print-prog-name tells; for nvcc cudafe++, cicc, ptxas,
  /// fatbinary, nvlink, its profile and libdevice.
  std::string identity(const std::vector<std::string>& argv);
  void save() const;

 private:
  const std::string& identity_of(const std::string& program);
  std::vector<std::string> behind(const std::string& program, const std::string& hash);

  FileHashes& hashes_;
  std::filesystem::path memory_;
  std::map<std::string, std::vector<std::string>> behind_;  ///< by the hash of the driver
  std::map<std::string, std::string> identities_;           ///< by the name in the command
  bool learned_ = false;
};

}  // namespace ds
