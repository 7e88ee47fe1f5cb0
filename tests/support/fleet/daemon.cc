// SPDX-License-Identifier: Apache-2.0
#include "support/fleet/daemon.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <iostream>
#include <random>
#include <sstream>

#include "support/fleet/process_tree.h"

namespace fleet {
namespace {

constexpr std::string_view kBanner = "SSH-2.0-OpenSSH_9.2\r\n";
constexpr std::string_view kStartups = "Exceeded MaxStartups\r\n";
constexpr std::string_view kPenalty = "Not allowed at this time\r\n";

void say(const ds::Fd& client, std::string_view text) {
  ::send(client.get(), text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

/// posix_spawn with `connection` as stdin and stdout and `log` as stderr, in a session of its own.
int spawn(std::vector<std::string> words, int connection, const std::string& log, pid_t& pid) {
  std::vector<char*> argv;
  for (std::string& word : words)
    argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_adddup2(&actions, connection, 0);
  ::posix_spawn_file_actions_adddup2(&actions, connection, 1);
  ::posix_spawn_file_actions_addopen(&actions, 2, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  sigset_t none, usual;
  ::sigemptyset(&none);
  ::sigemptyset(&usual);
  ::sigaddset(&usual, SIGPIPE);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &usual);
  ::posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
  const int failure = ::posix_spawn(&pid, argv[0], &actions, &attributes, argv.data(), ::environ);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  return failure;
}

}  // namespace

bool Daemon::listen(std::string& problem) {
  // Below the ports that the kernel gives to clients. A port may be taken at one of the hosts.
  const int wanted = settings_.port;
  std::random_device random;
  std::uniform_int_distribution<int> ports(10000, 30000);
  for (int attempt = 0; attempt < 20; ++attempt) {
    settings_.port = wanted != 0 ? wanted : ports(random);
    const auto failed =
        std::find_if_not(settings_.hosts.begin(), settings_.hosts.end(),
                         [this](Host& host) { return host.listen(settings_.port); });
    if (failed == settings_.hosts.end())
      return true;
    const int number = errno;
    problem = failed->address + ": " + std::strerror(number);
    if (number != EADDRINUSE || wanted != 0)
      return false;
  }
  return false;
}

void Daemon::run(int signals) {
  while (!done_) {
    // One moment for both: what falls due between two would be neither watched nor waited for.
    const Clock::time_point before = Clock::now();
    std::vector<pollfd> ready = polled(before);
    ready[1].fd = signals;
    if (::poll(ready.data(), ready.size(), timeout(before)) < 0 && errno != EINTR)
      break;
    const Clock::time_point now = Clock::now();
    size_t next = 2;
    const size_t hosts = next;
    next += settings_.hosts.size();
    for (size_t i = 0; i < relays_.size(); ++i, next += 2)
      relays_[i].step(ready[next].revents, ready[next + 1].revents, now);
    for (size_t i = 0; i < held_.size(); ++i, ++next) {
      char buffer[4096];
      if (ready[next].revents != 0 &&
          ::recv(held_[i].client.get(), buffer, sizeof buffer, MSG_DONTWAIT) <= 0)
        held_[i].client.close();
    }
    std::erase_if(relays_, [](const Relay& relay) { return relay.over(); });
    std::erase_if(held_, [](const Held& held) { return !held.client; });
    for (size_t i = 0; i < settings_.hosts.size(); ++i) {
      if (ready[hosts + i].revents != 0)
        accept_from(i);
    }
    if (ready[1].revents != 0)
      handle_signals(signals);
    if (ready[0].revents != 0)
      read_orders();
  }
}

/// stdin, the signals, every host, two for every relay, every held connection.
std::vector<pollfd> Daemon::polled(Clock::time_point now) const {
  std::vector<pollfd> result = {{STDIN_FILENO, POLLIN, 0}, {-1, POLLIN, 0}};
  for (const Host& host : settings_.hosts)
    result.push_back({host.listener(), POLLIN, 0});
  for (const Relay& relay : relays_)
    relay.add_to(result, now);
  for (const Held& held : held_)
    result.push_back({held.client.get(), POLLIN, 0});
  return result;
}

/// Milliseconds until a relay has something to pass on. What is due already waits for its socket.
int Daemon::timeout(Clock::time_point now) const {
  Clock::time_point first = Clock::time_point::max();
  for (const Relay& relay : relays_)
    first = std::min(first, relay.due_after(now));
  if (first == Clock::time_point::max())
    return -1;
  return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(first - now).count());
}

void Daemon::accept_from(size_t index) {
  while (settings_.hosts[index].listener() >= 0) {
    ds::Fd client = settings_.hosts[index].accept();
    if (!client)
      return;
    serve(index, std::move(client));
  }
}

void Daemon::serve(size_t index, ds::Fd client) {
  Host& host = settings_.hosts[index];
  const Fault fault = host.fault;
  if (fault.turns_away()) {
    if (fault.kind != Fault::Kind::close)
      say(client, fault.kind == Fault::Kind::penalty ? kPenalty : kStartups);
    host.count_turned_away();
  } else if (fault.kind == Fault::Kind::never || fault.kind == Fault::Kind::banner) {
    if (fault.kind == Fault::Kind::banner)
      say(client, kBanner);
    held_.push_back({index, std::move(client)});
  } else if (fault.relayed()) {
    ds::Fd ours, theirs;
    if (!connected_pair(host.address, ours, theirs))
      return;
    start_sshd(index, theirs);
    relays_.emplace_back(index, std::move(client), std::move(ours), fault);
  } else {
    start_sshd(index, client);
  }
}

void Daemon::start_sshd(size_t index, const ds::Fd& connection) {
  Host& host = settings_.hosts[index];
  const std::string log = host.root + "/log";
  pid_t pid = -1;
  const int failure = spawn({settings_.sshd, "-i", "-f", host.root + "/sshd_config", "-E", log},
                            connection.get(), log, pid);
  if (failure != 0) {
    std::cerr << "fleetd: " << settings_.sshd << ": " << std::strerror(failure) << std::endl;
    return;
  }
  sshds_[pid] = index;
  host.sshds.insert(pid);
  host.write_pids();
}

void Daemon::handle_signals(int signals) {
  signalfd_siginfo info;
  while (::read(signals, &info, sizeof info) == sizeof info)
    done_ = done_ || info.ssi_signo != SIGCHLD;
  reap();
}

void Daemon::reap() {
  for (pid_t pid; (pid = ::waitpid(-1, nullptr, WNOHANG)) > 0;) {
    const auto found = sshds_.find(pid);
    if (found == sshds_.end())
      continue;
    Host& host = settings_.hosts[found->second];
    host.sshds.erase(pid);
    host.write_pids();
    sshds_.erase(found);
  }
}

void Daemon::read_orders() {
  char buffer[4096];
  const ssize_t count = ::read(STDIN_FILENO, buffer, sizeof buffer);
  if (count <= 0) {
    done_ = done_ || count == 0 || errno != EINTR;
    return;
  }
  orders_.append(buffer, count);
  for (size_t end; (end = orders_.find('\n')) != std::string::npos;) {
    std::cout << obey(orders_.substr(0, end)) << std::endl;
    orders_.erase(0, end + 1);
  }
}

std::string Daemon::obey(const std::string& line) {
  std::istringstream words(line);
  std::string verb, name, rest;
  words >> verb >> name >> rest;
  const auto host = std::find_if(settings_.hosts.begin(), settings_.hosts.end(),
                                 [&](const Host& each) { return each.name == name; });
  if (host == settings_.hosts.end())
    return "error: no host " + name;
  const size_t index = host - settings_.hosts.begin();
  if (verb == "fault") {
    const std::optional<Fault> fault = parse_fault(rest);
    if (!fault)
      return "error: not a fault: " + rest;
    host->set_fault(*fault);
    return "ok";
  }
  if (verb == "clear") {
    host->set_fault({});
    return "ok";
  }
  if (verb == "accepted")
    return "ok " + std::to_string(host->accepted);
  if (verb == "open")
    return "ok " + std::to_string(open(index));
  if (verb == "signal")
    return signal_host(index, std::atoi(rest.c_str()));
  return "error: not an order: " + verb;
}

long Daemon::open(size_t index) const {
  const auto held = std::count_if(held_.begin(), held_.end(),
                                  [&](const Held& each) { return each.host == index; });
  return held + static_cast<long>(settings_.hosts[index].sshds.size());
}

/// Sends a signal to every sshd of the host and all below it; SIGKILL ends held connections too.
std::string Daemon::signal_host(size_t index, int number) {
  const std::set<pid_t>& sshds = settings_.hosts[index].sshds;
  std::vector<pid_t> roots(sshds.begin(), sshds.end());
  // What could start more goes first.
  const std::vector<pid_t> below = descendants(roots);
  roots.insert(roots.end(), below.begin(), below.end());
  for (const pid_t pid : roots)
    ::kill(pid, number);
  if (number == SIGKILL)
    std::erase_if(held_, [&](const Held& held) { return held.host == index; });
  return "ok " + std::to_string(roots.size());
}

void Daemon::end_everything() {
  relays_.clear();
  held_.clear();
  // Orphans are ours too (a subreaper). A process that forks meanwhile is seen in the next round.
  for (int round = 0; round < 200; ++round) {
    const std::vector<pid_t> all = descendants({::getpid()});
    for (const pid_t pid : all)
      ::kill(pid, SIGKILL);
    reap();
    if (all.empty())
      return;
    ::usleep(5000);
  }
}

}  // namespace fleet
