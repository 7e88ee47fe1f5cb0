// SPDX-License-Identifier: Apache-2.0
#include "transport/ssh_connection.h"

#include <libssh2.h>
#include <string.h>

#include <algorithm>
#include <cstdlib>

#include "base/error.h"
#include "base/text.h"
#include "transport/host_key.h"

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

SshProgress progress(long rc) {
  if (rc == LIBSSH2_ERROR_EAGAIN)
    return SshProgress::waiting;
  return rc < 0 ? SshProgress::failed : SshProgress::done;
}

unsigned length(std::string_view text) {
  return static_cast<unsigned>(text.size());
}

bool holds(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::vector<std::string> supported(LIBSSH2_SESSION* session, int method) {
  const char** algorithms = nullptr;
  const int number = ::libssh2_session_supported_algs(session, method, &algorithms);
  std::vector<std::string> names(algorithms, algorithms + std::max(number, 0));
  ::libssh2_free(session, algorithms);
  return names;
}

/// Only names that this libssh2 knows: version 1.10 copies overlapping memory when it drops one.
/// False where it knows none of them.
bool prefer(LIBSSH2_SESSION* session, int method, const std::vector<std::string>& wanted) {
  if (wanted.empty())
    return true;
  std::vector<std::string> both = wanted;
  std::erase_if(both, [known = supported(session, method)](const std::string& name) {
    return !holds(known, name);
  });
  return !both.empty() &&
         ::libssh2_session_method_pref(session, method, join(both, ",").c_str()) == 0;
}

/// The types on file come first, or a host known by one key would show another; then as ssh prefers
/// them. Certificates are left out, for nobody here checks them, and so are DSA keys and RSA keys
/// with SHA-1, which ssh takes no more.
std::vector<std::string> host_key_order(LIBSSH2_SESSION* session, const SshAlgorithms& algorithms) {
  std::vector<std::string> types = supported(session, LIBSSH2_METHOD_HOSTKEY);
  std::erase_if(types, [&chosen = algorithms.host_keys](const std::string& type) {
    return type.find("-cert-") != std::string::npos || type == "ssh-dss" || type == "ssh-rsa" ||
           (!chosen.empty() && !holds(chosen, type));
  });
  const auto rank = [&on_file = algorithms.known_host_keys](const std::string& type) {
    const std::string on_file_as = type.starts_with("rsa-sha2-") ? "ssh-rsa" : type;
    return std::pair(!holds(on_file, on_file_as), key_type_rank(on_file_as));
  };
  std::stable_sort(types.begin(), types.end(),
                   [&rank](const std::string& left, const std::string& right) {
                     return rank(left) < rank(right);
                   });
  return types;
}

class Channel : public SshChannel {
 public:
  Channel(LIBSSH2_SESSION* session, LIBSSH2_CHANNEL* channel)
      : session_(session), channel_(channel) {}

  SshProgress exec(const std::string& command) override {
    return progress(::libssh2_channel_exec(channel_, command.c_str()));
  }

  std::optional<std::size_t> put(std::string_view bytes) override {
    const ssize_t put = ::libssh2_channel_write(channel_, bytes.data(), bytes.size());
    if (put == LIBSSH2_ERROR_EAGAIN)
      return 0;
    return put < 0 ? std::nullopt : std::optional(static_cast<std::size_t>(put));
  }

  SshProgress end_input() override { return progress(::libssh2_channel_send_eof(channel_)); }

  SshProgress get(Stream stream, std::string& into, std::size_t most) override {
    const int id = stream == Stream::err ? SSH_EXTENDED_DATA_STDERR : 0;
    char buffer[1 << 15];
    for (std::size_t total = 0; total < most;) {
      const ssize_t got = ::libssh2_channel_read_ex(channel_, id, buffer, sizeof buffer);
      if (got == 0 || got == LIBSSH2_ERROR_EAGAIN)
        return SshProgress::waiting;
      if (got < 0)
        return SshProgress::failed;
      into.append(buffer, static_cast<std::size_t>(got));
      total += static_cast<std::size_t>(got);
    }
    return SshProgress::done;
  }

  bool has_input() const override { return ::libssh2_poll_channel_read(channel_, 0) != 0; }
  std::size_t window() const override { return ::libssh2_channel_window_write(channel_); }
  bool ended() const override { return ::libssh2_channel_eof(channel_) != 0; }

  SshProgress close(Exit& exit) override {
    if (::libssh2_channel_close(channel_) == LIBSSH2_ERROR_EAGAIN)
      return SshProgress::waiting;
    char* signal = nullptr;
    std::size_t size = 0;
    ::libssh2_channel_get_exit_signal(channel_, &signal, &size, nullptr, nullptr, nullptr, nullptr);
    if (signal != nullptr) {
      exit.signal = clean_line({signal, size});
      ::libssh2_free(session_, signal);
    }
    exit.status = ::libssh2_channel_get_exit_status(channel_);
    ::libssh2_channel_free(channel_);
    channel_ = nullptr;
    return SshProgress::done;
  }

 private:
  LIBSSH2_SESSION* session_;
  LIBSSH2_CHANNEL* channel_;  ///< freed by close(), at the latest with its session
};

}  // namespace

