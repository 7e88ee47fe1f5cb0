// SPDX-License-Identifier: Apache-2.0
#include "transport/bastions.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "process/process.h"
#include "transport/bastion.h"

namespace ds {
namespace {

constexpr std::size_t kLongestChain = 8;

/// Through the bastion's tunnel; through the ssh program once the bastion turns out to need it.
class TunnelRoute : public Route {
 public:
  TunnelRoute(Bastion& bastion, const std::string& host, int port, Loop::Member& owner,
              std::vector<std::string> by_openssh)
      : tunnel_(bastion.add(host, port, owner)), by_openssh_(std::move(by_openssh)) {}
  ~TunnelRoute() override { tunnel_.bastion->abandon(tunnel_); }
  TunnelRoute(const TunnelRoute&) = delete;
  TunnelRoute& operator=(const TunnelRoute&) = delete;

  Progress step() override {
    if (instead_)
      return instead_->step();
    // Also where the host has hung up since: what it said is in the socket.
    if (tunnel_.opened)
      return Progress::connected;
    if (tunnel_.problem.empty())
      return Progress::waiting;
    if (tunnel_.bastion->by_openssh().empty())
      return Progress::failed;
    instead_ = make_command_route(by_openssh_);
    return instead_->step();
  }
  bool queued() const override { return !instead_ && !tunnel_.asked && tunnel_.problem.empty(); }
  void wants(std::vector<pollfd>& /*waits*/) const override {}
  int fd() const override { return instead_ ? instead_->fd() : tunnel_.far.get(); }
  std::string problem() const override { return instead_ ? instead_->problem() : tunnel_.problem; }

  ExecResult::Outcome outcome() const override { return tunnel_.outcome; }
  std::optional<SeenHostKey> seen_key() const override { return tunnel_.seen_key; }
  bool worth_another_try() const override { return !instead_ || instead_->worth_another_try(); }

