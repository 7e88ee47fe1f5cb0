// SPDX-License-Identifier: Apache-2.0
#include "transport/engine.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/text.h"
#include "process/process.h"
#include "transport/terminal_prompt.h"

namespace ds {

SshServices::SshServices(const TransportOptions& options, Loop& loop)
    : options(options), loop(loop), resolver(loop), bastions(*this) {
  sudo.sudo = options.sudo;
}

std::size_t descriptor_limit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur == RLIM_INFINITY ? 1u << 20 : limit.rlim_cur;
}

std::size_t descriptors_for_sessions() {
  const std::size_t all = descriptor_limit();
  return all > 2 * kReservedDescriptors ? all - kReservedDescriptors : all / 2;
}

namespace {

std::string key_of(const Endpoint& endpoint) {
  return std::string(endpoint.kind == Endpoint::Kind::local ? "local" : "ssh") + "\n" +
         endpoint.name + "\n" + endpoint.address + "\n" + endpoint.user + "\n" +
         std::to_string(endpoint.port) + "\n" + endpoint.identity;
}

/// What goes wrong here for one host (its file cannot be read, say) is that host's outcome.
std::optional<ExecResult> step(HostSession& session) {
  try {
    return session.step();
  } catch (const Error& error) {
    ExecResult result;
    result.outcome = ExecResult::Outcome::lost;
    result.message = error.what();
    return result;
  }
}

/// Nobody waits for anything but for the time to pass.
struct Pause : public Loop::Member {
  Pause(Loop& loop, std::chrono::milliseconds time) : loop(loop), ends(loop.now() + time) {
    loop.arm(*this);
  }
  ~Pause() override { loop.forget(*this); }
  Pause(const Pause&) = delete;
  Pause& operator=(const Pause&) = delete;
  void wants(std::vector<pollfd>& /*waits*/) const override {}
  Clock::time_point deadline() const override { return over() ? Clock::time_point::max() : ends; }
  void turn() override {}
  bool over() const { return loop.now() >= ends; }

  Loop& loop;
  Clock::time_point ends;
};

}  // namespace

Engine::Host& Engine::host_of(const Endpoint& endpoint) {
  Host*& host = by_key_[key_of(endpoint)];
  if (host == nullptr) {
    host = &hosts_.emplace_back();
    host->endpoint = endpoint;
  }
  return *host;
}

/// What is copied on this machine takes nothing of its network.
RateLimit* Engine::limit_for(const Endpoint& endpoint) {
  return rate_limit_ && endpoint.kind != Endpoint::Kind::local ? &*rate_limit_ : nullptr;
}

Engine::Connection& Engine::connect(Host& host) {
  return connections_.emplace_back(*this, host);
}

void Engine::enqueue(Connection& connection) {
  if (!std::exchange(connection.queued, true))
    ready_.push_back(&connection);
}

void Engine::start(const Endpoint& endpoint, Exec exec, Done done) {
  Host& host = host_of(endpoint);
  if (host.kept == nullptr)
    host.kept = &connect(host);
  host.kept->orders.push_back({std::move(exec), std::move(done)});
  if (!host.kept->runs)
    enqueue(*host.kept);
}

void Engine::attend(std::chrono::milliseconds time) {
  try {
    ask_password();
    resolve_all();
    const Pause pause(loop_, time);
    look_at_conversations();
    for (admit(); busy_ > 0 || !pause.over(); admit())
      loop_.round();
  } catch (...) {
    stop();
    throw;
  }
}

void Engine::ask_password() {
  if (options_.sudo != Sudo::ask_password || !services_.sudo.password.empty())
    return;
  const Fd terminal = open_terminal();
  std::optional<std::string> password;
  if (terminal)
    password = ask_on_terminal(terminal, "sudo password on the hosts: ", false);
  check_interrupt();
  if (!password || password->empty()) {
    throw UsageError("there is no password for sudo: --ask-sudo-password needs a terminal",
                     "start from a terminal, or let sudo ask for none (NOPASSWD) and give --sudo");
  }
  services_.sudo.password = *password;
  wipe(*password);
}

/// Before anything is connected: ssh is asked about all hosts at once.
void Engine::resolve_all() {
  std::vector<Host*> unknown;
  std::vector<Endpoint> endpoints;
  for (Host& host : hosts_) {
    if (host.resolved || host.endpoint.kind == Endpoint::Kind::local)
      continue;
    unknown.push_back(&host);
    endpoints.push_back(host.endpoint);
  }
  if (unknown.empty())
    return;
  std::vector<SshSettings> settings = resolve_ssh_settings(endpoints, options_);
  services_.bastions.prepare(settings);
  for (std::size_t i = 0; i < unknown.size(); ++i) {
    unknown[i]->settings = std::move(settings[i]);
    unknown[i]->resolved = true;
    if (!unknown[i]->settings.needs_openssh.empty())
      unknown[i]->by_openssh = join(unknown[i]->settings.needs_openssh, ", ");
    if (options_.backend == SshBackend::openssh)
      unknown[i]->by_openssh = "--ssh-backend openssh";
  }
}

/// Begins what fan-out and descriptors allow.
void Engine::admit() {
  sweep();
  while (!ready_.empty() && weighing_ < options_.fanout) {
    Connection& next = *ready_.front();
    const bool opens = !next.runs && !next.idle();
    if (opens && descriptors_ + kDescriptorsForOne > descriptors_for_sessions() && busy_ > 0 &&
        !make_room())
      return;
    ready_.pop_front();
    next.queued = false;
    begin(next);
  }
}

