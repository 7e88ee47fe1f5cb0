// SPDX-License-Identifier: Apache-2.0
//
// The keys of a run, shared by all sessions: what the user's agents hold, and key files, which an
// agent of our own reads. Everything is looked at once, when the first host needs it.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "transport/agent_client.h"
#include "transport/own_agent.h"
#include "transport/ssh_config.h"

namespace ds {

struct KeyFile {
  bool exists = false;      ///< the private half
  std::string blob;         ///< public half; empty: unknown
  std::string certificate;  ///< of FILE-cert.pub; empty: none
};

struct AgentKeys {
  std::vector<AgentKey> keys;
  std::string problem;  ///< why there are none; clean
};

class KeyRing {
 public:
  /// Public half and certificate of a key file. Blocks for a few ms (ssh-keygen) if there is no
  /// FILE.pub.
  const KeyFile& key_file(const std::filesystem::path& file);
  /// The blob in a file of one public key or certificate; empty if it cannot be read.
  static std::string public_blob(const std::filesystem::path& file);

  /// What the agent behind `socket` holds, once somebody has asked it.
  const AgentKeys* agent(const std::string& socket) const;
  void remember_agent(const std::string& socket, AgentKeys keys);
  /// A host's time was over while the agent was silent: the others go on without it.
  void give_up_agent(const std::string& socket);

  /// Whether key files can be signed with at all (ssh-agent, ssh-add).
  bool can_sign_with_files();
  /// Makes sure that own_socket() signs with `file`'s key; see OwnAgent::add(), but a passphrase
  /// that was refused once is not asked again. Returns why it cannot, or nothing.
  const std::string& unlock(const std::filesystem::path& file);
  std::string own_socket() const { return own_.socket(); }

  /// The person at the terminal answers the servers' questions no more.
  void give_up_questions() { answers_questions_ = false; }
  bool answers_questions() const { return answers_questions_; }

 private:
  std::map<std::filesystem::path, KeyFile> files_;
  std::map<std::filesystem::path, std::string> unlocked_;  ///< file: problem
  std::map<std::string, AgentKeys> agents_;
  std::optional<bool> can_sign_;
  OwnAgent own_;
  bool answers_questions_ = true;
};

}  // namespace ds