 private:
  Bastion::Tunnel& tunnel_;
  std::vector<std::string> by_openssh_;
  std::unique_ptr<Route> instead_;
};

std::vector<std::string> all_but_last(const std::vector<std::string>& jumps) {
  return {jumps.begin(), jumps.end() - 1};
}

/// The jump host as ssh's last word: it takes a port only as a URI.
std::string destination(const std::string& jump) {
  const Endpoint endpoint = jump_endpoint(jump);
  const std::string user = endpoint.user.empty() ? "" : endpoint.user + "@";
  if (endpoint.port == 0)
    return user + endpoint.name;
  const bool numeric = endpoint.name.find(':') != std::string::npos;
  return fmt::format("ssh://{}{}:{}", user, numeric ? "[" + endpoint.name + "]" : endpoint.name,
                     endpoint.port);
}

/// ssh's own way to the same socket: `ssh -J first,second -W [host]:port last`.
std::vector<std::string> tunnel_words(const SshSettings& host, const TransportOptions& options) {
  std::vector<std::string> words = ssh_words(options);
  // A process that became a master (ControlPersist) would outlive this run.
  words.insert(words.end(), {"-o", "BatchMode=yes", "-o", "ControlMaster=no"});
  const std::vector<std::string> before = all_but_last(host.jumps);
  if (!before.empty())
    words.insert(words.end(), {"-J", join(before, ",")});
  words.insert(words.end(), {"-W", fmt::format("[{}]:{}", host.hostname, host.port), "--",
                             destination(host.jumps.back())});
  return words;
}

bool master_is_up(const std::string& jump, const TransportOptions& options) {
  std::vector<std::string> words = ssh_words(options);
  words.insert(words.end(), {"-O", "check", "--", destination(jump)});
  return run_command(Command{words, {}, {}}, std::chrono::seconds(5)).ok();
}

}  // namespace

Endpoint jump_endpoint(const std::string& jump) {
  Endpoint endpoint;
  std::string rest = jump.starts_with("ssh://") ? jump.substr(6) : jump;
  const std::size_t at = rest.rfind('@');
  if (at != std::string::npos) {
    endpoint.user = rest.substr(0, at);
    rest = rest.substr(at + 1);
  }
  const std::size_t colon = rest.rfind(':');
  const std::size_t bracket = rest.rfind(']');
  const bool one_colon = colon != std::string::npos && rest.find(':') == colon;
  if (colon != std::string::npos && (bracket != std::string::npos ? colon > bracket : one_colon)) {
    endpoint.port = static_cast<int>(parse_integer(rest.substr(colon + 1), 1, 65535).value_or(0));
    rest = rest.substr(0, colon);
  }
  if (rest.size() > 1 && rest.front() == '[' && rest.back() == ']')
    rest = rest.substr(1, rest.size() - 2);
  endpoint.name = rest;
  return endpoint;
}

Bastions::Bastions(SshServices& services) : services_(services) {}
Bastions::~Bastions() {
  // Those behind others go first: their tunnels are held by the links that they are for.
  std::vector<std::string> longest_first;
  for (const auto& [key, bastion] : bastions_)
    longest_first.push_back(key);
  std::sort(longest_first.begin(), longest_first.end(),
            [](const std::string& left, const std::string& right) {
              return std::count(left.begin(), left.end(), ',') >
                     std::count(right.begin(), right.end(), ',');
            });
  for (const std::string& key : longest_first)
    bastions_.erase(key);
}

void Bastions::prepare(const std::vector<SshSettings>& hosts) {
  for (const SshSettings& host : hosts)
    prepare_chain(host.jumps);
}

void Bastions::prepare_chain(const std::vector<std::string>& jumps) {
  const std::string key = join(jumps, ",");
  if (jumps.empty() || bastions_.contains(key))
    return;
  const std::vector<std::string> before = all_but_last(jumps);
  SshSettings settings =
      resolve_ssh_settings({jump_endpoint(jumps.back())}, services_.options).front();
  if (!before.empty())
    settings.jumps = before;
  // "Host *" with ProxyJump names the jump host itself too.
  const auto names_itself = [&settings](const std::string& jump) {
    return jump_endpoint(jump).name == settings.name;
  };
  if (std::any_of(settings.jumps.begin(), settings.jumps.end(), names_itself))
    settings.jumps = before;
  const std::vector<std::string> upstream = settings.jumps;
  const bool has_master =
      !settings.control_path.empty() && master_is_up(jumps.back(), services_.options);
  const std::string needs_openssh = join(settings.needs_openssh, ", ");
  auto bastion = std::make_unique<Bastion>(std::move(settings), services_);
  if (!needs_openssh.empty())
    bastion->use_openssh(needs_openssh);
  if (has_master) {
    bastion->use_openssh("a ControlPath connection to the jump host is up");
    masters_.insert(key);
  }
  bastions_.emplace(key, std::move(bastion));
  prepare_chain(upstream);
}

Bastion& Bastions::bastion(const std::vector<std::string>& jumps) {
  prepare_chain(jumps);
  return *bastions_.at(join(jumps, ","));
}

std::unique_ptr<Route> Bastions::route(const SshSettings& host, Loop::Member& owner) {
  Bastion& through = bastion(host.jumps);
  const Bastion* hop = &through;
  for (std::size_t hops = 1; !hop->settings().jumps.empty(); ++hops) {
    if (hops == kLongestChain) {
      throw Error(
          fmt::format("more than {} jump hosts in a row, or one that is reached through "
                      "itself: see ProxyJump in your ssh configuration",
                      kLongestChain));
    }
    hop = &bastion(hop->settings().jumps);
  }
  const std::vector<std::string> words = tunnel_words(host, services_.options);
  if (!through.by_openssh().empty())
    return make_command_route(words);
  return std::make_unique<TunnelRoute>(through, host.hostname, host.port, owner, words);
}

std::vector<std::string> Bastions::warnings() const {
  std::vector<std::string> warnings;
  for (const auto& [key, bastion] : bastions_) {
    const std::string& name = bastion->settings().name;
    if (masters_.contains(key)) {
      warnings.push_back(fmt::format(
          "the jump host {} is entered by its ControlPath connection, perhaps not again without a "
          "person: keep that connection up until the run has ended",
          name));
    } else if (bastion->needs_person()) {
      warnings.push_back(fmt::format(
          "the jump host {} asked a person for its login, and would ask again should its "
          "connection end: stay near until the run has ended",
          name));
    }
  }
  return warnings;
}

}  // namespace ds