struct SshConnection::Handles {
  Library library;
  int socket = -1;
  std::unique_ptr<LIBSSH2_SESSION, FreeSession> session;
  std::string lacking;
  const Sign* sign = nullptr;      ///< of the login under way
  const Answer* answer = nullptr;  ///< of the login under way
  bool shaking_hands = false;
  std::string goodbye;

  static Handles& of(void** abstract) { return *static_cast<Handles*>(*abstract); }
};

namespace {

SshProgress opened(LIBSSH2_SESSION* session, LIBSSH2_CHANNEL* channel,
                   std::unique_ptr<SshChannel>& into) {
  if (channel != nullptr) {
    into = std::make_unique<Channel>(session, channel);
    return SshProgress::done;
  }
  return ::libssh2_session_last_errno(session) == LIBSSH2_ERROR_EAGAIN ? SshProgress::waiting
                                                                       : SshProgress::failed;
}

/// libssh2 frees with the session's allocator, which is malloc's.
char* allocated(const std::string& text) {
  char* copy = static_cast<char*>(std::malloc(text.size() + 1));
  if (copy != nullptr)
    ::memcpy(copy, text.c_str(), text.size() + 1);
  return copy;
}

}  // namespace

/// What libssh2 calls back. The names are C's, the objects ours.
struct SshCallbacks {
  using Handles = SshConnection::Handles;

  static int sign(LIBSSH2_SESSION* /*session*/, unsigned char** signature, std::size_t* size,
                  const unsigned char* data, std::size_t data_size, void** abstract) {
    Handles& handles = Handles::of(abstract);
    std::string made;
    const SshProgress done =
        (*handles.sign)({reinterpret_cast<const char*>(data), data_size}, made);
    if (done == SshProgress::waiting)
      return LIBSSH2_ERROR_EAGAIN;
    if (done == SshProgress::failed)
      return LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED;
    *signature = reinterpret_cast<unsigned char*>(allocated(made));
    *size = made.size();
    return *signature != nullptr ? 0 : LIBSSH2_ERROR_ALLOC;
  }

  static void prompts(const char* /*name*/, int /*name_size*/, const char* instruction,
                      int instruction_size, int number,
                      const LIBSSH2_USERAUTH_KBDINT_PROMPT* prompts,
                      LIBSSH2_USERAUTH_KBDINT_RESPONSE* responses, void** abstract) {
    std::vector<SshConnection::Prompt> asked;
    for (int i = 0; i < number; ++i) {
      const std::string_view text(reinterpret_cast<const char*>(prompts[i].text),
                                  prompts[i].length);
      asked.push_back({clean_line(text), prompts[i].echo != 0});
    }
    const std::string_view said(instruction, static_cast<std::size_t>(instruction_size));
    std::vector<std::string> answers = (*Handles::of(abstract).answer)(clean_line(said), asked);
    for (std::size_t i = 0; i < std::min(answers.size(), asked.size()); ++i) {
      responses[i].text = allocated(answers[i]);
      responses[i].length = length(answers[i]);
      ::explicit_bzero(answers[i].data(), answers[i].size());
    }
  }

