// SPDX-License-Identifier: Apache-2.0
#include "transport/ssh_login.h"

#include <filesystem>

namespace ds {
SshProgress SshLogin::step() {
  if (!asked_) {
    const SshProgress p = connection_.login_methods(settings_.user, methods_);
    if (p != SshProgress::done) { problem_ = connection_.last_error(); return p; }
    asked_ = true;
    if (methods_.empty()) return p;
  }
  for (; file_ < settings_.identities.size(); ++file_) {
    if (!std::filesystem::exists(settings_.identities[file_])) continue;
    const SshProgress p = connection_.login_with_file(settings_.user, settings_.identities[file_]);
    if (p != SshProgress::failed) return p;
  }
  problem_ = "refused: " + connection_.last_error();
  return SshProgress::failed;
}
}  // namespace ds
