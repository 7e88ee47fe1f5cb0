// SPDX-License-Identifier: Apache-2.0
#include "transport/agent_client.h"

#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <optional>

#include "base/error.h"
#include "base/text.h"
#include "transport/ssh_wire.h"

namespace ds {
namespace {

constexpr std::size_t kLargestAnswer = 256 * 1024;  // as OpenSSH
constexpr long kFullQueuePause = 5'000'000;         // ns

enum Message : unsigned char {
  agent_failure = 5,
  request_identities = 11,
  identities_answer = 12,
  sign_request = 13,
  sign_response = 14,
  agent_extension_failure = 28,
};

enum SignFlags : unsigned { rsa_sha2_256 = 2, rsa_sha2_512 = 4 };

std::string framed(const std::string& body) {
  std::string message;
  put_string(message, body);
  return message;
}

/// A certificate's algorithm signs as that of its key.
std::string_view signature_algorithm(std::string_view algorithm) {
  return algorithm.substr(0, algorithm.find("-cert-v01@"));
}

unsigned flags_for(std::string_view algorithm) {
  const std::string_view plain = signature_algorithm(algorithm);
  return plain == "rsa-sha2-512" ? rsa_sha2_512 : plain == "rsa-sha2-256" ? rsa_sha2_256 : 0u;
}

std::optional<std::vector<AgentKey>> parse_keys(std::string_view body) {
  const std::optional<std::uint32_t> number = take_number(body);
  // Each takes 8 bytes at least, which bounds what is believed.
  if (!number || *number > body.size() / 8)
    return std::nullopt;
  std::vector<AgentKey> keys;
  for (std::uint32_t i = 0; i < *number; ++i) {
    const auto blob = take_string(body);
    const auto comment = blob ? take_string(body) : std::nullopt;
    if (!comment)
      return std::nullopt;
    keys.push_back({std::string(*blob), clean_line(*comment, 100)});
  }
  return keys;
}

}  // namespace

SshProgress AgentClient::list(std::vector<AgentKey>& keys) {
  const SshProgress asked = ask(framed(std::string(1, static_cast<char>(request_identities))));
  if (asked != SshProgress::done)
    return asked;
  std::string_view body;
  if (!answer_is(identities_answer, body))
    return refusal("it does not list its keys");
  std::optional<std::vector<AgentKey>> held = parse_keys(body);
  if (!held)
    return fail(Failure::malformed, "its list of keys makes no sense");
  keys = std::move(*held);
  end();
  return SshProgress::done;
}

SshProgress AgentClient::sign(std::string_view blob, std::string_view data,
                              std::string_view algorithm, std::string& signature) {
  std::string request;
  if (phase_ == Phase::idle) {
    request += static_cast<char>(sign_request);
    put_string(request, blob);
    put_string(request, data);
    put_number(request, flags_for(algorithm));
    request = framed(request);
  }
  const SshProgress asked = ask(request);
  if (asked != SshProgress::done)
    return asked;
  std::string_view body;
  if (!answer_is(sign_response, body))
    return refusal("it does not sign with this key");
  const auto whole = take_string(body);
  std::string_view rest = whole.value_or(std::string_view());
  const auto made_with = take_string(rest);
  const auto bytes = made_with ? take_string(rest) : std::nullopt;
  if (!bytes)
    return fail(Failure::malformed, "its signature makes no sense");
  if (*made_with != signature_algorithm(algorithm)) {
    return fail(Failure::declined, "it signs with " + clean_line(*made_with, 40) + ", not with " +
                                       clean_line(signature_algorithm(algorithm), 40));
  }
  signature = *bytes;
  end();
  return SshProgress::done;
}

void AgentClient::wants(std::vector<pollfd>& waits) const {
  if (phase_ == Phase::connecting && timer_)
    waits.push_back({timer_.get(), POLLIN, 0});
  if (phase_ == Phase::sending)
    waits.push_back({fd_.get(), POLLOUT, 0});
  if (phase_ == Phase::receiving)
    waits.push_back({fd_.get(), POLLIN, 0});
}

SshProgress AgentClient::ask(const std::string& message) {
  if (phase_ == Phase::idle) {
    failure_ = Failure::none;
    problem_.clear();
    to_send_ = message;
    phase_ = Phase::connecting;
  }
  SshProgress progress = SshProgress::done;
  if (phase_ == Phase::connecting)
    progress = connect();
  if (progress == SshProgress::done && phase_ == Phase::sending)
    progress = send();
  if (progress == SshProgress::done && phase_ == Phase::receiving)
    progress = receive();
  return progress;
}

SshProgress AgentClient::connect() {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_.size() >= sizeof address.sun_path)
    return fail(Failure::no_socket, "the path is too long for a socket");
  std::memcpy(address.sun_path, socket_.data(), socket_.size());
  fd_ = Fd();
  fd_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd_)
    return fail(Failure::refused, errno_text(errno));
  if (::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    timer_ = Fd();
    phase_ = Phase::sending;
    return SshProgress::done;
  }
  if (errno == EAGAIN || errno == EINTR)
    return come_back_later();
  const bool absent = errno == ENOENT || errno == ENOTDIR;
  return fail(absent ? Failure::no_socket : Failure::refused, errno_text(errno));
}

