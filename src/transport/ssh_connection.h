// SPDX-License-Identifier: Apache-2.0
//
// One SSH connection over a connected socket, without blocking: what libssh2 does for us, and
// nothing of what it means. Its source is the only file that names libssh2.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ds {

enum class SshProgress {
  done,
  waiting,  ///< call the same function again, with the same arguments, when the socket is ready
  failed,   ///< last_error() of the connection says why
};

/// A session channel or a tunnel. While put() has taken nothing of bytes that it was given, only
/// the same put() may follow on the whole connection: libssh2 has half a packet to send.
class SshChannel {
 public:
  enum class Stream { out, err };
  struct Exit {
    int status = 0;      ///< 0 also if the server sent none
    std::string signal;  ///< "KILL", or empty
  };

  virtual ~SshChannel() = default;
  virtual SshProgress exec(const std::string& command) = 0;
  /// Bytes taken. 0: none now. Nothing: the other side reads no more.
  virtual std::optional<std::size_t> put(std::string_view bytes) = 0;
  virtual std::size_t window() const = 0;  ///< bytes that the server allows put() to send
  virtual SshProgress end_input() = 0;
  /// Appends what has come, up to `most` bytes. `waiting`: that is all for now.
  virtual SshProgress get(Stream stream, std::string& into, std::size_t most) = 0;
  virtual bool has_input() const = 0;  ///< get() has something without reading the socket
  virtual bool ended() const = 0;      ///< nothing more will come
  virtual SshProgress close(Exit& exit) = 0;
};

/// Algorithms in order of preference; an empty list leaves the choice to libssh2. Names that it
/// does not know are passed over.
struct SshAlgorithms {
  std::vector<std::string> kex, ciphers, macs, host_keys;  ///< empty: those of libssh2
  std::vector<std::string> known_host_keys;  ///< types on file for this host: these first
};

class SshConnection {
 public:
  SshConnection(int socket, const SshAlgorithms& algorithms);
  ~SshConnection();
  SshConnection(const SshConnection&) = delete;
  SshConnection& operator=(const SshConnection&) = delete;

  /// The kind of algorithm of which libssh2 knows none that was asked for ("cipher"); empty: fine.
  const std::string& lacking() const;

  SshProgress handshake();
  bool no_common_algorithm() const;  ///< why handshake() failed
  std::string host_key() const;      ///< the server's key blob, after handshake()
  std::string server_banner() const;

  /// Fills `methods` with what the server takes, as "publickey,password"; empty if it wants no
  /// login.
  SshProgress login_methods(const std::string& user, std::string& methods);

  /// Public key login (RFC 4252, section 7) with a signature made elsewhere. `sign` is called once
  /// the server has said that it takes the key; while it is `waiting`, so is this.
  using Sign = std::function<SshProgress(std::string_view data, std::string& signature)>;
  SshProgress login_with_key(const std::string& user, const std::string& key_blob,
                             const Sign& sign);
  SshProgress login_with_file(const std::string& user, const std::string& private_key);
  bool unusable_file() const;  ///< why login_with_file() failed: no key, or one with a passphrase

  struct Prompt {
    std::string text;
    bool echo = false;
  };
  using Answer = std::function<std::vector<std::string>(const std::string& instruction,
                                                        const std::vector<Prompt>& prompts)>;
  SshProgress login_interactively(const std::string& user, const Answer& answer);

  SshProgress open_session(std::unique_ptr<SshChannel>& channel);
  SshProgress open_tunnel(const std::string& host, int port, std::unique_ptr<SshChannel>& channel);

  bool wants_to_send() const;  ///< it waits until the socket takes more
  bool lost() const;           ///< the last failure was the connection's end
  std::string last_error() const;
  /// What the server said when it hung up ("Too many authentication failures"), or of the login
  /// (RFC 4252, section 5.4), if this libssh2 hands it over.
  std::string server_words() const;
  static std::string library_version();
  static bool older_than(int major, int minor, int patch);

 private:
  friend struct SshCallbacks;
  struct Handles;
  std::unique_ptr<Handles> handles_;
};

}  // namespace ds
