// SPDX-License-Identifier: Apache-2.0
#include "transport/bastion.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/error.h"

namespace ds {
namespace {

constexpr std::size_t kPiece = 1u << 17;

/// A jump host that is down or refuses is not asked again for each of a thousand hosts.
constexpr auto kFailureCounts = std::chrono::seconds(60);

}  // namespace

void Bastion::Tunnel::wants(std::vector<pollfd>& waits) const {
  if (!near || !open)
    return;
  short events = 0;
  if (!input_ended && to_host.size() < kPiece)
    events |= POLLIN;
  if (!from_host.empty())
    events |= POLLOUT;
  waits.push_back({near.get(), events, 0});
}

Bastion::Bastion(SshSettings settings, SshServices& services)
    : settings_(std::move(settings)), services_(services), link_(settings_, services, *this) {}

Bastion::~Bastion() {
  for (Tunnel& tunnel : tunnels_)
    services_.loop.forget(tunnel);
  services_.loop.forget(*this);
}

Bastion::Tunnel& Bastion::add(const std::string& host, int port, Loop::Member& owner) {
  Tunnel& tunnel = tunnels_.emplace_back(*this, host, port, owner);
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0) {
    tunnel.near = Fd(ends[0]);
    tunnel.far = Fd(ends[1]);
  } else {
    tunnel.problem = "cannot make a socket pair: " + errno_text(errno);
  }
  services_.loop.wake(*this);
  return tunnel;
}

void Bastion::abandon(Tunnel& tunnel) {
  tunnel.abandoned = true;
  tunnel.far.close();
  services_.loop.wake(*this);
}

void Bastion::close_idle() {
  if (tunnels_.empty())
    link_.drop();
}

void Bastion::wants(std::vector<pollfd>& waits) const {
  if (!link_.ready() || !tunnels_.empty())
    link_.wants(waits);
}

Clock::time_point Bastion::deadline() const {
  return tunnels_.empty() ? Clock::time_point::max() : link_.deadline();
}

void Bastion::turn() {
  if (link_.ready() && !finish_what_began())
    return;
  sweep();
  if (tunnels_.empty())
    return;
  if (!link_.ready())
    connect();
  if (!link_.ready())
    return;
  open_tunnels();
  if (link_.ready() && may_send())
    read_all();
}

bool Bastion::may_send() const {
  return sending_ == nullptr && closing_ == nullptr &&
         (opening_ == nullptr || !link_.connection().wants_to_send());
}

/// False while half a packet waits for the socket.
bool Bastion::finish_what_began() {
  if (sending_ != nullptr)
    send(*sending_);
  if (closing_ != nullptr)
    close_channel(*closing_);
  return sending_ == nullptr && closing_ == nullptr;
}

std::string Bastion::broke() const {
  return "the connection to the jump host " + settings_.name +
         " broke: " + link_.connection().last_error();
}

void Bastion::connect() {
  if (services_.loop.now() < failed_until_) {
    lose("the jump host " + settings_.name + ": " + link_.failure().message);
    return;
  }
  if (link_.off())
    link_.begin();
  if (link_.step() != SshProgress::failed)
    return;
  failed_until_ = services_.loop.now() + kFailureCounts;
  by_openssh_ = link_.failure().by_openssh;
  lose("the jump host " + settings_.name + ": " + link_.failure().message);
}

bool Bastion::any_open() const {
  return std::any_of(tunnels_.begin(), tunnels_.end(),
                     [](const Tunnel& tunnel) { return tunnel.open; });
}

void Bastion::open_tunnels() {
  while (may_send() || opening_ != nullptr) {
    if (opening_ == nullptr) {
      const auto next = std::find_if(tunnels_.begin(), tunnels_.end(), [](const Tunnel& tunnel) {
        return !tunnel.asked && !tunnel.abandoned && tunnel.problem.empty();
      });
      if (next == tunnels_.end())
        return;
      opening_ = &*next;
      opening_->asked = true;
    }
    const SshProgress progress =
        link_.connection().open_tunnel(opening_->host, opening_->port, opening_->channel);
    if (progress == SshProgress::waiting)
      return;
    Tunnel& tunnel = *std::exchange(opening_, nullptr);
    if (progress == SshProgress::failed) {
      refused(tunnel);
      if (!link_.ready())
        return;
    } else {
      tunnel.open = true;
      services_.loop.arm(tunnel);
      services_.loop.wake(tunnel.owner);
    }
  }
}