/// Closes an idle connection that nobody waits for now, else the one whose turn comes last.
bool Engine::make_room() {
  const auto give_way = [this](Connection& connection) {
    close(connection);
    connection.gave_way = true;
    return true;
  };
  for (Connection& connection : connections_) {
    if (connection.unused() && connection.idle())
      return give_way(connection);
  }
  for (auto last = ready_.rbegin(); last != ready_.rend(); ++last) {
    if (*last != ready_.front() && (*last)->idle())
      return give_way(**last);
  }
  return false;
}

/// An idle one.
void Engine::close(Connection& connection) {
  connection.session->close_idle();
  connection.session.reset();
  count(connection);
}

void Engine::make_session(Connection& connection) {
  const Host& host = connection.host;
  if (host.endpoint.kind == Endpoint::Kind::local)
    connection.session = make_local_session(services_.sudo, loop_);
  else if (!host.by_openssh.empty())
    connection.session = make_openssh_session(host.settings, options_, services_.sudo, loop_);
  else
    connection.session = make_ssh_session(host.settings, services_, connection);
}

void Engine::begin(Connection& connection) {
  if (connection.runs) {
    connection.talk->io.admit(loop_.now());
    loop_.wake(connection);
    count(connection);
    return;
  }
  connection.runs = true;
  count(connection);
  ExecResult failed;
  failed.outcome = ExecResult::Outcome::unreachable;
  try {
    if (connection.stopped) {
      failed.outcome = ExecResult::Outcome::lost;
      throw Error("interrupted before the command began");
    }
    if (!connection.host.settings.problem.empty())
      throw Error(connection.host.settings.problem);
    CommandIo& io = prepare_io(connection);
    if (io.exec().fresh) {
      hang_up(connection.host.endpoint);
      if (connection.idle())
        close(connection);
    }
    if (!connection.session)
      make_session(connection);
    reopened_ += std::exchange(connection.gave_way, false) ? 1 : 0;
    connection.session->begin(io);
    loop_.arm(connection);
    count(connection);
  } catch (const Error& error) {
    failed.message = connection.host.endpoint.name + ": " + error.what();
    finish(connection, std::move(failed));
  }
}

CommandIo& Engine::prepare_io(Connection& connection) {
  const std::string preamble = services_.sudo.preamble();
  if (connection.talk) {
    connection.talk->io.set_preamble(preamble);
    return connection.talk->io;
  }
  const Exec& exec = connection.orders.front().exec;
  connection.io =
      std::make_unique<WholeIo>(exec, exec.as_self ? "" : preamble, options_.stall_timeout,
                                limit_for(connection.host.endpoint));
  return *connection.io;
}

void Engine::move(Connection& connection) {
  if (!connection.session)
    return;
  std::optional<ExecResult> result = step(*connection.session);
  if (const std::shared_ptr<Talk> talk = connection.talk) {
    if (!result || result->outcome != ExecResult::Outcome::flooded)
      tell(*talk);
    if (connection.talk != talk)
      return;
  }
  if (result && connection.runs && !hand_over(connection, *result))
    finish(connection, std::move(*result));
  else
    count(connection);
}

/// True where the ssh program goes on in libssh2's place.
bool Engine::hand_over(Connection& connection, ExecResult& result) {
  Host& host = connection.host;
  const std::string reason = connection.session->better_by_openssh();
  if (reason.empty() || result.ok() || !host.by_openssh.empty())
    return false;
  if (options_.backend != SshBackend::automatic) {
    result.message += "; without --ssh-backend libssh2 the system's ssh serves it";
    return false;
  }
  host.by_openssh = reason;
  connection.session.reset();
  loop_.forget(connection);
  connection.runs = false;
  begin(connection);
  return true;
}

void Engine::finish(Connection& connection, ExecResult result) {
  connection.runs = false;
  // A broken connection is made anew for the next command.
  if (result.outcome != ExecResult::Outcome::exited)
    connection.session.reset();
  Done done;
  if (connection.talk) {
    done = end_talk(connection, result);
  } else {
    done = std::move(connection.orders.front().done);
    connection.orders.pop_front();
    connection.io.reset();
    if (!connection.orders.empty())
      enqueue(connection);
  }
  count(connection);
  done(std::move(result));
}

void Engine::count(Connection& connection) {
  const bool under_way = connection.runs && (!connection.talk || connection.talk->io.under_way());
  const bool weighs = connection.runs && connection.session && connection.session->weighs();
  const std::size_t descriptors = connection.session ? connection.session->descriptors() : 0;
  busy_ += static_cast<std::size_t>(under_way) - static_cast<std::size_t>(connection.under_way);
  weighing_ += static_cast<int>(weighs) - static_cast<int>(connection.weighs);
  descriptors_ += descriptors - connection.descriptors;
  connection.under_way = under_way;
  connection.weighs = weighs;
  connection.descriptors = descriptors;
  if (connection.runs && connection.talk && connection.talk->io.wants_turn())
    enqueue(connection);
}

std::vector<std::string> Engine::notes() const {
  std::map<std::string, std::vector<std::string>> reasons;
  for (const Host& host : hosts_) {
    if (!host.by_openssh.empty())
      reasons[host.by_openssh].push_back(host.endpoint.name);
  }
  std::vector<std::string> notes = warnings();
  for (const auto& [reason, names] : reasons) {
    notes.push_back(fmt::format("{} by the system's ssh, because {}: {}",
                                ds::count(names.size(), "host"), clean_line(reason),
                                clean_line(join(names, ", "))));
  }
  if (reopened_ > 0) {
    notes.push_back(fmt::format(
        "{} closed and opened again, because this process may open {} files (ulimit -n)",
        ds::count(reopened_, "idle connection"), descriptor_limit()));
  }
  return notes;
}

std::unique_ptr<Transport> make_transport(TransportOptions options) {
  return std::make_unique<Engine>(std::move(options));
}

}  // namespace ds
