// SPDX-License-Identifier: Apache-2.0
//
// The login on a connection whose host key was accepted (RFC 4252): keys in ssh's order, then
// keyboard-interactive, if somebody sits at a terminal.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "transport/login_keys.h"
#include "transport/ssh_connection.h"

namespace ds {

class SshLogin {
 public:
  SshLogin(SshConnection& connection, const SshSettings& settings, KeyRing& ring)
      : connection_(connection), settings_(settings), ring_(ring) {}
  ~SshLogin();
  SshLogin(const SshLogin&) = delete;
  SshLogin& operator=(const SshLogin&) = delete;

  /// `waiting`: again, when what wants() names is ready if waits_for_agent(), else the connection's
  /// socket. Blocks while a person types. Throws Interrupted.
  SshProgress step();

  bool waits_for_agent() const { return agent_ != nullptr; }
  /// The agent's descriptor, while it is the agent that is waited for; the socket's events mean
  /// nothing to step() then.
  void wants(std::vector<pollfd>& waits) const;

  /// A person had to answer, and would have to again.
  bool asked_person() const { return asked_person_; }
  /// After `failed`, what the server did: "refused the login of NAME: tried ...; it takes ...".
  const std::string& problem() const { return problem_; }
  /// After `failed`, why the ssh program would get further; empty: it would not.
  const std::string& better_by_openssh() const { return better_by_openssh_; }
  /// The server took a key and closed the door all the same: rules of the account, so that trying
  /// again only brings penalties.
  bool after_acceptance() const { return after_acceptance_; }

 private:
  enum class Phase { methods, agent, keys, questions, done };

  SshProgress advance();
  SshProgress ask_methods();
  SshProgress ask_agent();
  SshProgress try_keys();
  SshProgress offer(const LoginKey& key);
  SshProgress sign(const LoginKey& key, std::string_view data, std::string& signature);
  SshProgress offer_file(const LoginKey& key);
  void give_up(const LoginKey& key, const std::string& why);
  bool may_ask_person();
  SshProgress ask_person();
  std::vector<std::string> answers(const std::string& instruction,
                                   const std::vector<SshConnection::Prompt>& prompts);
  SshProgress refuse();
  SshProgress lost();
  std::string who() const;
  std::string what_was_tried() const;
  bool takes(const std::string& method) const;

  SshConnection& connection_;
  const SshSettings& settings_;
  KeyRing& ring_;
  Phase phase_ = Phase::methods;
  std::string methods_;
  std::vector<LoginKey> keys_;
  std::size_t next_key_ = 0;
  std::unique_ptr<AgentClient> agent_;  ///< while it owes an answer
  // Of the key that is offered now:
  bool taken_ = false;         ///< the server would let it in
  bool wants_unlock_ = false;  ///< its file must be read before it can sign
  bool unlocked_ = false;
  std::string cannot_sign_;
  // Of the whole login:
  bool signed_ = false;  ///< a signature was sent, so that what follows may be a second factor
  std::size_t offered_ = 0;
  bool asking_ = false;
  int questions_ = 0;  ///< times that the person was asked
  bool asked_person_ = false;
  bool gave_up_ = false;         ///< the person did
  bool needs_terminal_ = false;  ///< somebody could have been asked
  std::vector<std::string> tried_, notes_;
  std::string problem_, better_by_openssh_;
  bool after_acceptance_ = false;
};

}  // namespace ds