void Bastion::refused(Tunnel& tunnel) {
  if (!link_.connection().lost()) {
    end(tunnel, fmt::format("the jump host {} makes no connection to {}:{} ({})", settings_.name,
                            tunnel.host, tunnel.port, link_.connection().last_error()));
  } else if (!any_open() && !tunnel.tried_anew) {
    // It was idle, and the server has closed it.
    tunnel.tried_anew = true;
    tunnel.asked = false;
    link_.drop();
    services_.loop.wake(*this);
  } else {
    lose(broke());
  }
}

/// The first get() reads the socket dry; after it the queues tell which channels have something.
void Bastion::read_all() {
  bool first = true;
  for (Tunnel& tunnel : tunnels_) {
    if (!tunnel.open || !link_.ready())
      continue;
    if (first || tunnel.channel->has_input() || tunnel.channel->ended()) {
      receive(tunnel);
      services_.loop.arm(tunnel);
    }
    first = false;
  }
}

void Bastion::serve(Tunnel& tunnel) {
  if (!tunnel.open)
    return;
  while (!tunnel.input_ended && tunnel.to_host.size() < kPiece) {
    const std::size_t at = tunnel.to_host.size();
    tunnel.to_host.resize(at + kPiece);
    const ssize_t got = ::read(tunnel.near.get(), tunnel.to_host.data() + at, kPiece);
    tunnel.to_host.resize(at + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    tunnel.input_ended = got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
    if (got <= 0)
      break;
  }
  if (may_send())
    send(tunnel);
  if (tunnel.open && may_send())
    receive(tunnel);
  // What libssh2 read meanwhile may be for others, and what it waits for may have changed.
  services_.loop.wake(*this);
}

void Bastion::send(Tunnel& tunnel) {
  sending_ = nullptr;
  while (!tunnel.to_host.empty()) {
    const std::optional<std::size_t> put = tunnel.channel->put(tunnel.to_host);
    if (!put && link_.connection().lost()) {
      lose(broke());
      return;
    }
    if (!put) {
      end(tunnel, "the jump host closed the connection");
      return;
    }
    if (*put == 0) {
      if (link_.connection().wants_to_send())
        sending_ = &tunnel;
      return;
    }
    tunnel.to_host.erase(0, *put);
  }
  tunnel.abandoned |= tunnel.input_ended;
}

void Bastion::receive(Tunnel& tunnel) {
  if (tunnel.from_host.size() < kPiece &&
      tunnel.channel->get(SshChannel::Stream::out, tunnel.from_host, kPiece) ==
          SshProgress::failed) {
    lose(broke());
    return;
  }
  while (!tunnel.from_host.empty()) {
    const ssize_t put =
        ::send(tunnel.near.get(), tunnel.from_host.data(), tunnel.from_host.size(), MSG_NOSIGNAL);
    tunnel.abandoned |= put < 0 && errno != EAGAIN && errno != EINTR;
    if (put <= 0)
      return;
    tunnel.from_host.erase(0, static_cast<std::size_t>(put));
  }
  if (tunnel.channel->ended() && !tunnel.channel->has_input())
    end(tunnel, "the host closed the connection");
}

/// The session sees the end of its socket, and finds the reason here.
void Bastion::end(Tunnel& tunnel, const std::string& why) {
  if (tunnel.problem.empty())
    tunnel.problem = why;
  tunnel.near.close();
  tunnel.open = false;
  tunnel.abandoned = true;
  services_.loop.wake(tunnel.owner);
}

void Bastion::lose(const std::string& why) {
  sending_ = closing_ = opening_ = nullptr;
  for (Tunnel& tunnel : tunnels_) {
    end(tunnel, why);
    tunnel.channel.reset();
  }
  link_.drop();
  services_.loop.wake(*this);
}

/// True once libssh2 is done with the channel.
bool Bastion::close_channel(Tunnel& tunnel) {
  closing_ = nullptr;
  SshChannel::Exit ignored;
  if (tunnel.channel && tunnel.channel->close(ignored) == SshProgress::waiting) {
    if (link_.connection().wants_to_send())
      closing_ = &tunnel;
    return false;
  }
  tunnel.channel.reset();
  tunnel.open = false;
  tunnel.near.close();
  return true;
}

/// Takes away the tunnels that nobody uses.
void Bastion::sweep() {
  for (auto tunnel = tunnels_.begin(); tunnel != tunnels_.end();) {
    const bool in_use = &*tunnel == opening_ || !tunnel->abandoned;
    if (in_use || (tunnel->channel && (!may_send() || !close_channel(*tunnel))) || tunnel->far) {
      ++tunnel;
      continue;
    }
    services_.loop.forget(*tunnel);
    tunnel = tunnels_.erase(tunnel);
  }
}

}  // namespace ds
