// SPDX-License-Identifier: Apache-2.0
#include "rollout/readers.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>

#include "base/text.h"

namespace ds {
namespace {

using nlohmann::json;

/// `request`: what it is to see, for templates/see.py.
PhaseDescription see_phase(const std::string& name, const Policy& policy,
                           std::function<json(const RolloutHost&)> request) {
  PhaseDescription phase;
  phase.name = name;
  phase.time_limit = policy.shared_wait + std::chrono::minutes(1);
  phase.command = [wait = policy.shared_wait.count(),
                   request = std::move(request)](const RolloutHost& host) {
    PhaseCommand command{request(host)};
    command.request["phase"] = "see";
    command.request["seconds"] = wait;
    return command;
  };
  phase.accept = [](RolloutHost&, const json&) {};
  return phase;
}

void take_from_writer(RolloutHost& reader) {
  const HostOutcome& writer = reader.writer->outcome;
  HostOutcome& outcome = reader.outcome;
  outcome.state = writer.state;
  outcome.step = writer.step;
  outcome.left_out = writer.left_out;
  outcome.owed = writer.owed;
  outcome.message = "the environment that it has with " + writer.host +
                    (writer.message.empty() ? "" : ": " + writer.message);
}

}  // namespace

void join_readers(std::vector<RolloutHost>& hosts) {
  std::map<std::string, RolloutHost*> by_name;
  for (RolloutHost& host : hosts)
    by_name.emplace(host.outcome.host, &host);
  for (RolloutHost& host : hosts) {
    const auto writer = by_name.find(host.outcome.writer);
    if (!host.takes_part || !host.good || writer == by_name.end() || !writer->second->good)
      continue;
    if (writer->second->wanted == host.wanted) {
      host.writer = writer->second;
      writer->second->readers.push_back(&host);
      continue;
    }
    host.good = false;
    host.outcome.state = HostState::refused;
    host.outcome.step = "audit";
    host.outcome.message = "it has one environment with " + host.outcome.writer +
                           ", which gets another wheel: leave one of them out";
  }
}

std::vector<RolloutHost*> unit_of(RolloutHost& writer) {
  std::vector<RolloutHost*> hosts{&writer};
  hosts.insert(hosts.end(), writer.readers.begin(), writer.readers.end());
  return hosts;
}

std::vector<RolloutHost*> readers_of(const std::vector<RolloutHost*>& writers) {
  std::vector<RolloutHost*> readers;
  for (const RolloutHost* writer : writers) {
    std::copy_if(writer->readers.begin(), writer->readers.end(), std::back_inserter(readers),
                 [](const RolloutHost* reader) { return reader->good; });
  }
  return readers;
}

PhaseDescription see_lock_phase(const RolloutOptions& options) {
  return see_phase("lock", options.policy, [run = options.run](const RolloutHost& host) {
    const RolloutHost& writer = host.writer == nullptr ? host : *host.writer;
    return json{{"lock", {{"run", run}, {"machine", writer.facts->machine_id}}}};
  });
}

PhaseDescription see_release_phase(const Policy& policy) {
  return see_phase("see", policy, [](const RolloutHost& host) {
    return json{{"releases", host.wanted}};
  });
}

Readers::Readers(const std::vector<ReleaseSet>& sets, const RolloutOptions& options,
                 Transport& transport)
    : options_(options),
      transport_(transport),
      see_(see_release_phase(options.policy)),
      confirm_(confirm_phase(sets, options.policy)) {
  confirm_.moves_pointer = false;  // one that does not answer is unreachable, and no more
}

void Readers::confirm(RolloutHost& writer, const std::function<void()>& done) {
  if (writer.readers.empty())
    return done();
  const auto left = std::make_shared<std::size_t>(writer.readers.size());
  for (RolloutHost* reader : writer.readers) {
    reader->good = true;
    reader->confirmed = false;
    reader->activated = true;  // what it has is new
    reader->outcome.state = HostState::active;
    reader->outcome.message.clear();
    ask(*reader, options_.policy.retries, [left, done] {
      if (--*left == 0)
        done();
    });
  }
}

void Readers::ask(RolloutHost& reader, int retries, const std::function<void()>& done) {
  const auto failed = [this, &reader, retries, done] {
    if (reader.outcome.state != HostState::unreachable || retries == 0)
      return done();
    reader.good = true;
    reader.outcome.state = HostState::active;
    ask(reader, retries - 1, done);
  };
  ask_host(see_, reader, transport_, [this, &reader, failed, done](const std::string&) {
    if (!reader.good)
      return failed();
    ask_host(confirm_, reader, transport_, [this, &reader, failed, done](const std::string&) {
      if (!reader.good)
        return failed();
      if (options_.policy.health.command.empty())
        return done();
      ask_health(reader, options_, transport_, done);
    });
  });
}

void settle_readers(std::vector<RolloutHost>& hosts, RolloutOptions::Goal goal) {
  using Goal = RolloutOptions::Goal;
  const bool back = goal == Goal::rolled_back || goal == Goal::removed;
  for (RolloutHost& host : hosts) {
    if (host.writer == nullptr)
      continue;
    const RolloutHost& writer = *host.writer;
    const HostOutcome& outcome = writer.outcome;
    const bool went_back = back ? outcome.state == HostState::failed && outcome.step == "rollback"
                                : outcome.state == HostState::rolled_back;
    const bool stays = writer.confirmed || !writer.unconfirmed.empty();
    host.changed = writer.changed;
    host.outcome.release = outcome.release;
    if (!host.good) {
      if (went_back)
        host.outcome.state = outcome.state;  // with its own step and message: it is why
    } else if (went_back || !stays || !host.confirmed || goal == Goal::removed) {
      take_from_writer(host);
    } else {
      host.outcome.state = !host.changed ? HostState::unchanged
                           : back        ? HostState::rolled_back
                                         : HostState::confirmed;
      host.outcome.step = back ? "rollback" : "confirm";
      host.outcome.message = host.remark;
    }
  }
}

}  // namespace ds
