// SPDX-License-Identifier: Apache-2.0
#include "transport/ssh_connection.h"

#include <libssh2.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"

namespace ds {
namespace {

using Progress = SshConnection::Progress;

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

Progress progress(long rc) {
  if (rc == LIBSSH2_ERROR_EAGAIN)
    return Progress::waiting;
  return rc < 0 ? Progress::failed : Progress::done;
}

unsigned length(std::string_view text) {
  return static_cast<unsigned>(text.size());
}

/// The host key types to offer: those on file first, or a host known by one key would show another.
/// Only types that this libssh2 knows: version 1.10 copies overlapping memory when it drops one.
std::string host_key_preference(LIBSSH2_SESSION* session, const std::vector<std::string>& on_file) {
  const char** algorithms = nullptr;
  const int number = ::libssh2_session_supported_algs(session, LIBSSH2_METHOD_HOSTKEY, &algorithms);
  std::vector<std::string> supported;
  for (int i = 0; i < number; ++i)
    supported.emplace_back(algorithms[i]);
  if (number > 0)
    ::libssh2_free(session, algorithms);
  std::erase_if(supported, [](const std::string& type) {
    return type.find("-cert-") != std::string::npos || type == "ssh-dss";
  });
  std::stable_partition(supported.begin(), supported.end(), [&on_file](const std::string& type) {
    const std::string on_file_as = type.starts_with("rsa-sha2-") ? "ssh-rsa" : type;
    return std::find(on_file.begin(), on_file.end(), on_file_as) != on_file.end();
  });
  return join(supported, ",");
}

}  // namespace

struct SshConnection::Handles {
  Library library;
  int socket = -1;
  std::unique_ptr<LIBSSH2_SESSION, FreeSession> session;
  std::unique_ptr<LIBSSH2_AGENT, FreeAgent> agent;
  libssh2_agent_publickey* agent_key = nullptr;  ///< the one that is tried next
  LIBSSH2_CHANNEL* channel = nullptr;            ///< freed with its session at the latest
};

SshConnection::SshConnection(int socket, const std::vector<std::string>& known_types)
    : handles_(std::make_unique<Handles>()) {
  handles_->socket = socket;
  handles_->session.reset(::libssh2_session_init());
  LIBSSH2_SESSION* session = handles_->session.get();
  if (session == nullptr)
    throw Error("libssh2 cannot make a session");
  ::libssh2_session_set_blocking(session, 0);
  ::libssh2_session_method_pref(session, LIBSSH2_METHOD_HOSTKEY,
                                host_key_preference(session, known_types).c_str());
}

SshConnection::~SshConnection() {
  ::libssh2_session_disconnect(handles_->session.get(), "done");
}

Progress SshConnection::handshake() {
  return progress(::libssh2_session_handshake(handles_->session.get(), handles_->socket));
}

bool SshConnection::no_common_algorithm() const {
  return ::libssh2_session_last_errno(handles_->session.get()) == LIBSSH2_ERROR_KEX_FAILURE;
}

std::string SshConnection::host_key() const {
  std::size_t size = 0;
  int type = 0;
  const char* bytes = ::libssh2_session_hostkey(handles_->session.get(), &size, &type);
  return bytes != nullptr ? std::string(bytes, size) : std::string();
}

Progress SshConnection::login_methods(const std::string& user, std::string& methods) {
  LIBSSH2_SESSION* session = handles_->session.get();
  const char* list = ::libssh2_userauth_list(session, user.c_str(), length(user));
  methods = list != nullptr ? clean_line(list) : "";
  if (list != nullptr || ::libssh2_userauth_authenticated(session) != 0)
    return Progress::done;
  return ::libssh2_session_last_errno(session) == LIBSSH2_ERROR_EAGAIN ? Progress::waiting
                                                                       : Progress::failed;
}

Progress SshConnection::login_with_file(const std::string& user, const std::string& private_key) {
  return progress(::libssh2_userauth_publickey_fromfile_ex(handles_->session.get(), user.c_str(),
                                                           length(user), nullptr,
                                                           private_key.c_str(), nullptr));
}

bool SshConnection::unusable_file() const {
  return ::libssh2_session_last_errno(handles_->session.get()) == LIBSSH2_ERROR_FILE;
}

std::size_t SshConnection::ask_agent(const std::string& socket) {
  handles_->agent.reset(::libssh2_agent_init(handles_->session.get()));
  LIBSSH2_AGENT* agent = handles_->agent.get();
  if (agent == nullptr)
    return 0;
  ::libssh2_agent_set_identity_path(agent, socket.c_str());
  if (::libssh2_agent_connect(agent) != 0 || ::libssh2_agent_list_identities(agent) != 0)
    return 0;
  std::size_t number = 0;
  libssh2_agent_publickey* key = nullptr;
  while (::libssh2_agent_get_identity(agent, &key, key) == 0)
    ++number;
  if (::libssh2_agent_get_identity(agent, &handles_->agent_key, nullptr) != 0)
    handles_->agent_key = nullptr;
  return number;
}

Progress SshConnection::login_with_agent(const std::string& user) {
  libssh2_agent_publickey* key = handles_->agent_key;
  const int rc = ::libssh2_agent_userauth(handles_->agent.get(), user.c_str(), key);
  if (rc != LIBSSH2_ERROR_EAGAIN &&
      ::libssh2_agent_get_identity(handles_->agent.get(), &handles_->agent_key, key) != 0) {
    handles_->agent_key = nullptr;
  }
  return progress(rc);
}

bool SshConnection::agent_has_more() const {
  return handles_->agent_key != nullptr;
}

void SshConnection::close_agent() {
  handles_->agent_key = nullptr;
  handles_->agent.reset();
}

Progress SshConnection::open_channel() {
  handles_->channel = ::libssh2_channel_open_session(handles_->session.get());
  if (handles_->channel != nullptr)
    return Progress::done;
  return progress(::libssh2_session_last_errno(handles_->session.get())) == Progress::waiting
             ? Progress::waiting
             : Progress::failed;
}

Progress SshConnection::exec(const std::string& command) {
  return progress(::libssh2_channel_exec(handles_->channel, command.c_str()));
}

std::optional<std::size_t> SshConnection::put(std::string_view bytes) {
  const ssize_t put = ::libssh2_channel_write(handles_->channel, bytes.data(), bytes.size());
  if (put == LIBSSH2_ERROR_EAGAIN)
    return 0;
  return put < 0 ? std::nullopt : std::optional(static_cast<std::size_t>(put));
}

Progress SshConnection::end_input() {
  return progress(::libssh2_channel_send_eof(handles_->channel));
}

Progress SshConnection::get(Stream stream, std::string& into, std::size_t most) {
  const int id = stream == Stream::err ? SSH_EXTENDED_DATA_STDERR : 0;
  char buffer[1 << 15];
  for (std::size_t total = 0; total < most;) {
    const ssize_t got = ::libssh2_channel_read_ex(handles_->channel, id, buffer, sizeof buffer);
    if (got == 0 || got == LIBSSH2_ERROR_EAGAIN)
      return Progress::waiting;
    if (got < 0)
      return Progress::failed;
    into.append(buffer, static_cast<std::size_t>(got));
    total += static_cast<std::size_t>(got);
  }
  return Progress::done;
}

bool SshConnection::ended() const {
  return ::libssh2_channel_eof(handles_->channel) != 0;
}

Progress SshConnection::close_channel(Exit& exit) {
  LIBSSH2_CHANNEL* channel = handles_->channel;
  if (::libssh2_channel_close(channel) == LIBSSH2_ERROR_EAGAIN)
    return Progress::waiting;
  char* signal = nullptr;
  std::size_t size = 0;
  ::libssh2_channel_get_exit_signal(channel, &signal, &size, nullptr, nullptr, nullptr, nullptr);
  if (signal != nullptr) {
    exit.signal = clean_line({signal, size});
    ::libssh2_free(handles_->session.get(), signal);
  }
  exit.status = ::libssh2_channel_get_exit_status(channel);
  ::libssh2_channel_free(channel);
  handles_->channel = nullptr;
  return Progress::done;
}

bool SshConnection::wants_to_send() const {
  const int directions = ::libssh2_session_block_directions(handles_->session.get());
  return (directions & LIBSSH2_SESSION_BLOCK_OUTBOUND) != 0;
}

std::string SshConnection::last_error() const {
  char* text = nullptr;
  int size = 0;
  ::libssh2_session_last_error(handles_->session.get(), &text, &size, 0);
  const std::string said =
      text != nullptr ? clean_line({text, static_cast<std::size_t>(size)}) : "";
  return said.empty() ? "the connection was closed" : said;
}

std::string SshConnection::library_version() {
  return ::libssh2_version(0);
}

bool SshConnection::signs_rsa_with_sha2() {
  return ::libssh2_version(0x010b00) != nullptr;
}

}  // namespace ds
