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

/// The jump host's sshd waits minutes for a target that is down, and libssh2 meanwhile asks for no
/// other channel of the same connection.
constexpr auto kHeldUp = std::chrono::seconds(2);

/// Bytes that one tunnel hands on before the others get their turn.
constexpr std::size_t kTurn = 1u << 20;

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

Bastion::Bastion(SshSettings settings, SshServices& services, int more)
    : settings_(std::move(settings)),
      services_(services),
      link_(settings_, services, *this),
      more_(more) {}

Bastion::~Bastion() {
  for (Tunnel& tunnel : tunnels_)
    services_.loop.forget(tunnel);
  services_.loop.forget(*this);
}

Bastion::Tunnel& Bastion::add(const std::string& host, int port, Loop::Member& owner) {
  if (held_up() && more_ > 0)
    return another().add(host, port, owner);
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

void Bastion::wants(std::vector<pollfd>& waits) const {
  if (!link_.ready() || !tunnels_.empty())
    link_.wants(waits);
}

Clock::time_point Bastion::deadline() const {
  if (tunnels_.empty())
    return Clock::time_point::max();
  const bool may_be_held_up = opening_ != nullptr && !held_up() && any_waits();
  return std::min(link_.deadline(),
                  may_be_held_up ? opening_since_ + kHeldUp : Clock::time_point::max());
}

void Bastion::turn() {
  if (link_.ready() && !finish_what_began())
    return;
  sweep();
  if (!link_.ready() && any_waits())
    connect();
  if (link_.ready())
    open_tunnels();
  if (link_.ready() && may_send())
    read_all();
  if (link_.ready())
    send_all();
  if (held_up())
    relieve();
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
  if (!settings_.problem.empty()) {
    give_up("the jump host " + settings_.name + ": " + settings_.problem);
    return;
  }
  if (services_.loop.now() >= failed_until_) {
    if (link_.off())
      link_.begin();
    if (link_.step() != SshProgress::failed)
      return;
    failed_until_ = services_.loop.now() + kFailureCounts;
    by_openssh_ = link_.failure().by_openssh;
  }
  give_up("the jump host " + settings_.name + ": " + link_.failure().message);
}

bool Bastion::any_waits() const {
  return std::any_of(tunnels_.begin(), tunnels_.end(),
                     [](const Tunnel& tunnel) { return tunnel.waits(); });
}

bool Bastion::any_open() const {
  return std::any_of(tunnels_.begin(), tunnels_.end(),
                     [](const Tunnel& tunnel) { return tunnel.open; });
}

bool Bastion::held_up() const {
  return opening_ != nullptr && services_.loop.now() >= opening_since_ + kHeldUp;
}

Bastion& Bastion::another() {
  if (!another_)
    another_ = std::make_unique<Bastion>(settings_, services_, more_ - 1);
  return *another_;
}

/// Those who wait behind a target that gives no answer go on by another connection.
void Bastion::relieve() {
  if (opening_->abandoned && !any_open()) {
    let_go();
    services_.loop.wake(*this);
    return;
  }
  if (more_ == 0 || !any_waits())
    return;
  Bastion& other = another();
  for (auto at = tunnels_.begin(); at != tunnels_.end();) {
    const auto tunnel = at++;
    if (!tunnel->waits())
      continue;
    tunnel->bastion = &other;
    other.tunnels_.splice(other.tunnels_.end(), tunnels_, tunnel);
  }
  services_.loop.wake(other);
}

void Bastion::open_tunnels() {
  while (may_send() || opening_ != nullptr) {
    if (opening_ == nullptr) {
      const auto next = std::find_if(tunnels_.begin(), tunnels_.end(),
                                     [](const Tunnel& tunnel) { return tunnel.waits(); });
      if (next == tunnels_.end())
        return;
      opening_ = &*next;
      opening_->asked = true;
      opening_since_ = services_.loop.now();
      services_.loop.wake(opening_->owner);
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
      tunnel.open = tunnel.opened = true;
      services_.loop.arm(tunnel);
      services_.loop.wake(tunnel.owner);
    }
  }
}

void Bastion::refused(Tunnel& tunnel) {
  if (!link_.broken()) {
    end(tunnel, fmt::format("the jump host {} makes no connection to {}:{} ({})", settings_.name,
                            tunnel.host, tunnel.port, link_.connection().last_error()));
  } else if (!any_open() && !tunnel.tried_anew) {
    // It was idle, and the server has closed it.
    tunnel.tried_anew = true;
    tunnel.asked = false;
    let_go();
    services_.loop.wake(*this);
  } else {
    lose(broke());
  }
}

/// The first get() reads the socket dry; after it the queues tell which channels have something.
void Bastion::read_all() {
  bool dry = false;
  for (Tunnel& tunnel : tunnels_) {
    if (!tunnel.open || !link_.ready())
      continue;
    if (!dry || tunnel.channel->has_input() || tunnel.channel->ended()) {
      dry |= tunnel.from_host.size() < kPiece;
      receive(tunnel);
      services_.loop.arm(tunnel);
    }
  }
}

/// What could not be sent when it came: another tunnel had half a packet under way, or the jump
/// host's window was full.
void Bastion::send_all() {
  for (Tunnel& tunnel : tunnels_) {
    if (!link_.ready() || !may_send())
      return;
    if (!tunnel.open || tunnel.to_host.empty())
      continue;
    send(tunnel);
    services_.loop.arm(tunnel);
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
    if (!put && link_.broken()) {
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

/// Hands on what has come, as long as the session takes it: what stays in libssh2's queue raises no
/// event.
void Bastion::receive(Tunnel& tunnel) {
  SshProgress got = SshProgress::done;
  for (std::size_t total = 0; got == SshProgress::done; total += kPiece) {
    if (total >= kTurn) {
      services_.loop.wake(*this);
      return;
    }
    if (tunnel.from_host.size() < kPiece)
      got = tunnel.channel->get(SshChannel::Stream::out, tunnel.from_host, kPiece);
    if (got == SshProgress::failed) {
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
  // The owner of one that was abandoned has gone on to something else.
  if (!std::exchange(tunnel.abandoned, true))
    services_.loop.wake(tunnel.owner);
}

void Bastion::lose(const std::string& why) {
  for (Tunnel& tunnel : tunnels_) {
    if (!tunnel.waits())
      end(tunnel, why);
  }
  let_go();
  services_.loop.wake(*this);
}

/// The jump host cannot be reached, or refuses: so it is for all who wait.
void Bastion::give_up(const std::string& why) {
  for (Tunnel& tunnel : tunnels_) {
    if (!tunnel.waits())
      continue;
    tunnel.outcome = link_.failure().outcome;
    tunnel.seen_key = link_.failure().seen_key;
    end(tunnel, why);
  }
  services_.loop.wake(*this);
}

/// Drops the connection, with every channel that libssh2 frees with it.
void Bastion::let_go() {
  sending_ = closing_ = opening_ = nullptr;
  for (Tunnel& tunnel : tunnels_)
    tunnel.channel.reset();
  link_.drop();
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
