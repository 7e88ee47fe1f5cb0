// SPDX-License-Identifier: Apache-2.0
//
// One host over SSH: connect, handshake, host key, login, then one command after the other over the
// same connection.
#include <fmt/format.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/random.h"
#include "base/text.h"
#include "transport/input_stream.h"
#include "transport/known_hosts.h"
#include "transport/session.h"
#include "transport/ssh_config.h"
#include "transport/ssh_connection.h"
#include "transport/ssh_login.h"
#include "transport/tcp_connection.h"

namespace ds {
namespace {

/// Bytes that one session sends or reads before the others get their turn.
constexpr std::size_t kTurn = 1u << 20;

/// Why a host key is not taken, and what to do.
std::string host_key_problem(const KeyCheck& check, const SshSettings& settings,
                             std::string_view key) {
  const std::string name = known_host_name(settings.host_key_name, settings.port);
  const std::string print = key_fingerprint(key);
  if (check.verdict == KeyVerdict::revoked)
    return fmt::format("the host key of {} is revoked: {} in {}", name, print, check.where);
  if (check.verdict == KeyVerdict::changed) {
    return fmt::format(
        "the host key of {} changed: {} is not the key of {}; if that is right, remove the old "
        "one: ssh-keygen -R '{}'",
        name, print, check.where, name);
  }
  const std::string file =
      settings.known_hosts.empty() ? "known_hosts" : settings.known_hosts.front().string();
  return fmt::format(
      "the host key of {} is not known: {}; if it is the right one, add it: ssh-keyscan -p {} {} "
      ">> {}",
      name, print, settings.port, settings.hostname, file);
}

enum class Phase { connect, handshake, login, idle, open, exec, transfer, close };

class SshSession : public HostSession {
 public:
  SshSession(const Endpoint& endpoint, const TransportOptions& options)
      : endpoint_(endpoint), options_(options) {}
  ~SshSession() override { drop(); }
  SshSession(const SshSession&) = delete;
  SshSession& operator=(const SshSession&) = delete;

  void begin(Exec exec) override;
  void wants(std::vector<pollfd>& waits) const override;
  std::optional<ExecResult> step() override;
  Clock::time_point deadline() const override;
  ExecResult expire() override;

 private:
  using Outcome = ExecResult::Outcome;
  using Progress = SshConnection::Progress;

  void connect();
  Progress advance();  ///< one step; `failed` once result_ is complete
  Progress after_connect();
  Progress handshake();
  Progress check_key();
  Progress login();
  Progress open_channel();
  Progress start_command();
  Progress transfer();
  bool feed();
  bool read_all();
  Progress close_channel();
  void finish(const SshConnection::Exit& exit);
  Progress fail(Outcome outcome, const std::string& message);
  Progress enter(Phase phase);
  void drop();
  std::string where() const;