  static void disconnected(LIBSSH2_SESSION* /*session*/, int /*reason*/, const char* message,
                           int size, const char* /*language*/, int /*language_size*/,
                           void** abstract) {
    Handles::of(abstract).goodbye = clean_line({message, static_cast<std::size_t>(size)});
  }
};

SshConnection::SshConnection(int socket, const SshAlgorithms& algorithms)
    : handles_(std::make_unique<Handles>()) {
  handles_->socket = socket;
  handles_->session.reset(::libssh2_session_init_ex(nullptr, nullptr, nullptr, handles_.get()));
  LIBSSH2_SESSION* session = handles_->session.get();
  if (session == nullptr)
    throw Error("libssh2 cannot make a session");
  ::libssh2_session_set_blocking(session, 0);
#if LIBSSH2_VERSION_NUM >= 0x010b01
  ::libssh2_session_callback_set2(
      session, LIBSSH2_CALLBACK_DISCONNECT,
      reinterpret_cast<libssh2_cb_generic*>(SshCallbacks::disconnected));
#else
  ::libssh2_session_callback_set(session, LIBSSH2_CALLBACK_DISCONNECT,
                                 reinterpret_cast<void*>(SshCallbacks::disconnected));
#endif
  const std::vector<std::string> host_keys = host_key_order(session, algorithms);
  if (host_keys.empty() || !prefer(session, LIBSSH2_METHOD_HOSTKEY, host_keys))
    handles_->lacking = "type of host key";
  const struct {
    const char* kind;
    const std::vector<std::string>& wanted;
    std::vector<int> methods;
  } choices[] = {{"key exchange", algorithms.kex, {LIBSSH2_METHOD_KEX}},
                 {"cipher", algorithms.ciphers, {LIBSSH2_METHOD_CRYPT_CS, LIBSSH2_METHOD_CRYPT_SC}},
                 {"MAC", algorithms.macs, {LIBSSH2_METHOD_MAC_CS, LIBSSH2_METHOD_MAC_SC}}};
  for (const auto& choice : choices) {
    for (const int method : choice.methods) {
      if (!prefer(session, method, choice.wanted))
        handles_->lacking = choice.kind;
    }
  }
}

SshConnection::~SshConnection() {
  // libssh2 1.10 forgets the keys of an exchange that it was in the middle of. With the socket shut
  // down this call fails, and releases them.
  if (handles_->shaking_hands)
    handshake();
  ::libssh2_session_disconnect(handles_->session.get(), "done");
}

const std::string& SshConnection::lacking() const {
  return handles_->lacking;
}

SshProgress SshConnection::handshake() {
  const SshProgress shaken =
      progress(::libssh2_session_handshake(handles_->session.get(), handles_->socket));
  handles_->shaking_hands = shaken == SshProgress::waiting;
  return shaken;
}

bool SshConnection::no_common_algorithm() const {
  const int number = ::libssh2_session_last_errno(handles_->session.get());
  return number == LIBSSH2_ERROR_KEX_FAILURE || number == LIBSSH2_ERROR_METHOD_NONE;
}

std::string SshConnection::host_key() const {
  std::size_t size = 0;
  int type = 0;
  const char* bytes = ::libssh2_session_hostkey(handles_->session.get(), &size, &type);
  return bytes != nullptr ? std::string(bytes, size) : std::string();
}

std::string SshConnection::server_banner() const {
  const char* banner = ::libssh2_session_banner_get(handles_->session.get());
  return banner != nullptr ? clean_line(banner) : "";
}

