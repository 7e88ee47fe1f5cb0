// SPDX-License-Identifier: Apache-2.0
#include "transport/ssh_login.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/text.h"

namespace ds {

SshConnection::Progress SshLogin::step() {
  if (phase_ == Phase::methods) {
    const Progress asked = ask_methods();
    if (asked != Progress::done || methods_.empty())
      return asked;
    phase_ = Phase::files;
  }
  if (phase_ == Phase::files) {
    const Progress files = try_files();
    if (files != Progress::failed)
      return files;
    phase_ = Phase::agent;
    if (!settings_.agent.empty() && !settings_.identities_only) {
      const std::size_t keys = connection_.ask_agent(settings_.agent);
      tried_.push_back(keys == 0 ? "agent (no answer, or no keys)"
                                 : "agent (" + count(keys, "key") + ")");
    }
  }
  const Progress agent = try_agent();
  if (agent != Progress::waiting)
    connection_.close_agent();
  return agent == Progress::failed ? refuse() : agent;
}

SshConnection::Progress SshLogin::ask_methods() {
  const Progress asked = connection_.login_methods(settings_.user, methods_);
  if (asked == Progress::failed)
    problem_ = "does not say which logins it takes: " + connection_.last_error();
  return asked;
}

SshConnection::Progress SshLogin::try_files() {
  for (; file_ < settings_.identities.size(); ++file_) {
    std::error_code failure;
    const std::string file = settings_.identities[file_].string();
    if (!std::filesystem::exists(file, failure))
      continue;
    const Progress tried = connection_.login_with_file(settings_.user, file);
    if (tried != Progress::failed)
      return tried;
    tried_.push_back(
        file + (connection_.unusable_file() ? " (cannot be used without its passphrase)" : ""));
  }
  return Progress::failed;
}

SshConnection::Progress SshLogin::try_agent() {
  while (connection_.agent_has_more()) {
    const Progress tried = connection_.login_with_agent(settings_.user);
    if (tried != Progress::failed)
      return tried;
  }
  return Progress::failed;
}

SshConnection::Progress SshLogin::refuse() {
  problem_ =
      fmt::format("refused the login of {}: tried {}; it takes {}", settings_.user,
                  tried_.empty() ? "nothing, for no key was found" : join(tried_, ", "), methods_);
  const bool rsa = std::any_of(tried_.begin(), tried_.end(), [](const std::string& key) {
    return key.find("rsa") != std::string::npos;
  });
  if (rsa && !SshConnection::signs_rsa_with_sha2()) {
    problem_ += fmt::format(
        "; libssh2 {} cannot use RSA keys with today's servers: use an ed25519 or ECDSA key",
        SshConnection::library_version());
  }
  return Progress::failed;
}

}  // namespace ds
