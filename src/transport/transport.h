// SPDX-License-Identifier: Apache-2.0
//
// The door to the hosts. One thread drives every session: start() queues a remote command and
// returns at once, run() turns the event loop until nothing is under way and calls `done` for each
// command as it ends. `done` may start() more. A host has one connection, kept between commands,
// and one more for each conversation with it.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/endpoint.h"
#include "transport/learn_host_key.h"

namespace ds {

/// A text that many hosts get.
using SharedText = std::shared_ptr<const std::string>;

/// What a command reads on its standard input: `head`, `bytes` and `tail`, then `file`, if one is
/// named, from `offset` to its end.
struct ExecInput {
  std::string bytes;
  std::filesystem::path file;
  std::uint64_t offset = 0;
  SharedText head = nullptr, tail = nullptr;

  bool empty() const { return text_size() == 0 && file.empty(); }
  /// Of all but the file.
  std::size_t text_size() const {
    return bytes.size() + (head ? head->size() : 0) + (tail ? tail->size() : 0);
  }
};

struct Exec {
  std::string script;  ///< POSIX sh, any text; the transport quotes it for whatever login shell
  ExecInput input;
  /// Without the time in which TransportOptions::bytes_per_second held its file back.
  std::chrono::milliseconds time_limit = std::chrono::seconds(120);
  std::size_t output_limit = 16u << 20;  ///< bytes of stdout and stderr together; more ends it
  bool guarded = true;   ///< what it started on the host is ended when the connection is
  bool fresh = false;    ///< logs in anew: the endpoint's kept connection, if idle, is closed first
  bool as_self = false;  ///< of a local endpoint: never by sudo
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

/// One remote command that stays: it is told things on its stdin and says lines on its stdout, for
/// as long as its owner keeps this. Destroying it ends the command and closes its connection, at
/// any time, inside `heard` and `done` too; neither is called from then on. No method blocks or
/// calls them. Once the conversation is over, and once the transport is gone, methods do nothing.
///
/// It is *under way*, and keeps run() from returning, until its command has begun, while something
/// that was sent is not written, while an answer is awaited, and from end() on. Else it merely
/// waits.
class Conversation {
 public:
  /// Input of this size is an upload: it weighs, and waits for its turn in the fan-out.
  static constexpr std::uint64_t kUpload = 64 * 1024;
  /// A line of stdout that is longer ends it as `flooded`.
  static constexpr std::size_t kLongestLine = 256 * 1024;
  /// What is kept of stderr: its end.
  static constexpr std::size_t kKeptErr = 64 * 1024;

  virtual ~Conversation() = default;
  /// Appends `input` to its stdin, behind what was sent before and not before it has begun. An
  /// answer is awaited from now on, and answered() has to be called within `limit` of the last byte
  /// being written, else it ends as `timed_out`; while it is written
  /// TransportOptions::stall_timeout bounds the time without a byte that could go. The newest limit
  /// is the one that counts. With a limit of 0 no answer is awaited, and one that is awaited
  /// already goes on being so. An empty `input` with a limit awaits something that it says by
  /// itself. A file that cannot be read ends it as `lost`.
  virtual void send(ExecInput input, std::chrono::milliseconds limit) = 0;
  /// Everything that was sent is answered: no limit runs on. Mostly called from `heard`.
  virtual void answered() = 0;
  /// Closes its stdin behind what was sent; nothing more can be sent. It has to end within `limit`
  /// of that, else it is `timed_out`.
  virtual void end(std::chrono::milliseconds limit) = 0;
  /// False once `done` was called or is about to be.
  virtual bool open() const = 0;
  /// Bytes of files that were sent, of all requests together; stays when it is over.
  virtual std::uint64_t sent() const = 0;
};

class Transport {
 public:
  using Done = std::function<void(ExecResult)>;
  using Heard = std::function<void(std::string_view line)>;
  virtual ~Transport() = default;
  /// Queues `exec` on `endpoint`. Never blocks, never calls `done` itself.
  virtual void start(const Endpoint& endpoint, Exec exec, Done done) = 0;
  /// Queues a command that stays, on a connection of its own: the endpoint's kept one if that is
  /// idle. Never blocks, never calls back itself. `exec.time_limit` bounds the time from the login
  /// to its beginning, `exec.output_limit` what it says (both streams) after one send() and before
  /// the next; `exec.input` is sent first, with no answer awaited.
  ///
  /// `heard` gets each complete line of stdout without its newline, hostile text and the noise of a
  /// login shell too, from the beginning of the command on. `done` is called once, when the command
  /// has ended or the connection broke: `out` is what came behind the last complete line, `err` the
  /// end of stderr, `sent_bytes` as Conversation::sent(). If it ended well, its connection is kept.
  virtual std::unique_ptr<Conversation> converse(const Endpoint& endpoint, Exec exec, Heard heard,
                                                 Done done) = 0;
  /// Until nothing is queued or under way. A conversation that merely waits is looked at once: if
  /// its connection has ended, it is done (`lost`).
  ///
  /// Throws Interrupted, and what callbacks throw. Then commands of start() are forgotten, their
  /// connections and idle ones are closed. Conversations whose command has begun live on as they
  /// are: what was sent and is not written goes on at the next run(), limits run on, and they can
  /// be sent something more. Those that have not begun are closed, and `done` gets `lost` at the
  /// next run(). After clear_interrupt() everything can be used again.
  virtual void run() = 0;
  /// As run(), but for `time` at least: conversations that merely wait are served, so that a server
  /// that asks whether we live gets its answer.
  virtual void attend(std::chrono::milliseconds time) = 0;
  /// Closes the endpoint's kept connection, if there is one and it is idle.
  virtual void hang_up(const Endpoint& endpoint) = 0;
  /// Error (usage) if this process may not open the files that a conversation with each of
  /// `endpoints` at one time needs, after raising its soft limit to the hard one. They are 1 for a
  /// host, 2 behind a jump host or a ProxyCommand, 3 where a process serves it (local, the system's
  /// ssh); 3 more for each of the fan-out's logins and uploads, and 40 for all else. Nothing is
  /// connected; ssh is asked about hosts that are new, as by run().
  virtual void refuse_too_many(const std::vector<Endpoint>& endpoints) = 0;
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
  /// Of the files of all inputs together, but for those of local endpoints; 0: as many as can be.
  std::uint64_t bytes_per_second = 0;
  std::filesystem::path cache;  ///< folder for what ssh -G said; empty: not kept
};

/// Local endpoints run /bin/sh here, in "/"; ssh endpoints go through libssh2, or the system's ssh
/// where libssh2 cannot do what the host wants.
std::unique_ptr<Transport> make_transport(TransportOptions options);

/// Bytes of files that this process sent to hosts; any thread may ask.
std::uint64_t file_bytes_sent();

/// The command line that runs `script` under whatever login shell (sh, csh, fish): brief, ASCII,
/// one line. Exposed for its test.
std::string login_shell_command(const std::string& script);

}  // namespace ds
