// SPDX-License-Identifier: Apache-2.0
//
// One host over libssh2, non-blocking: connect, handshake, host key, authenticate, then one command
// after the other over the same connection. The only file that names libssh2.
#include <fmt/format.h>
#include <libssh2.h>
#include <sys/socket.h>

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/random.h"
#include "base/text.h"
#include "transport/input_stream.h"
#include "transport/known_hosts.h"
#include "transport/session.h"
#include "transport/ssh_config.h"
#include "transport/tcp_connection.h"

namespace ds {
namespace {

/// libssh2_init counts its calls; the first initialises, the last releases.
class Library {
 public:
  Library() {
    if (::libssh2_init(0) != 0)
      throw Error("libssh2 cannot be initialised");
  }
  ~Library() { ::libssh2_exit(); }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
};

struct FreeSession {
  void operator()(LIBSSH2_SESSION* session) const {
    // The socket is shut down by then, so that nothing is waited for.
    while (::libssh2_session_free(session) == LIBSSH2_ERROR_EAGAIN) {
    }
  }
};
struct FreeAgent {
  void operator()(LIBSSH2_AGENT* agent) const {
    ::libssh2_agent_disconnect(agent);
    ::libssh2_agent_free(agent);
  }
};

/// libssh2 prefers what it likes; the types on file must come first, or a host known by one key
/// would show another one.
std::string host_key_preference(const std::vector<std::string>& on_file) {
  std::vector<std::string> types;
  for (const std::string& type : on_file) {
    if (type == "ssh-rsa")
      types.insert(types.end(), {"rsa-sha2-512", "rsa-sha2-256"});
    types.push_back(type);
  }
  for (const char* type : {"ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384",
                           "ecdsa-sha2-nistp521", "rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"}) {
    if (std::find(types.begin(), types.end(), type) == types.end())
      types.emplace_back(type);
  }
  return join(types, ",");
}

enum class Phase { connect, handshake, methods, files, agent, idle, open, exec, transfer, close };

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

  void connect();
  bool advance();  ///< one step; false when it must wait
  void after_connect();
  void handshake();
  void check_key();
  void ask_methods();
  void try_file();
  void start_agent();
  void try_agent();
  void logged_in();
  void refuse_login();
  void open_channel();
  void start_command();
  void transfer();
  bool feed();
  bool drain(int stream, std::string& into);
  void close_channel();
  void finish();
  void fail(Outcome outcome, std::string message);
  void drop();
  bool again(long rc);  ///< EAGAIN: remembers that we wait
  std::string last_error() const;
  std::string where() const;

