// SPDX-License-Identifier: Apache-2.0
//
// Which command runs when: the fan-out, the limit of file descriptors, one connection for each
// host, and who serves it.
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <deque>
#include <list>
#include <map>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/text.h"
#include "process/process.h"
#include "transport/session.h"
#include "transport/ssh_services.h"
#include "transport/terminal_prompt.h"

namespace ds {

SshServices::SshServices(const TransportOptions& options, Loop& loop)
    : options(options), loop(loop), resolver(loop), bastions(*this) {
  sudo.sudo = options.sudo;
}

namespace {

/// Descriptors that are not sessions': files, the event loop, the journal, pipes of children.
constexpr std::size_t kReserved = 40;
/// What a session may come to hold while it logs in.
constexpr std::size_t kForOne = 3;

std::size_t descriptor_limit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const std::size_t all = limit.rlim_cur == RLIM_INFINITY ? 1u << 20 : limit.rlim_cur;
  return all;
}

/// How many of them sessions may have.
std::size_t for_sessions() {
  const std::size_t all = descriptor_limit();
  return all > 2 * kReserved ? all - kReserved : all / 2;
}

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

class Engine : public Transport {
 public:
  explicit Engine(TransportOptions options)
      : options_(std::move(options)), services_(options_, loop_) {}
  ~Engine() override { close_all(); }
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  void start(const Endpoint& endpoint, Exec exec, Done done) override;
  void run() override;
  std::vector<std::string> notes() const override;
  std::vector<std::string> warnings() const override { return services_.bastions.warnings(); }

 private:
  struct Order {
    Exec exec;
    Done done;
  };
  struct Host : public Loop::Member {
    explicit Host(Engine& engine) : engine(engine) {}
    void wants(std::vector<pollfd>& waits) const override {
      if (session)
        session->wants(waits);
    }
    Clock::time_point deadline() const override {
      return session ? session->deadline() : Clock::time_point::max();
    }
    void turn() override { engine.move(*this); }

    Engine& engine;
    Endpoint endpoint;
    SshSettings settings;
    bool resolved = false;
    std::string by_openssh;  ///< why the ssh program serves it
    std::unique_ptr<HostSession> session;
    std::deque<Order> orders;  ///< the first is under way while `busy`
    bool busy = false;
    bool queued = false;          ///< stands in ready_
    bool gave_way = false;        ///< its idle connection was closed for want of descriptors
    bool weighs = false;          ///< as counted in weighing_
    std::size_t descriptors = 0;  ///< as counted in descriptors_
  };

  void ask_password();
  void resolve_all();
  void admit();
  bool make_room();
  void begin(Host& host);
  void make_session(Host& host);
  void move(Host& host);
  bool hand_over(Host& host, ExecResult& result);
  void finish(Host& host, ExecResult result);
  void count(Host& host);
  void close_all();