  Endpoint endpoint_;
  TransportOptions options_;
  SshSettings settings_;
  TcpConnection tcp_;
  std::unique_ptr<SshConnection> connection_;
  std::unique_ptr<SshLogin> login_;
  Phase phase_ = Phase::connect;
  bool yielded_ = false;  ///< gave way to other sessions with work left
  bool reused_ = false;   ///< the connection served a command before
  Clock::time_point connect_began_, began_;
  Exec exec_;
  std::string command_, nonce_;
  std::unique_ptr<InputStream> input_;
  bool input_ended_ = false;
  ExecResult result_;
  bool over_ = false;  ///< result_ is complete
};

void SshSession::begin(Exec exec) {
  exec_ = std::move(exec);
  result_ = {};
  over_ = false;
  input_ended_ = false;
  began_ = Clock::now();
  input_ = std::make_unique<InputStream>(exec_.input);
  nonce_ = random_nonce();
  // libssh2 gives status 0 also when none arrived, so the command reports its own end.
  command_ = login_shell_command("(\n" + exec_.script + "\n)\nprintf '\\n%s %s\\n' " + nonce_ +
                                 " \"$?\" >&2");
  reused_ = phase_ == Phase::idle;
  if (reused_) {
    phase_ = Phase::open;
  } else {
    connect();
  }
  yielded_ = true;
}

void SshSession::connect() {
  connect_began_ = Clock::now();
  phase_ = Phase::connect;
  settings_ = resolve_ssh_settings(endpoint_, options_);
  if (!settings_.problem.empty()) {
    fail(Outcome::unreachable, endpoint_.name + ": " + settings_.problem);
    return;
  }
  tcp_ = {};
  tcp_.begin(settings_.hostname, settings_.port);
  if (tcp_.fd() < 0)
    fail(Outcome::unreachable, "connect to " + where() + ": " + tcp_.problem());
}

void SshSession::wants(std::vector<pollfd>& waits) const {
  if (over_ || tcp_.fd() < 0)
    return;
  // While something is left to send libssh2 reads nothing; waiting for input too would spin.
  const bool sends =
      phase_ == Phase::connect || yielded_ || (connection_ && connection_->wants_to_send());
  waits.push_back({tcp_.fd(), static_cast<short>(sends ? POLLOUT : POLLIN), 0});
}

Clock::time_point SshSession::deadline() const {
  if (over_)
    return began_;
  return phase_ < Phase::idle ? connect_began_ + options_.connect_timeout
                              : began_ + exec_.time_limit;
}

std::optional<ExecResult> SshSession::step() {
  yielded_ = false;
  while (!over_ && advance() == Progress::done) {
  }
  if (!over_)
    return std::nullopt;
  return std::move(result_);
}

ExecResult SshSession::expire() {
  if (!over_ && phase_ < Phase::idle) {
    fail(Outcome::unreachable, "connect to " + where() + ": no answer in " +
                                   in_seconds(options_.connect_timeout) + " s");
  } else if (!over_) {
    fail(Outcome::timed_out, took_too_long(exec_));
  }
  return std::move(result_);
}

SshConnection::Progress SshSession::advance() {
  switch (phase_) {
    case Phase::connect:
      return after_connect();
    case Phase::handshake:
      return handshake();
    case Phase::login:
      return login();
    case Phase::idle:
      return Progress::waiting;
    case Phase::open:
      return open_channel();
    case Phase::exec:
      return start_command();
    case Phase::transfer:
      return transfer();
    case Phase::close:
      return close_channel();
  }
  return Progress::failed;
}

SshConnection::Progress SshSession::enter(Phase phase) {
  phase_ = phase;
  return Progress::done;
}

std::string SshSession::where() const {
  return fmt::format("{}:{}", settings_.hostname, settings_.port);
}

SshConnection::Progress SshSession::after_connect() {
  switch (tcp_.step()) {
    case TcpConnection::Progress::waiting:
      return Progress::waiting;
    case TcpConnection::Progress::failed:
      return fail(Outcome::unreachable, "connect to " + where() + ": " + tcp_.problem());
    case TcpConnection::Progress::connected:
      break;
  }
  connection_ = std::make_unique<SshConnection>(
      tcp_.fd(), known_key_types(read_known_hosts(settings_.known_hosts), settings_.host_key_name,
                                 settings_.port));
  return enter(Phase::handshake);
}

SshConnection::Progress SshSession::handshake() {
  const Progress shaken = connection_->handshake();
  if (shaken == Progress::done)
    return check_key();
  if (shaken == Progress::failed && connection_->no_common_algorithm()) {
    fail(Outcome::unreachable,
         fmt::format("{}: the server and libssh2 {} have no algorithm in common ({})", where(),
                     SshConnection::library_version(), connection_->last_error()));
  } else if (shaken == Progress::failed) {
    fail(Outcome::unreachable, where() + ": no SSH session: " + connection_->last_error());
  }
  return shaken;
}

SshConnection::Progress SshSession::check_key() {
  const std::string key = connection_->host_key();
  const KeyCheck check = check_host_key(read_known_hosts(settings_.known_hosts),
                                        settings_.host_key_name, settings_.port, key);
  if (check.verdict != KeyVerdict::match)
    return fail(Outcome::host_key_refused, host_key_problem(check, settings_, key));
  login_ = std::make_unique<SshLogin>(*connection_, settings_);
  return enter(Phase::login);
}

SshConnection::Progress SshSession::login() {
  const Progress progress = login_->step();
  if (progress == Progress::failed)
    return fail(Outcome::login_refused, where() + " " + login_->problem());
  if (progress == Progress::waiting)
    return progress;
  began_ = Clock::now();
  return enter(Phase::open);
}

SshConnection::Progress SshSession::open_channel() {
  const Progress opened = connection_->open_channel();
  if (opened == Progress::done)
    return enter(Phase::exec);
  if (opened == Progress::waiting)
    return opened;
  if (reused_) {
    // The server may have closed an idle connection; a new one is no second try of the command.
    reused_ = false;
    drop();
    connect();
    return over_ ? Progress::failed : Progress::waiting;
  }
  return fail(
      Outcome::login_refused,
      where() + ": the login worked, but no command can be run: " + connection_->last_error());
}

SshConnection::Progress SshSession::start_command() {
  const Progress started = connection_->exec(command_);
  if (started == Progress::failed) {
    return fail(Outcome::lost,
                where() + ": the command could not be started: " + connection_->last_error());
  }
  return started == Progress::done ? enter(Phase::transfer) : started;
}

/// Sends what the channel takes; true if it may take more at once.
bool SshSession::feed() {
  const std::uint64_t first = input_->consumed();
  while (!input_ended_ && input_->consumed() - first < kTurn) {
    const std::string_view piece = input_->next();
    if (piece.empty()) {
      input_ended_ = connection_->end_input() != Progress::waiting;
      return false;
    }
    const std::optional<std::size_t> put = connection_->put(piece);
    // The command may have ended without reading everything; its own status tells.
    input_ended_ = !put;
    if (put.value_or(0) == 0)
      return false;
    input_->consume(*put);
  }
  return !input_ended_;
}

/// Reads what has come; true if there may be more at once. Fails the command if nothing can come.
bool SshSession::read_all() {
  bool more = false;
  for (const auto& [stream, into] : {std::pair(SshConnection::Stream::out, &result_.out),
                                     std::pair(SshConnection::Stream::err, &result_.err)}) {
    const Progress got = connection_->get(stream, *into, kTurn);
    if (got == Progress::failed) {
      fail(Outcome::lost, where() + ": the connection broke during the command: " +
                              connection_->last_error());
      return false;
    }
    more |= got == Progress::done;
  }
  return more;
}

SshConnection::Progress SshSession::transfer() {
  const bool more_to_send = feed();
  const bool more_to_read = read_all();
  if (over_)
    return Progress::failed;
  if (result_.out.size() + result_.err.size() > exec_.output_limit)
    return fail(Outcome::flooded, printed_too_much(exec_));
  if (!more_to_read && connection_->ended())
    return enter(Phase::close);
  yielded_ = more_to_send || more_to_read;
  return Progress::waiting;
}

SshConnection::Progress SshSession::close_channel() {
  SshConnection::Exit exit;
  const Progress closed = connection_->close_channel(exit);
  if (closed == Progress::done)
    finish(exit);
  return closed;
}

void SshSession::finish(const SshConnection::Exit& exit) {
  phase_ = Phase::idle;
  over_ = true;
  result_.sent_bytes = input_->consumed();
  result_.seconds = std::chrono::duration<double>(Clock::now() - began_).count();
  const std::string frame = "\n" + nonce_ + " ";
  const std::size_t at = result_.err.rfind(frame);
  if (at != std::string::npos) {
    const std::string said(trim(result_.err.substr(at + frame.size())));
    result_.exit_status = static_cast<int>(parse_integer(said, 0, 255).value_or(255));
    result_.err.resize(at);
    // A shell says 128 + n for a command that signal n ended.
    if (result_.exit_status > 128 && result_.exit_status < 128 + 65) {
      result_.outcome = Outcome::signalled;
      result_.message =
          fmt::format("the command was killed by signal {}", result_.exit_status - 128);
    }
  } else if (!exit.signal.empty()) {
    result_.outcome = Outcome::signalled;
    result_.message = "the command was killed by signal " + exit.signal;
  } else if (exit.status != 0) {
    result_.exit_status = exit.status;
  } else {
    result_.outcome = Outcome::lost;
    result_.message = where() + ": the connection ended before the command did";
  }
}

SshConnection::Progress SshSession::fail(Outcome outcome, const std::string& message) {
  result_.outcome = outcome;
  result_.message = message;
  result_.sent_bytes = input_ ? input_->consumed() : 0;
  result_.seconds = std::chrono::duration<double>(Clock::now() - began_).count();
  over_ = true;
  drop();
  return Progress::failed;
}

void SshSession::drop() {
  // What is still to send finds a closed socket, so nothing is waited for.
  if (tcp_.fd() >= 0)
    ::shutdown(tcp_.fd(), SHUT_RDWR);
  login_.reset();
  connection_.reset();
  tcp_ = {};
  phase_ = Phase::connect;
}

}  // namespace

std::unique_ptr<HostSession> make_ssh_session(const Endpoint& endpoint,
                                              const TransportOptions& options) {
  return std::make_unique<SshSession>(endpoint, options);
}

}  // namespace ds
