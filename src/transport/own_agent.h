// SPDX-License-Identifier: Apache-2.0
//
// An ssh-agent of this run alone. It reads key files (through ssh-add), so that no private key is
// parsed here and a passphrase is asked once for all hosts; it ends with us, even if we are killed.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/file.h"
#include "process/process.h"

namespace ds {

class OwnAgent {
 public:
  OwnAgent() = default;
  ~OwnAgent();
  OwnAgent(const OwnAgent&) = delete;
  OwnAgent& operator=(const OwnAgent&) = delete;

  /// ssh-agent and ssh-add are installed.
  static bool possible();

  /// Makes it hold the key of `file`; asks for the passphrase on the terminal if there is one.
  /// Blocks: some 10 ms, or as long as the person takes. Returns why it cannot, or nothing. Throws
  /// Interrupted.
  std::string add(const std::filesystem::path& file);

  std::string socket() const;

 private:
  std::string start();
  std::string add_with_passphrase(const std::filesystem::path& file) const;
  Command ssh_add(const std::filesystem::path& file) const;

  std::optional<TempDir> folder_;
  Child child_;       ///< holds it up: it ends once the child's stdin is closed
  pid_t agent_ = -1;  ///< a child of the child's
};

}  // namespace ds
