// SPDX-License-Identifier: Apache-2.0
//
// One SSH connection over a connected socket, without blocking: what libssh2 does for us, and
// nothing of what it means. Its source is the only file that names libssh2.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ds {

class SshConnection {
 public:
  enum class Progress {
    done,
    waiting,  ///< call the same function again when the socket is ready
    failed,   ///< last_error() says why
  };
  enum class Stream { out, err };
  struct Exit {
    int status = 0;      ///< 0 also if the server sent none
    std::string signal;  ///< "KILL", or empty
  };

  /// Takes a host key of one of `known_types` if the server has one, else any.
  SshConnection(int socket, const std::vector<std::string>& known_types);
  ~SshConnection();
  SshConnection(const SshConnection&) = delete;
  SshConnection& operator=(const SshConnection&) = delete;

  Progress handshake();
  bool no_common_algorithm() const;  ///< why handshake() failed
  std::string host_key() const;      ///< the server's key blob, after handshake()

  /// Fills `methods` with what the server takes, as "publickey,password"; empty if it wants no
  /// login.
  Progress login_methods(const std::string& user, std::string& methods);
  Progress login_with_file(const std::string& user, const std::string& private_key);
  bool unusable_file() const;  ///< why login_with_file() failed: no key, or one with a passphrase

  /// The keys of the agent at `socket`: how many, 0 also if it does not answer.
  std::size_t ask_agent(const std::string& socket);
  /// The agent's next key; `failed` when that one was refused, `done` if it opened the door.
  Progress login_with_agent(const std::string& user);
  bool agent_has_more() const;
  void close_agent();

  Progress open_channel();
  Progress exec(const std::string& command);
  /// Bytes taken. 0: none now. Nothing: the command reads no more.
  std::optional<std::size_t> put(std::string_view bytes);
  Progress end_input();
  /// Appends what has come, up to `most` bytes. `waiting`: that is all for now.
  Progress get(Stream stream, std::string& into, std::size_t most);
  bool ended() const;
  Progress close_channel(Exit& exit);

  bool wants_to_send() const;  ///< it waits until the socket takes more
  std::string last_error() const;
  static std::string library_version();
  static bool signs_rsa_with_sha2();  ///< older libraries sign with SHA-1, which servers refuse

 private:
  struct Handles;
  std::unique_ptr<Handles> handles_;
};

}  // namespace ds