SshProgress SshConnection::login_methods(const std::string& user, std::string& methods) {
  LIBSSH2_SESSION* session = handles_->session.get();
  const char* list = ::libssh2_userauth_list(session, user.c_str(), length(user));
  methods = list != nullptr ? clean_line(list) : "";
  if (list != nullptr || ::libssh2_userauth_authenticated(session) != 0)
    return SshProgress::done;
  return ::libssh2_session_last_errno(session) == LIBSSH2_ERROR_EAGAIN ? SshProgress::waiting
                                                                       : SshProgress::failed;
}

SshProgress SshConnection::login_with_key(const std::string& user, const std::string& key_blob,
                                          const Sign& sign) {
  handles_->sign = &sign;
  void* abstract = handles_.get();
  const SshProgress tried =
      progress(::libssh2_userauth_publickey(handles_->session.get(), user.c_str(),
                                            reinterpret_cast<const unsigned char*>(key_blob.data()),
                                            key_blob.size(), SshCallbacks::sign, &abstract));
  handles_->sign = nullptr;
  return tried;
}

SshProgress SshConnection::login_with_file(const std::string& user,
                                           const std::string& private_key) {
  return progress(::libssh2_userauth_publickey_fromfile_ex(
      handles_->session.get(), user.c_str(), length(user), nullptr, private_key.c_str(), nullptr));
}

bool SshConnection::unusable_file() const {
  return ::libssh2_session_last_errno(handles_->session.get()) == LIBSSH2_ERROR_FILE;
}

SshProgress SshConnection::login_interactively(const std::string& user, const Answer& answer) {
  handles_->answer = &answer;
  return progress(::libssh2_userauth_keyboard_interactive_ex(handles_->session.get(), user.c_str(),
                                                             length(user), SshCallbacks::prompts));
}

SshProgress SshConnection::open_session(std::unique_ptr<SshChannel>& channel) {
  LIBSSH2_SESSION* session = handles_->session.get();
  return opened(session, ::libssh2_channel_open_session(session), channel);
}

SshProgress SshConnection::open_tunnel(const std::string& host, int port,
                                       std::unique_ptr<SshChannel>& channel) {
  LIBSSH2_SESSION* session = handles_->session.get();
  return opened(session,
                ::libssh2_channel_direct_tcpip_ex(session, host.c_str(), port, "127.0.0.1", 22),
                channel);
}

bool SshConnection::wants_to_send() const {
  const int directions = ::libssh2_session_block_directions(handles_->session.get());
  return (directions & LIBSSH2_SESSION_BLOCK_OUTBOUND) != 0;
}

bool SshConnection::lost() const {
  switch (::libssh2_session_last_errno(handles_->session.get())) {
    case LIBSSH2_ERROR_SOCKET_NONE:
    case LIBSSH2_ERROR_SOCKET_SEND:
    case LIBSSH2_ERROR_SOCKET_RECV:
    case LIBSSH2_ERROR_SOCKET_DISCONNECT:
    case LIBSSH2_ERROR_SOCKET_TIMEOUT:
    case LIBSSH2_ERROR_BANNER_RECV:
      return true;
    default:
      // While it waits for the answer to a login libssh2 puts this over the reason.
      return last_error().starts_with("Waiting for ");
  }
}

std::string SshConnection::last_error() const {
  char* text = nullptr;
  int size = 0;
  ::libssh2_session_last_error(handles_->session.get(), &text, &size, 0);
  const std::string said =
      text != nullptr ? clean_line({text, static_cast<std::size_t>(size)}) : "";
  return said.empty() ? "the connection was closed" : said;
}

std::string SshConnection::server_words() const {
  std::string words = handles_->goodbye;
#if LIBSSH2_VERSION_NUM >= 0x010b00
  char* banner = nullptr;
  if (::libssh2_userauth_banner(handles_->session.get(), &banner) == 0 && banner != nullptr)
    words = clean_line(banner) + (words.empty() ? "" : "; " + words);
#endif
  return words;
}

std::string SshConnection::library_version() {
  return ::libssh2_version(0);
}

bool SshConnection::older_than(int major, int minor, int patch) {
  return ::libssh2_version(major << 16 | minor << 8 | patch) == nullptr;
}

}  // namespace ds
