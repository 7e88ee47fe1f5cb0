// SPDX-License-Identifier: Apache-2.0
#include "transport/resolver.h"

#include <ares.h>
#include <arpa/inet.h>
#include <netdb.h>

#include <cstring>
#include <map>

#include "base/error.h"

namespace ds {
namespace {

/// ares_library_init counts its calls.
class Library {
 public:
  Library() {
    if (::ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
      throw Error("c-ares cannot be initialised");
  }
  ~Library() { ::ares_library_cleanup(); }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
};

/// The families in turn, beginning with the one that the resolver put first.
std::vector<SocketAddress> interleaved(const std::vector<SocketAddress>& addresses) {
  std::vector<SocketAddress> first, second, mixed;
  for (const SocketAddress& address : addresses) {
    const bool same = address.bytes.ss_family == addresses.front().bytes.ss_family;
    (same ? first : second).push_back(address);
  }
  for (std::size_t i = 0; i < std::max(first.size(), second.size()); ++i) {
    if (i < first.size())
      mixed.push_back(first[i]);
    if (i < second.size())
      mixed.push_back(second[i]);
  }
  return mixed;
}

LookupAnswer as_answer(int status, const ares_addrinfo* found) {
  LookupAnswer answer;
  if (status != ARES_SUCCESS) {
    answer.problem = std::string("the name cannot be resolved (") + ::ares_strerror(status) + ")";
    return answer;
  }
  for (const ares_addrinfo_node* node = found->nodes; node != nullptr; node = node->ai_next) {
    SocketAddress address;
    address.size = static_cast<socklen_t>(node->ai_addrlen);
    if (address.size > sizeof address.bytes)
      continue;
    std::memcpy(&address.bytes, node->ai_addr, address.size);
    answer.addresses.push_back(address);
  }
  if (answer.addresses.empty())
    answer.problem = "the name has no address";
  else
    answer.addresses = interleaved(answer.addresses);
  return answer;
}

/// No name service is needed for numbers, and c-ares is not asked: it knows no scope
/// ("fe80::1%eth0").
std::vector<SocketAddress> numeric(const std::string& host, const std::string& port, int family) {
  addrinfo hints{};
  hints.ai_family = family;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), port.c_str(), &hints, &found) != 0)
    return {};
  SocketAddress address;
  address.size = found->ai_addrlen;
  std::memcpy(&address.bytes, found->ai_addr, found->ai_addrlen);
  ::freeaddrinfo(found);
  return {address};
}

}  // namespace

struct Resolver::Channel {
  Library library;
  std::map<ares_socket_t, short> events;  ///< what each socket waits for
  ares_channel handle = nullptr;

  static void socket_waits(void* self, ares_socket_t socket, int reads, int writes) {
    auto& events = static_cast<Channel*>(self)->events;
    if (reads == 0 && writes == 0)
      events.erase(socket);
    else
      events[socket] = static_cast<short>((reads != 0 ? POLLIN : 0) | (writes != 0 ? POLLOUT : 0));
  }
  ~Channel() {
    if (handle != nullptr)
      ::ares_destroy(handle);
  }
};

struct ResolverCallback {
  Resolver* resolver;
  std::uint64_t lookup;

  static void called(void* self, int status, int /*timeouts*/, ares_addrinfo* found) {
    const std::unique_ptr<ResolverCallback> callback(static_cast<ResolverCallback*>(self));
    if (status != ARES_EDESTRUCTION)
      callback->resolver->answer(callback->lookup, as_answer(status, found));
    if (found != nullptr)
      ::ares_freeaddrinfo(found);
  }
};

Resolver::Resolver(Loop& loop) : loop_(loop) {}

Resolver::~Resolver() {
  loop_.forget(*this);
}

void Resolver::open() {
  channel_ = std::make_unique<Channel>();
  ares_options options{};
  options.sock_state_cb = Channel::socket_waits;
  options.sock_state_cb_data = channel_.get();
  const int status = ::ares_init_options(&channel_->handle, &options, ARES_OPT_SOCK_STATE_CB);
  if (status != ARES_SUCCESS)
    throw Error(std::string("the name service cannot be set up: ") + ::ares_strerror(status));
}

std::uint64_t Resolver::begin(const std::string& host, int port, int family, Done done) {
  const std::uint64_t lookup = next_++;
  const std::string service = std::to_string(port);
  std::vector<SocketAddress> known = numeric(host, service, family);
  if (!known.empty()) {
    done({std::move(known), {}});
    return lookup;
  }
  if (!channel_)
    open();
  waiting_.emplace(lookup, std::move(done));
  ares_addrinfo_hints hints{};
  hints.ai_family = family;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = ARES_AI_NUMERICSERV;
  ::ares_getaddrinfo(channel_->handle, host.c_str(), service.c_str(), &hints,
                     ResolverCallback::called, new ResolverCallback{this, lookup});
  loop_.arm(*this);
  return lookup;
}

void Resolver::answer(std::uint64_t lookup, LookupAnswer answer) {
  const auto waiting = waiting_.find(lookup);
  if (waiting == waiting_.end())
    return;
  const Done done = std::move(waiting->second);
  waiting_.erase(waiting);
  done(std::move(answer));
}

void Resolver::wants(std::vector<pollfd>& waits) const {
  if (!channel_)
    return;
  for (const auto& [socket, events] : channel_->events)
    waits.push_back({socket, events, 0});
}

Clock::time_point Resolver::deadline() const {
  timeval most{1, 0}, left{};
  if (!channel_ || waiting_.empty())
    return Clock::time_point::max();
  const timeval* next = ::ares_timeout(channel_->handle, &most, &left);
  return loop_.now() + std::chrono::seconds(next->tv_sec) +
         std::chrono::microseconds(next->tv_usec);
}

void Resolver::turn() {
  // The loop does not say which descriptor is ready; c-ares finds out by trying each.
  std::vector<pollfd> waits;
  wants(waits);
  for (const pollfd& wait : waits) {
    ::ares_process_fd(channel_->handle, wait.fd,
                      (wait.events & POLLOUT) != 0 ? wait.fd : ARES_SOCKET_BAD);
  }
  ::ares_process_fd(channel_->handle, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

}  // namespace ds