  TransportOptions options_;
  Loop loop_;
  SshServices services_;
  std::map<std::string, Host*> by_key_;
  std::list<Host> hosts_;
  std::deque<Host*> ready_;  ///< have an order and do nothing
  std::size_t busy_ = 0, descriptors_ = 0;
  int weighing_ = 0;
  std::size_t reopened_ = 0;  ///< connections of hosts that had given way
};

void Engine::start(const Endpoint& endpoint, Exec exec, Done done) {
  Host*& host = by_key_[key_of(endpoint)];
  if (host == nullptr) {
    host = &hosts_.emplace_back(*this);
    host->endpoint = endpoint;
  }
  host->orders.push_back({std::move(exec), std::move(done)});
  if (!host->busy && !std::exchange(host->queued, true))
    ready_.push_back(host);
}

void Engine::run() {
  try {
    ask_password();
    resolve_all();
    for (admit(); busy_ > 0; admit())
      loop_.round();
  } catch (...) {
    close_all();
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
  while (!ready_.empty() && weighing_ < options_.fanout) {
    Host& host = *ready_.front();
    const bool opens = !host.session || !host.session->idle();
    if (opens && descriptors_ + kForOne > for_sessions() && busy_ > 0 && !make_room())
      return;
    ready_.pop_front();
    host.queued = false;
    begin(host);
  }
}

/// Closes an idle connection that nobody waits for now, else the one whose turn comes last.
bool Engine::make_room() {
  const auto close = [this](Host& host) {
    host.session->close_idle();
    host.session.reset();
    count(host);
    host.gave_way = true;
    return true;
  };
  for (Host& host : hosts_) {
    if (host.orders.empty() && host.session && host.session->idle())
      return close(host);
  }
  for (auto last = ready_.rbegin(); last != ready_.rend(); ++last) {
    if (*last != ready_.front() && (*last)->session && (*last)->session->idle())
      return close(**last);
  }
  return false;
}

void Engine::make_session(Host& host) {
  if (host.endpoint.kind == Endpoint::Kind::local)
    host.session = make_local_session(services_.sudo, loop_);
  else if (!host.by_openssh.empty())
    host.session = make_openssh_session(host.settings, options_, services_.sudo, loop_);
  else
    host.session = make_ssh_session(host.settings, services_, host);
}

void Engine::begin(Host& host) {
  host.busy = true;
  ++busy_;
  if (!host.settings.problem.empty()) {
    ExecResult result;
    result.outcome = ExecResult::Outcome::unreachable;
    result.message = host.endpoint.name + ": " + host.settings.problem;
    finish(host, std::move(result));
    return;
  }
  if (!host.session)
    make_session(host);
  reopened_ += std::exchange(host.gave_way, false) ? 1 : 0;
  try {
    host.session->begin(host.orders.front().exec);
    loop_.arm(host);
    count(host);
  } catch (const Error& error) {
    ExecResult result;
    result.outcome = ExecResult::Outcome::unreachable;
    result.message = host.endpoint.name + ": " + error.what();
    finish(host, std::move(result));
  }
}

void Engine::move(Host& host) {
  if (!host.session)
    return;
  std::optional<ExecResult> result = step(*host.session);
  if (result && host.busy && !hand_over(host, *result))
    finish(host, std::move(*result));
  else
    count(host);
}

/// True where the ssh program goes on in libssh2's place.
bool Engine::hand_over(Host& host, ExecResult& result) {
  const std::string reason = host.session->better_by_openssh();
  if (reason.empty() || result.ok() || !host.by_openssh.empty())
    return false;
  if (options_.backend != SshBackend::automatic) {
    result.message += "; without --ssh-backend libssh2 the system's ssh serves it";
    return false;
  }
  host.by_openssh = reason;
  host.session.reset();
  loop_.forget(host);
  --busy_;
  begin(host);
  return true;
}

void Engine::finish(Host& host, ExecResult result) {
  --busy_;
  host.busy = false;
  // A broken connection is made anew for the next command.
  if (result.outcome != ExecResult::Outcome::exited && host.session)
    host.session.reset();
  count(host);
  const Done done = std::move(host.orders.front().done);
  host.orders.pop_front();
  if (!host.orders.empty() && !std::exchange(host.queued, true))
    ready_.push_back(&host);
  done(std::move(result));
}

void Engine::count(Host& host) {
  const bool weighs = host.busy && host.session && host.session->weighs();
  const std::size_t descriptors = host.session ? host.session->descriptors() : 0;
  weighing_ += static_cast<int>(weighs) - static_cast<int>(host.weighs);
  descriptors_ += descriptors - host.descriptors;
  host.weighs = weighs;
  host.descriptors = descriptors;
}

void Engine::close_all() {
  for (Host& host : hosts_) {
    loop_.forget(host);
    host.session.reset();
    host.orders.clear();
    host.busy = host.queued = false;
    count(host);
  }
  ready_.clear();
  busy_ = 0;
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

}  // namespace

std::unique_ptr<Transport> make_transport(TransportOptions options) {
  return std::make_unique<Engine>(std::move(options));
}

}  // namespace ds