  Library library_;
  Endpoint endpoint_;
  TransportOptions options_;
  SshSettings settings_;
  TcpConnection tcp_;
  std::unique_ptr<LIBSSH2_SESSION, FreeSession> session_;
  std::unique_ptr<LIBSSH2_AGENT, FreeAgent> agent_;
  libssh2_agent_publickey* agent_key_ = nullptr;
  LIBSSH2_CHANNEL* channel_ = nullptr;
  Phase phase_ = Phase::connect;
  bool waiting_ = false;
  bool yielded_ = false;  ///< gave way to other sessions with work left
  bool reused_ = false;   ///< the connection served a command before
  std::size_t file_ = 0;  ///< identity that is tried next
  std::size_t agent_keys_ = 0;
  std::vector<std::string> tried_;
  std::string methods_;
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
  short events = POLLIN;
  if (phase_ == Phase::connect || yielded_) {
    events = POLLOUT;
  } else if (session_) {
    // While something is left to send libssh2 reads nothing; waiting for input too would spin.
    const int directions = ::libssh2_session_block_directions(session_.get());
    if ((directions & LIBSSH2_SESSION_BLOCK_OUTBOUND) != 0)
      events = POLLOUT;
  }
  waits.push_back({tcp_.fd(), events, 0});
}

Clock::time_point SshSession::deadline() const {
  if (over_)
    return Clock::time_point::min();
  return phase_ < Phase::idle ? connect_began_ + options_.connect_timeout
                              : began_ + exec_.time_limit;
}

std::optional<ExecResult> SshSession::step() {
  yielded_ = false;
  while (!over_ && advance()) {
  }
  if (!over_)
    return std::nullopt;
  return std::move(result_);
}

ExecResult SshSession::expire() {
  if (over_)
    return std::move(result_);
  const auto seconds = [](std::chrono::milliseconds time) {
    return static_cast<double>(time.count()) / 1000;
  };
  if (phase_ < Phase::idle) {
    fail(Outcome::unreachable, fmt::format("connect to {}: no answer in {} s", where(),
                                           seconds(options_.connect_timeout)));
  } else {
    fail(Outcome::timed_out,
         fmt::format("the command took longer than {} s", seconds(exec_.time_limit)));
  }
  return std::move(result_);
}

bool SshSession::advance() {
  waiting_ = false;
  switch (phase_) {
    case Phase::connect:
      after_connect();
      break;
    case Phase::handshake:
      handshake();
      break;
    case Phase::methods:
      ask_methods();
      break;
    case Phase::files:
      try_file();
      break;
    case Phase::agent:
      try_agent();
      break;
    case Phase::idle:
      return false;
    case Phase::open:
      open_channel();
      break;
    case Phase::exec:
      start_command();
      break;
    case Phase::transfer:
      transfer();
      break;
    case Phase::close:
      close_channel();
      break;
  }
  return !waiting_ && !yielded_;
}

bool SshSession::again(long rc) {
  waiting_ = rc == LIBSSH2_ERROR_EAGAIN;
  return waiting_;
}

std::string SshSession::last_error() const {
  char* text = nullptr;
  int length = 0;
  ::libssh2_session_last_error(session_.get(), &text, &length, 0);
  const std::string said =
      text != nullptr ? clean_line({text, static_cast<std::size_t>(length)}) : "";
  return said.empty() ? "the connection was closed" : said;
}

std::string SshSession::where() const {
  return fmt::format("{}:{}", settings_.hostname, settings_.port);
}

void SshSession::after_connect() {
  switch (tcp_.step()) {
    case TcpConnection::Progress::waiting:
      waiting_ = true;
      return;
    case TcpConnection::Progress::failed:
      fail(Outcome::unreachable, "connect to " + where() + ": " + tcp_.problem());
      return;
    case TcpConnection::Progress::connected:
      break;
  }
  session_.reset(::libssh2_session_init());
  if (!session_)
    throw Error("libssh2 cannot make a session");
  ::libssh2_session_set_blocking(session_.get(), 0);
  const std::vector<KnownHostLine> known = read_known_hosts(settings_.known_hosts);
  const std::string preference =
      host_key_preference(known_key_types(known, settings_.host_key_name, settings_.port));
  // Old libssh2 refuses a list that names nothing it knows; then its own order stays.
  ::libssh2_session_method_pref(session_.get(), LIBSSH2_METHOD_HOSTKEY, preference.c_str());
  phase_ = Phase::handshake;
}

void SshSession::handshake() {
  const int rc = ::libssh2_session_handshake(session_.get(), tcp_.fd());
  if (again(rc))
    return;
  if (rc == LIBSSH2_ERROR_KEX_FAILURE) {
    fail(Outcome::unreachable,
         fmt::format("{}: the server and libssh2 {} have no algorithm in common ({})", where(),
                     ::libssh2_version(0), last_error()));
  } else if (rc != 0) {
    fail(Outcome::unreachable, where() + ": no SSH session: " + last_error());
  } else {
    check_key();
  }
}

void SshSession::check_key() {
  std::size_t length = 0;
  int type = 0;
  const char* bytes = ::libssh2_session_hostkey(session_.get(), &length, &type);
  const std::string_view key(bytes, bytes != nullptr ? length : 0);
  const KeyCheck check = check_host_key(read_known_hosts(settings_.known_hosts),
                                        settings_.host_key_name, settings_.port, key);
  const std::string name = settings_.port == 22
                               ? settings_.host_key_name
                               : fmt::format("[{}]:{}", settings_.host_key_name, settings_.port);
  const std::string file =
      settings_.known_hosts.empty() ? "known_hosts" : settings_.known_hosts.front().string();
  switch (check.verdict) {
    case KeyVerdict::match:
      phase_ = Phase::methods;
      return;
    case KeyVerdict::unknown:
      fail(Outcome::host_key_refused,
           fmt::format("the host key of {} is not known: {}; if it is the right one, add it: "
                       "ssh-keyscan -p {} {} >> {}",
                       name, key_fingerprint(key), settings_.port, settings_.hostname, file));
      return;
    case KeyVerdict::changed:
      fail(Outcome::host_key_refused,
           fmt::format("the host key of {} changed: {} is not the key of {}; if that is right, "
                       "remove the old one: ssh-keygen -R '{}'",
                       name, key_fingerprint(key), check.where, name));
      return;
    case KeyVerdict::revoked:
      fail(Outcome::host_key_refused, fmt::format("the host key of {} is revoked: {} in {}", name,
                                                  key_fingerprint(key), check.where));
  }
}

void SshSession::ask_methods() {
  const char* methods = ::libssh2_userauth_list(session_.get(), settings_.user.c_str(),
                                                static_cast<unsigned>(settings_.user.size()));
  if (methods == nullptr && ::libssh2_userauth_authenticated(session_.get()) != 0) {
    logged_in();
    return;
  }
  if (methods == nullptr) {
    const int rc = ::libssh2_session_last_errno(session_.get());
    if (!again(rc))
      fail(Outcome::login_refused, where() + ": login failed: " + last_error());
    return;
  }
  methods_ = clean_line(methods);
  phase_ = Phase::files;
}

void SshSession::try_file() {
  std::error_code failure;
  while (file_ < settings_.identities.size() &&
         !std::filesystem::exists(settings_.identities[file_], failure)) {
    ++file_;
  }
  if (file_ == settings_.identities.size()) {
    start_agent();
    return;
  }
  const std::string file = settings_.identities[file_].string();
  const int rc = ::libssh2_userauth_publickey_fromfile_ex(
      session_.get(), settings_.user.c_str(), static_cast<unsigned>(settings_.user.size()), nullptr,
      file.c_str(), nullptr);
  if (again(rc))
    return;
  if (rc == 0) {
    logged_in();
    return;
  }
  tried_.push_back(file +
                   (rc == LIBSSH2_ERROR_FILE ? " (cannot be used without its passphrase)" : ""));
  ++file_;
}

void SshSession::start_agent() {
  phase_ = Phase::agent;
  if (settings_.agent.empty() || settings_.identities_only) {
    refuse_login();
    return;
  }
  agent_.reset(::libssh2_agent_init(session_.get()));
  ::libssh2_agent_set_identity_path(agent_.get(), settings_.agent.c_str());
  if (::libssh2_agent_connect(agent_.get()) != 0 ||
      ::libssh2_agent_list_identities(agent_.get()) != 0 ||
      ::libssh2_agent_get_identity(agent_.get(), &agent_key_, nullptr) != 0) {
    tried_.push_back("agent (no answer, or no keys)");
    refuse_login();
  }
}

void SshSession::try_agent() {
  const int rc = ::libssh2_agent_userauth(agent_.get(), settings_.user.c_str(), agent_key_);
  if (again(rc))
    return;
  if (rc == 0) {
    logged_in();
    return;
  }
  ++agent_keys_;
  libssh2_agent_publickey* previous = agent_key_;
  if (::libssh2_agent_get_identity(agent_.get(), &agent_key_, previous) != 0) {
    tried_.push_back("agent (" + count(agent_keys_, "key") + ")");
    refuse_login();
  }
}

void SshSession::logged_in() {
  agent_.reset();
  phase_ = Phase::open;
  began_ = Clock::now();
}

void SshSession::refuse_login() {
  std::string message =
      fmt::format("{} refused the login of {}: tried {}; it takes {}", where(), settings_.user,
                  tried_.empty() ? "nothing, for no key was found" : join(tried_, ", "), methods_);
  const bool rsa = std::any_of(tried_.begin(), tried_.end(), [](const std::string& key) {
    return key.find("rsa") != std::string::npos;
  });
  if (rsa && ::libssh2_version(0x010b00) == nullptr) {
    message += fmt::format(
        "; libssh2 {} cannot use RSA keys with today's servers: use an ed25519 or "
        "ECDSA key",
        ::libssh2_version(0));
  }
  fail(Outcome::login_refused, std::move(message));
}

void SshSession::open_channel() {
  channel_ = ::libssh2_channel_open_session(session_.get());
  if (channel_ != nullptr) {
    phase_ = Phase::exec;
    return;
  }
  if (again(::libssh2_session_last_errno(session_.get())))
    return;
  if (reused_) {
    // The server may have closed an idle connection; a new one is no second try of the command.
    reused_ = false;
    drop();
    file_ = 0;
    tried_.clear();
    connect();
    waiting_ = !over_;
    return;
  }
  fail(Outcome::login_refused,
       where() + ": the login worked, but no command can be run: " + last_error());
}

void SshSession::start_command() {
  const int rc = ::libssh2_channel_exec(channel_, command_.c_str());
  if (again(rc))
    return;
  if (rc == 0) {
    phase_ = Phase::transfer;
  } else {
    fail(Outcome::lost, where() + ": the command could not be started: " + last_error());
  }
}

/// Sends what the channel takes; true if it may take more at once.
bool SshSession::feed() {
  std::size_t budget = 1u << 20;
  while (!input_ended_) {
    const std::string_view piece = input_->next();
    if (piece.empty()) {
      if (::libssh2_channel_send_eof(channel_) == LIBSSH2_ERROR_EAGAIN)
        return false;
      input_ended_ = true;
      return false;
    }
    const ssize_t put = ::libssh2_channel_write(channel_, piece.data(), piece.size());
    if (put == LIBSSH2_ERROR_EAGAIN)
      return false;
    if (put < 0) {
      // The command may have ended without reading everything; its own status tells.
      input_ended_ = true;
      return false;
    }
    input_->consume(static_cast<std::size_t>(put));
    if (budget < static_cast<std::size_t>(put))
      return true;
    budget -= static_cast<std::size_t>(put);
  }
  return false;
}

/// Reads what is there; false if the connection is gone.
bool SshSession::drain(int stream, std::string& into) {
  char buffer[1 << 15];
  for (;;) {
    const ssize_t got = ::libssh2_channel_read_ex(channel_, stream, buffer, sizeof buffer);
    if (got > 0)
      into.append(buffer, static_cast<std::size_t>(got));
    if (result_.out.size() + result_.err.size() > exec_.output_limit)
      return true;
    if (got == 0 || got == LIBSSH2_ERROR_EAGAIN)
      return true;
    if (got < 0)
      return false;
  }
}

void SshSession::transfer() {
  const bool more = feed();
  if (!drain(0, result_.out) || !drain(SSH_EXTENDED_DATA_STDERR, result_.err)) {
    fail(Outcome::lost, where() + ": the connection broke during the command: " + last_error());
    return;
  }
  if (result_.out.size() + result_.err.size() > exec_.output_limit) {
    fail(Outcome::flooded,
         fmt::format("the command printed more than {} bytes", exec_.output_limit));
  } else if (::libssh2_channel_eof(channel_) != 0) {
    phase_ = Phase::close;
  } else if (more) {
    yielded_ = true;
  } else {
    waiting_ = true;
  }
}

void SshSession::close_channel() {
  if (again(::libssh2_channel_close(channel_)))
    return;
  finish();
}

void SshSession::finish() {
  char* signal = nullptr;
  std::size_t length = 0;
  ::libssh2_channel_get_exit_signal(channel_, &signal, &length, nullptr, nullptr, nullptr, nullptr);
  const std::string killer = signal != nullptr ? clean_line({signal, length}) : std::string();
  if (signal != nullptr)
    ::libssh2_free(session_.get(), signal);
  const int status = ::libssh2_channel_get_exit_status(channel_);
  ::libssh2_channel_free(channel_);
  channel_ = nullptr;
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
  } else if (!killer.empty()) {
    result_.outcome = Outcome::signalled;
    result_.message = "the command was killed by signal " + killer;
  } else if (status != 0) {
    result_.exit_status = status;
  } else {
    result_.outcome = Outcome::lost;
    result_.message = where() + ": the connection ended before the command did";
  }
}

void SshSession::fail(Outcome outcome, std::string message) {
  result_.outcome = outcome;
  result_.message = std::move(message);
  result_.sent_bytes = input_ ? input_->consumed() : 0;
  result_.seconds = std::chrono::duration<double>(Clock::now() - began_).count();
  over_ = true;
  drop();
}

void SshSession::drop() {
  if (session_)
    ::libssh2_session_disconnect(session_.get(), "done");
  if (tcp_.fd() >= 0)
    ::shutdown(tcp_.fd(), SHUT_RDWR);
  agent_.reset();
  channel_ = nullptr;  // freed with its session
  session_.reset();
  tcp_ = {};
  phase_ = Phase::connect;
}

}  // namespace

std::unique_ptr<HostSession> make_ssh_session(const Endpoint& endpoint,
                                              const TransportOptions& options) {
  return std::make_unique<SshSession>(endpoint, options);
}

}  // namespace ds
