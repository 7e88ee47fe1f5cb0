// SPDX-License-Identifier: Apache-2.0
#include "rollout/relay.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/sha256.h"
#include "base/text.h"
#include "rollout/run_authority.h"

namespace ds {
namespace {

using nlohmann::json;
using Mode = Policy::Relay;

constexpr std::uint64_t least_chunk = 1 << 20, most_chunk = 8 << 20, chunk_step = 64 << 10;
constexpr std::uint64_t usual_chunks = 1024;
constexpr std::string_view rack_tag = "rack-";
constexpr int longest_agent = 86400;  ///< seconds
constexpr double stall_seconds = 60;  ///< without a byte from any source

// One program, in this order.
const std::vector<std::string> agent_files = {
    "relay_wire.py",  "relay_store.py",   "relay_pace.py", "relay_serve.py",
    "relay_fetch.py", "relay_address.py", "relay_agent.py"};

std::uint64_t chunk_of(std::uint64_t bytes) {
  const std::uint64_t chunk = std::clamp(bytes / usual_chunks, least_chunk, most_chunk);
  return (chunk + chunk_step - 1) / chunk_step * chunk_step;
}

/// The SHA-256 of each, one after the other, in hex.
json chunks_of(const WheelStream& stream) {
  const std::uint64_t size = chunk_of(stream.bytes);
  std::string hashes;
  for (const Digest& digest : sha256_parts(stream.file, size))
    hashes += hex(digest);
  return {{"bytes", size}, {"sha256", std::move(hashes)}};
}

std::string rack_of(const Host& host) {
  for (const std::string& tag : host.tags) {
    if (tag.starts_with(rack_tag))
      return tag.substr(rack_tag.size());
  }
  return {};
}

/// It has a process that lives from one request to the next, and a network to speak of.
bool may_relay(const RolloutHost& host) {
  return host.program && host.program->open() && host.host->endpoint.kind != Endpoint::Kind::local;
}

std::string without_prefix(const std::string& address) {
  return address.substr(0, address.find('/'));
}

}  // namespace

void Relay::open(const std::vector<RolloutHost*>& hosts, const Deliveries& deliveries) {
  if (mode_ == Mode::off)
    return;
  hosts_ = hosts;
  for (std::size_t i = 0; i < hosts.size(); ++i)
    numbers_[hosts[i]] = std::to_string(i);
  std::map<const WheelStream*, Group> groups;
  for (RolloutHost* host : hosts) {
    const Delivery& delivery = deliveries.at(host);
    Group& group = groups[delivery.stream];
    group.stream = delivery.stream;
    group.hosts.push_back(host);
    group.kept.push_back(delivery.kept);
  }
  for (auto& [stream, group] : groups) {
    plan(group);
    if (group.plan.shape == TopologyPlan::Shape::trees)
      groups_.push_back(std::move(group));
  }
  if (groups_.empty())
    return;
  start_agents();
  std::erase_if(groups_, [this](Group& group) {
    plan(group);
    return group.plan.shape != TopologyPlan::Shape::trees;
  });
  for (const Group& group : groups_) {
    chunks_[group.stream] = chunks_of(*group.stream);
    give_parts(group);
    status_.remark("relay: " + group.plan.explanation);
  }
}

/// Before agents are there, as if all hosts that may have one will.
void Relay::plan(Group& group) const {
  TopologyRequest request;
  request.bytes = group.stream->bytes;
  request.chunk = chunk_of(group.stream->bytes);
  request.uplink = static_cast<double>(options_.bytes_per_second);
  request.trees_only = mode_ == Mode::on;
  for (std::size_t i = 0; i < group.hosts.size(); ++i) {
    const RolloutHost& host = *group.hosts[i];
    TopologyHost known;
    known.rack = rack_of(*host.host);
    known.kept = group.kept[i];
    known.relays = may_relay(host);
    if (const auto agent = agents_.find(&host); agent != agents_.end()) {
      known.addresses = agent->second.addresses;
      known.relays = known.relays && agent->second.port > 0;
    }
    request.hosts.push_back(std::move(known));
  }
  group.plan = plan_topology(request);
}

void Relay::start_agents() {
  std::vector<RolloutHost*> wanted;
  for (const Group& group : groups_) {
    std::copy_if(group.hosts.begin(), group.hosts.end(), std::back_inserter(wanted),
                 [](const RolloutHost* host) { return may_relay(*host); });
  }
  const RunAuthority authority;
  PhaseDescription phase;
  phase.name = "stage";
  phase.time_limit = std::chrono::minutes(1);
  const SharedText shared = shared_text({{"agent", *program_text(agent_files)},
                                         {"ca", authority.certificate()},
                                         {"relay_net", options_.policy.relay_net},
                                         {"degree", assumed_most_children},
                                         {"seconds", longest_agent}});
  phase.command = [this, &shared, &authority](const RolloutHost& host) {
    const RunAuthority::Identity identity = authority.identity(numbers_.at(&host));
    return PhaseCommand{.request = {{"phase", "relay-open"},
                                    {"certificate", identity.certificate},
                                    {"key", identity.key}},
                        .more = shared};
  };
  phase.accept = [this](RolloutHost& host, const json& answer) {
    if (!answer.value("ok", false))
      return;
    Agent& agent = agents_[&host];
    agent.addresses = answer.at("addresses").get<std::vector<std::string>>();
    agent.port = answer.at("port").get<int>();
    if (agent.port <= 0 || agent.port > 65535 || agent.addresses.size() > 256) {
      agent.port = 0;
      add_remark(host, "passes nothing on to other hosts: " +
                           clean_line(answer.value("why", "it tells no port"), 200));
    }
  };
  phase.forgive = [this](RolloutHost& host, const json& answer) {
    agents_[&host] = {};
    add_remark(host, "passes nothing on to other hosts: " +
                         clean_line(answer.value("problem", "it gave no reason"), 200));
    return true;
  };
  run_phase(phase, wanted, transport_, status_);
}

/// nullptr: no host has it, whatever another one says.
RolloutHost* Relay::host_of(const std::string& number) const {
  const auto at = parse_integer(number, 0, static_cast<long>(hosts_.size()) - 1);
  return at ? hosts_[static_cast<std::size_t>(*at)] : nullptr;
}

json Relay::peer(const RolloutHost& host) const {
  const Agent& agent = agents_.at(&host);
  std::vector<std::string> addresses;
  std::transform(agent.addresses.begin(), agent.addresses.end(), std::back_inserter(addresses),
                 without_prefix);
  return {{"id", numbers_.at(&host)}, {"port", agent.port}, {"addresses", addresses}};
}

void Relay::give_parts(const Group& group) {
  for (std::size_t i = 0; i < group.hosts.size(); ++i) {
    const TopologyPlace& place = group.plan.places[i];
    if (!place.parent && place.children.empty())
      continue;
    const auto peers = [this, &group](const std::vector<std::size_t>& places) {
      json found = json::array();
      for (const std::size_t at : places)
        found.push_back(peer(*group.hosts[at]));
      return found;
    };
    json sources = peers(place.fallbacks);
    if (place.parent) {
      json parent = peer(*group.hosts[*place.parent]);
      parent["calls"] = true;
      sources.insert(sources.begin(), std::move(parent));
    }
    parts_[group.hosts[i]] = {
        {"sources", sources},
        {"calls", peers(place.children)},
        {"bytes_per_second", options_.bytes_per_second},
        {"expected_bytes_per_second",
         static_cast<double>(group.stream->bytes) / std::max(group.plan.seconds, 1e-3)},
        {"seconds", (options_.policy.time_limits.stage + patience(*group.stream)).count()},
        {"stall_seconds", stall_seconds}};
  }
}

bool Relay::tell(const RolloutHost& host, const WheelStream& stream, json& request) const {
  const auto part = parts_.find(&host);
  if (part == parts_.end())
    return false;
  request["relay"] = part->second;
  request["chunks"] = chunks_.at(&stream);
  return !part->second["sources"].empty();
}

std::chrono::seconds Relay::patience(const WheelStream& stream) const {
  const auto group = std::find_if(groups_.begin(), groups_.end(),
                                  [&stream](const Group& one) { return one.stream == &stream; });
  const double predicted = group == groups_.end() ? 0 : group->plan.star_seconds;
  return std::chrono::seconds(60 + static_cast<long>(std::min(10 * predicted, 86400.0)));
}

void Relay::hear(RolloutHost& host, const json& answer) {
  const auto said = answer.find("relay");
  if (said == answer.end() || !said->is_object())
    return;
  for (const auto& [number, bytes] : said->at("in").get<std::map<std::string, std::uint64_t>>()) {
    if (const RolloutHost* from = host_of(number)) {
      host.outcome.got_from[from->outcome.host] += bytes;
      moved_ += bytes;
    }
  }
  for (const std::string& number : said->at("bad").get<std::set<std::string>>()) {
    RolloutHost* from = host_of(number);
    if (from == nullptr)
      continue;
    const std::string what = fmt::format(
        "{} got damaged bytes from it, and took these from another host; memory or a disk may be "
        "faulty",
        host.outcome.host);
    add_remark(*from, what);
    status_.remark(from->outcome.host + ": " + what);
  }
}

void Relay::close() {
  end_agents();
  if (!groups_.empty())
    status_.remark(fmt::format("relay: {} went from host to host", human_bytes(moved_)));
}

void Relay::end_agents() {
  std::vector<RolloutHost*> running;
  for (RolloutHost* host : hosts_) {
    if (agents_.contains(host) && host->good && host->program && host->program->open())
      running.push_back(host);
  }
  PhaseDescription phase;
  phase.name = "stage";
  phase.time_limit = std::chrono::minutes(1);
  phase.command = [](const RolloutHost&) { return PhaseCommand{{{"phase", "relay-close"}}}; };
  phase.accept = [](RolloutHost&, const json&) {};
  phase.forgive = [](RolloutHost&, const json&) { return true; };
  run_phase(phase, running, transport_, status_);
}

}  // namespace ds
