// SPDX-License-Identifier: Apache-2.0
#include "transport/ssh_link.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "base/random.h"
#include "transport/host_key_decision.h"
#include "transport/session.h"

namespace ds {
namespace {

using Outcome = ExecResult::Outcome;

/// A server that drops connections at random lets one of a few through; 7 tries take about 20 s.
constexpr int kMostTries = 7;
/// A server that has said its first word lets us in; if it breaks off then, it is ill.
constexpr int kMostTriesInside = 3;

/// Doubled each time, half of it chance, so that those who were refused together come back apart.
Clock::duration pause_after(int tries) {
  const auto whole = std::chrono::milliseconds(300) * (1 << std::min(tries, 5));
  return whole / 2 +
         std::chrono::milliseconds(random_below(static_cast<unsigned>(whole.count() / 2)));
}

}  // namespace

std::string SshLink::where() const {
  return fmt::format("{}:{}", settings_.hostname, settings_.port);
}

void SshLink::begin() {
  tries_ = 0;
  turned_away_ = false;
  failure_ = {};
  open_route();
}

void SshLink::open_route() {
  drop();
  if (!settings_.proxy_command.empty()) {
    route_ = make_command_route({"/bin/sh", "-c", "exec " + settings_.proxy_command});
  } else if (!settings_.jumps.empty()) {
    route_ = services_.bastions.route(settings_, owner_);
  } else {
    TcpTarget target{settings_.hostname, settings_.port, settings_.family, settings_.bind_address};
    if (settings_.alive_interval > 0)
      target.keepalive = settings_.alive_interval;
    route_ = make_tcp_route(target, services_.resolver, services_.loop, owner_);
  }
  phase_ends_ = services_.loop.now() + connect_limit();
  phase_ = Phase::route;
}

std::chrono::milliseconds SshLink::connect_limit() const {
  return settings_.connect_timeout.count() > 0 ? settings_.connect_timeout
                                               : services_.options.connect_timeout;
}

/// The socket is asked: libssh2 names its failures after what it was doing, not after the reason.
bool SshLink::broken() const {
  pollfd state{fd(), POLLRDHUP, 0};
  return ::poll(&state, 1, 0) == 1;
}

void SshLink::drop() {
  // What is still to send finds a closed socket, so nothing is waited for.
  if (fd() >= 0 && phase_ > Phase::route)
    ::shutdown(fd(), SHUT_RDWR);
  login_.reset();
  connection_.reset();
  route_.reset();
  phase_ = Phase::off;
}

SshProgress SshLink::step() {
  SshProgress progress = SshProgress::done;
  while (phase_ != Phase::ready && progress == SshProgress::done)
    progress = advance();
  if (progress == SshProgress::waiting && late())
    return fail({Outcome::unreachable, what_was_late(), {}, {}});
  return progress;
}

bool SshLink::late() const {
  const bool others_time = phase_ == Phase::pause || (phase_ == Phase::route && route_->queued());
  return !others_time && services_.loop.now() >= phase_ends_;
}

std::string SshLink::what_was_late() const {
  const auto seconds = [](std::chrono::milliseconds limit) { return in_seconds(limit); };
  if (phase_ == Phase::login) {
    return fmt::format(
        "{}: the login took longer than {} s{}", where(), seconds(services_.options.login_timeout),
        login_ && login_->waits_for_agent() ? ": the ssh agent gives no answer" : "");
  }
  return fmt::format(
      "connect to {}: {} in {} s", where(),
      phase_ == Phase::handshake ? "it takes connections, but no SSH session began" : "no answer",
      seconds(connect_limit()));
}

SshProgress SshLink::advance() {
  switch (phase_) {
    case Phase::off:
      return SshProgress::failed;
    case Phase::pause:
      if (services_.loop.now() < phase_ends_)
        return SshProgress::waiting;
      open_route();
      return SshProgress::done;
    case Phase::route:
      return reach();
    case Phase::handshake:
      return shake_hands();
    case Phase::login:
      return log_in();
    case Phase::ready:
      break;
  }
  return SshProgress::done;
}

SshProgress SshLink::enter(Phase phase) {
  phase_ = phase;
  return SshProgress::done;
}

SshProgress SshLink::reach() {
  const Route::Progress reached = route_->step();
  if (std::exchange(queued_, route_->queued()) && !queued_)
    phase_ends_ = services_.loop.now() + connect_limit();
  switch (reached) {
    case Route::Progress::waiting:
      return SshProgress::waiting;
    case Route::Progress::failed:
      return fail({route_->outcome(),
                   "connect to " + where() + ": " + route_->problem(),
                   {},
                   route_->seen_key()});
    case Route::Progress::connected:
      break;
  }
  const SshAlgorithms algorithms{settings_.kex, settings_.ciphers, settings_.macs,
                                 settings_.host_keys, key_types_on_file()};
  connection_ = std::make_unique<SshConnection>(route_->fd(), algorithms);
  if (!connection_->lacking().empty()) {
    const std::string why = fmt::format("libssh2 {} knows no {} that the ssh configuration allows",
                                        SshConnection::library_version(), connection_->lacking());
    return fail({Outcome::unreachable, where() + ": " + why, why, {}});
  }
  return enter(Phase::handshake);
}

SshProgress SshLink::shake_hands() {
  const SshProgress shaken = connection_->handshake();
  if (shaken == SshProgress::done)
    return check_key();
  if (shaken == SshProgress::waiting)
    return shaken;
  if (connection_->no_common_algorithm()) {
    const std::string why =
        fmt::format("the server and libssh2 {} have no algorithm in common ({})",
                    SshConnection::library_version(), connection_->last_error());
    return fail({Outcome::unreachable, where() + ": " + why, why, {}});
  }
  return hung_up("no SSH session: " + connection_->last_error());
}

/// The server closed the connection before it showed its key: too many at one time, mostly, where
/// it has not even said what it is.
SshProgress SshLink::hung_up(const std::string& while_doing) {
  turned_away_ = turned_away_ || !connection_->server_banner().starts_with("SSH-");
  const std::string behind = route_->problem();
  std::string message =
      fmt::format("{}: {}{}", where(), while_doing, behind.empty() ? "" : " (" + behind + ")");
  if (broken() && route_->worth_another_try() &&
      ++tries_ < (turned_away_ ? kMostTries : kMostTriesInside)) {
    drop();
    phase_ends_ = services_.loop.now() + pause_after(tries_);
    return enter(Phase::pause);
  }
  if (tries_ > 1)
    message += fmt::format("; tried {} times", tries_);
  if (tries_ > 1 && turned_away_)
    message +=
        ": the server lets in few at one time (MaxStartups, PerSourcePenalties): use a "
        "smaller --fanout";
  return fail({Outcome::unreachable, message, {}, {}});
}

std::vector<std::string> SshLink::key_types_on_file() const {
  return services_.known_hosts.of(settings_).key_types(settings_.host_key_name,
                                                       settings_.host_key_port);
}

SshProgress SshLink::check_key() {
  const std::string key = connection_->host_key();
  KeyDecision decision = decide_host_key(services_.known_hosts, settings_, key);
  if (decision.seen && decision.seen->check.verdict == KeyVerdict::changed &&
      SshConnection::older_than(1, 11, 0)) {
    const std::vector<std::string> types = key_types_on_file();
    if (std::find(types.begin(), types.end(), "ssh-rsa") != types.end()) {
      decision.by_openssh = fmt::format("libssh2 {} cannot ask for the RSA key that is on file",
                                        SshConnection::library_version());
    }
  }
  if (!decision.accepted)
    return fail({Outcome::host_key_refused, decision.message, decision.by_openssh, decision.seen});
  login_ = std::make_unique<SshLogin>(*connection_, settings_, services_.keys);
  phase_ends_ = services_.loop.now() + services_.options.login_timeout;
  return enter(Phase::login);
}

SshProgress SshLink::log_in() {
  const SshProgress progress = login_->step();
  if (progress == SshProgress::done) {
    needs_person_ = login_->asked_person();
    return enter(Phase::ready);
  }
  if (progress == SshProgress::waiting)
    return progress;
  return fail(
      {Outcome::login_refused, where() + " " + login_->problem(), login_->better_by_openssh(), {}});
}

SshProgress SshLink::fail(LinkFailure failure) {
  failure_ = std::move(failure);
  drop();
  return SshProgress::failed;
}

void SshLink::wants(std::vector<pollfd>& waits) const {
  if (phase_ == Phase::route) {
    route_->wants(waits);
  } else if (phase_ == Phase::login && login_->waits_for_agent()) {
    login_->wants(waits);
  } else if (phase_ > Phase::route) {
    // While something is left to send libssh2 reads nothing; waiting for input too would spin.
    const bool sends = connection_ && connection_->wants_to_send();
    waits.push_back({fd(), static_cast<short>(sends ? POLLOUT : POLLIN), 0});
  }
}

Clock::time_point SshLink::deadline() const {
  switch (phase_) {
    case Phase::off:
    case Phase::ready:
      return Clock::time_point::max();
    case Phase::route:
      if (route_->queued())
        return Clock::time_point::max();
      return std::min(phase_ends_, route_->deadline());
    default:
      return phase_ends_;
  }
}

std::size_t SshLink::descriptors() const {
  const std::size_t own = settings_.jumps.empty() && settings_.proxy_command.empty() ? 1 : 2;
  return own + (phase_ == Phase::login ? 1 : 0);
}

}  // namespace ds