/// A socket whose queue is full gives no descriptor to wait for: a clock does.
SshProgress AgentClient::come_back_later() {
  fd_ = Fd();
  timer_ = Fd(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  itimerspec soon{};
  soon.it_value.tv_nsec = kFullQueuePause;
  if (!timer_ || ::timerfd_settime(timer_.get(), 0, &soon, nullptr) != 0)
    return fail(Failure::refused, errno_text(errno));
  return SshProgress::waiting;
}

SshProgress AgentClient::send() {
  while (!to_send_.empty()) {
    const ssize_t put = ::send(fd_.get(), to_send_.data(), to_send_.size(), MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR)
      continue;
    if (put < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
      return SshProgress::waiting;
    if (put < 0)
      return fail(Failure::closed, "it hung up");
    to_send_.erase(0, static_cast<std::size_t>(put));
  }
  phase_ = Phase::receiving;
  return SshProgress::done;
}

SshProgress AgentClient::receive() {
  char buffer[16 * 1024];
  for (;;) {
    std::string_view head = answer_;
    const std::optional<std::uint32_t> length = take_number(head);
    if (length && (*length == 0 || *length > kLargestAnswer))
      return fail(Failure::malformed, "an answer of " + std::to_string(*length) + " bytes");
    if (length && head.size() >= *length)
      return SshProgress::done;
    const ssize_t got = ::recv(fd_.get(), buffer, sizeof buffer, 0);
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
      return SshProgress::waiting;
    if (got <= 0)
      return fail(Failure::closed, "it hung up");
    answer_.append(buffer, static_cast<std::size_t>(got));
  }
}

/// Whether it is an answer of this kind; `body` is what follows.
bool AgentClient::answer_is(unsigned char type, std::string_view& body) const {
  std::string_view rest = answer_;
  const auto message = take_string(rest);
  if (!message || message->empty() || static_cast<unsigned char>(message->front()) != type)
    return false;
  body = message->substr(1);
  return true;
}

/// It answered, but not what was asked for.
SshProgress AgentClient::refusal(const std::string& what) {
  std::string_view body;
  if (answer_is(agent_failure, body) || answer_is(agent_extension_failure, body))
    return fail(Failure::declined, what);
  return fail(Failure::malformed, "an answer that makes no sense");
}

SshProgress AgentClient::fail(Failure failure, const std::string& what) {
  failure_ = failure;
  problem_ = "the ssh agent " + clean_line(socket_) + ": " + what;
  end();
  return SshProgress::failed;
}

void AgentClient::end() {
  fd_ = Fd();
  timer_ = Fd();
  to_send_.clear();
  answer_.clear();
  phase_ = Phase::idle;
}

}  // namespace ds
