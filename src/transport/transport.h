// SPDX-License-Identifier: Apache-2.0
//
// The door to the hosts. One thread drives every session: start() queues a remote command and
// returns at once, run() turns the event loop until nothing is under way and calls `done` for each
// command as it ends. `done` may start() more. A host has one connection, kept between commands.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/endpoint.h"
#include "transport/learn_host_key.h"

namespace ds {

/// What a command reads on its standard input: `bytes`, then `file`, if one is named, from `offset`
/// to its end.
struct ExecInput {
  std::string bytes;
  std::filesystem::path file;
  std::uint64_t offset = 0;
};

struct Exec {
  std::string script;  ///< POSIX sh, any text; the transport quotes it for whatever login shell
  ExecInput input;
  std::chrono::milliseconds time_limit = std::chrono::seconds(120);
  std::size_t output_limit = 16u << 20;  ///< bytes of stdout and stderr together; more ends it
  bool guarded = true;  ///< what it started on the host is ended when the connection is
};

struct ExecResult {
  enum class Outcome {
    exited,            ///< exit_status is what the command said
    signalled,         ///< killed on the host; `message` names the signal
    timed_out,         ///< took longer than time_limit
    lost,              ///< the connection broke, or ended without an exit status
    flooded,           ///< printed more than output_limit
    unreachable,       ///< no connection: name, route, port, time limit, no SSH server
    login_refused,     ///< reached, but the login was not accepted
    host_key_refused,  ///< unknown, changed or revoked host key
  };
  Outcome outcome = Outcome::exited;
  int exit_status = -1;
  std::string out;  ///< hostile text: clean() before it is shown
  std::string err;
  std::string message;  ///< what happened and what to do, for all but `exited`; clean already
  std::optional<SeenHostKey> host_key;  ///< with host_key_refused: the key that was not taken
  std::uint64_t sent_bytes = 0;
  double seconds = 0;
  bool ok() const { return outcome == Outcome::exited && exit_status == 0; }
};

class Transport {
 public:
  using Done = std::function<void(ExecResult)>;
  virtual ~Transport() = default;
  /// Queues `exec` on `endpoint`. Never blocks, never calls `done` itself.
  virtual void start(const Endpoint& endpoint, Exec exec, Done done) = 0;
  /// Until nothing is queued or under way. Throws Interrupted; then every session is closed.
  virtual void run() = 0;
  /// What a reader of the report should know of how hosts were reached, one line each, clean.
  virtual std::vector<std::string> notes() const { return {}; }
  /// Those of the notes that a person should know before hosts are changed.
  virtual std::vector<std::string> warnings() const { return {}; }
};

enum class SshBackend { automatic, libssh2, openssh };

/// Commands run as root, by sudo(8): as it is (sudo -n), or with a password that is asked for once
/// on the terminal and goes to the hosts on stdin alone.
enum class Sudo { no, yes, ask_password };

struct TransportOptions {
  int fanout = 64;                       ///< handshakes and uploads at one time
  std::filesystem::path ssh_config;      ///< as `ssh -F`; empty: the user's own files
  std::vector<std::string> ssh_options;  ///< as `ssh -o`: "Key=Value"
  SshBackend backend = SshBackend::automatic;
  Sudo sudo = Sudo::no;
  std::chrono::milliseconds connect_timeout = std::chrono::seconds(15);
  std::chrono::milliseconds login_timeout = std::chrono::seconds(30);
  std::chrono::milliseconds stall_timeout = std::chrono::seconds(120);  ///< no byte of an upload
  std::filesystem::path cache;  ///< folder for what ssh -G said; empty: not kept
};

/// Local endpoints run /bin/sh here, in "/"; ssh endpoints go through libssh2, or the system's ssh
/// where libssh2 cannot do what the host wants.
std::unique_ptr<Transport> make_transport(TransportOptions options);

/// The command line that runs `script` under whatever login shell (sh, csh, fish): brief, ASCII,
/// one line. Exposed for its test.
std::string login_shell_command(const std::string& script);

}  // namespace ds
