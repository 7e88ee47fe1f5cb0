// SPDX-License-Identifier: Apache-2.0
//
// A client of ssh-agent that never blocks (draft-ietf-sshm-ssh-agent): one request, one answer, the
// connection is closed behind it. libssh2's own blocks, and so an agent that hangs would hang all.
#pragma once

#include <poll.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "transport/ssh_connection.h"

namespace ds {

struct AgentKey {
  std::string blob;     ///< public key or certificate
  std::string comment;  ///< clean
};

/// An agent that never answers keeps it `waiting` for ever: the caller has the time limit.
class AgentClient {
 public:
  enum class Failure {
    none,
    no_socket,  ///< nothing at that path
    refused,    ///< nobody listens, or not for us
    closed,     ///< it hung up
    malformed,  ///< an answer that breaks the protocol
    declined,   ///< it answered, and does not do it
  };

  explicit AgentClient(std::string socket) : socket_(std::move(socket)) {}

  /// A locked agent (ssh-add -x) says that it holds no keys.
  SshProgress list(std::vector<AgentKey>& keys);

  /// `algorithm` is the one that `data` names: it decides how an RSA key signs. `signature` is what
  /// RFC 4253, section 6.6, has after the algorithm's name.
  SshProgress sign(std::string_view blob, std::string_view data, std::string_view algorithm,
                   std::string& signature);

  void wants(std::vector<pollfd>& waits) const;

  Failure failure() const { return failure_; }
  /// "the ssh agent /run/agent: Connection refused"; clean.
  const std::string& problem() const { return problem_; }

 private:
  enum class Phase { idle, connecting, sending, receiving };

  SshProgress ask(const std::string& message);
  SshProgress connect();
  SshProgress send();
  SshProgress receive();
  SshProgress come_back_later();
  SshProgress refusal(const std::string& what);
  SshProgress fail(Failure failure, const std::string& what);
  bool answer_is(unsigned char type, std::string_view& body) const;
  void end();

  std::string socket_;
  Phase phase_ = Phase::idle;
  Fd fd_;
  Fd timer_;  ///< while the agent's queue of connections is full
  std::string to_send_, answer_;
  Failure failure_ = Failure::none;
  std::string problem_;
};

}  // namespace ds
