// SPDX-License-Identifier: Apache-2.0
#include "rollout/rollout.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "rollout/rollout_state.h"

namespace ds {
namespace {

using nlohmann::json;

/// One run of the phases over all hosts.
class Rollout {
 public:
  Rollout(const std::vector<Parcel>& parcels, const RolloutOptions& options, Transport& transport,
          Status& status)
      : parcels_(parcels),
        options_(options),
        transport_(transport),
        status_(status),
        wanted_(wanted_releases(parcels)) {}

  RolloutResult run(const Inventory& inventory, const Fleet& fleet, const AuditReport& audit);

 private:
  void go(const AuditReport& audit);
  void admit(const Inventory& inventory, const Fleet& fleet, const AuditReport& audit);
  bool all_good() const;
  std::vector<RolloutHost*> good_hosts();
  std::string who_failed() const;
  void stop_before_activation(HostState state, const std::string& doing);
  void stage();
  void verify();
  void activate();
  void confirm();
  void roll_back_all();
  void settle();
  void share_outcomes(const AuditReport& audit);

  const std::vector<Parcel>& parcels_;
  const RolloutOptions& options_;
  Transport& transport_;
  Status& status_;
  std::vector<std::string> wanted_;
  std::vector<RolloutHost> hosts_;
};

void Rollout::admit(const Inventory& inventory, const Fleet& fleet, const AuditReport& audit) {
  for (const Host& host : inventory.hosts) {
    const HostFacts* facts = fleet.find(host.name);
    if (facts == nullptr)
      throw Error("there are no facts of host " + host.name);
    const HostAudit* verdict = audit_of(audit, host.name);
    RolloutHost entry;
    entry.host = &host;
    entry.facts = facts;
    entry.python = target_python(host, options_.probe);
    entry.outcome = judge(*facts, verdict, wanted_);
    entry.good =
        entry.outcome.state == HostState::ready || entry.outcome.state == HostState::unchanged;
    entry.takes_part = verdict == nullptr || verdict->same_target_as.empty();
    hosts_.push_back(std::move(entry));
  }
}

bool Rollout::all_good() const {
  return std::all_of(hosts_.begin(), hosts_.end(), [](const RolloutHost& h) { return h.good; });
}

std::vector<RolloutHost*> Rollout::good_hosts() {
  std::vector<RolloutHost*> good;
  for (RolloutHost& host : hosts_) {
    if (host.takes_part && host.good)
      good.push_back(&host);
  }
  return good;
}

std::string Rollout::who_failed() const {
  std::vector<std::string> names;
  for (const RolloutHost& host : hosts_) {
    if (!host.good)
      names.push_back(host.outcome.host);
  }
  const std::size_t total = names.size();
  if (total > 3)
    names.resize(3);
  return join(names, ", ") + (total > 3 ? fmt::format(" and {} more", total - 3) : "");
}

/// Good hosts stay where they are, in `state`, and say why.
void Rollout::stop_before_activation(HostState state, const std::string& doing) {
  const std::string why = fmt::format("nothing was activated, because {} {}", who_failed(), doing);
  for (RolloutHost& host : hosts_) {
    if (!host.good)
      continue;
    if (host.outcome.state == HostState::ready)
      host.outcome.state = state;
    host.outcome.message = why;
  }
}

void Rollout::stage() {
  for (const Parcel& parcel : parcels_) {
    std::vector<RolloutHost*> lacking;
    for (RolloutHost* host : good_hosts()) {
      const std::vector<std::string>& sealed = host->facts->installed.sealed;
      if (std::find(sealed.begin(), sealed.end(), parcel.wheel->sha256) == sealed.end()) {
        lacking.push_back(host);
      }
    }
    PhaseDescription phase;
    phase.name = "stage";
    phase.done_word = "staged";
    phase.command = [&](const RolloutHost&) {
      return PhaseCommand{{{"phase", "stage"},
                           {"run", options_.run},
                           {"manifest", json::parse(manifest_json(*parcel.wheel))}},
                          parcel.wheel->file};
    };
    phase.accept = [](RolloutHost& host, const json& answer) {
      host.changed |= answer.value("changed", false);
    };
    run_phase(phase, lacking, transport_, status_);
  }
}

void Rollout::verify() {
  json manifests = json::array();
  for (const Parcel& parcel : parcels_) {
    manifests.push_back(json::parse(manifest_json(*parcel.wheel)));
  }
  PhaseDescription phase;
  phase.name = "verify";
  phase.done_word = "verified";
  phase.command = [&](const RolloutHost&) {
    return PhaseCommand{{{"phase", "verify"}, {"manifests", manifests}}, {}};
  };
  phase.accept = [](RolloutHost&, const json&) {};
  run_phase(phase, good_hosts(), transport_, status_);
}

void Rollout::activate() {
  PhaseDescription phase;
  phase.name = "activate";
  phase.done_word = "active";
  phase.command = [&](const RolloutHost&) {
    return PhaseCommand{{{"phase", "activate"},
                         {"releases", wanted_},
                         {"hook", std::string(template_text("hook.py"))}},
                        {}};
  };
  phase.accept = [&](RolloutHost& host, const json& answer) {
    if (!answer.value("ok", false))
      return;
    host.previous = answer.at("previous").get<std::vector<std::string>>();
    host.activated = host.previous != wanted_;
    host.changed |= answer.value("changed", false);
    host.outcome.state = HostState::active;
    host.outcome.step = "activate";
    host.outcome.release = join(wanted_, "+");
  };
  std::vector<RolloutHost*> needed;
  for (RolloutHost* host : good_hosts()) {
    if (host->facts->installed.active != wanted_ || !host->facts->installed.hook) {
      // Should the answer be lost, this is what the host goes back to.
      host->previous = host->facts->installed.active;
      host->activated = host->previous != wanted_;
      host->outcome.state = HostState::unknown;
      needed.push_back(host);
    }
  }
  run_phase(phase, needed, transport_, status_);
}

void Rollout::confirm() {
  json dists = json::array(), imports = json::array(), self_tests = json::object();
  for (const Parcel& parcel : parcels_) {
    dists.push_back({{"name", parcel.wheel->name}, {"release", parcel.wheel->sha256}});
    for (const std::string& module : parcel.imports)
      imports.push_back(module);
    for (const auto& [op, where] : parcel.self_tests)
      self_tests[op] = where;
  }
  PhaseDescription phase;
  phase.name = "confirm";
  phase.done_word = "confirmed";
  phase.time_limit = options_.confirm_limit;
  phase.command = [&](const RolloutHost&) {
    return PhaseCommand{{{"dists", dists}, {"imports", imports}, {"self_tests", self_tests}}, {}};
  };
  phase.accept = [](RolloutHost& host, const json& answer) {
    host.outcome.self_tests.clear();
    for (const auto& [op, said] : answer.at("self_tests").items()) {
      host.outcome.self_tests.push_back(clean_line(op) + ": " +
                                        clean_line(said.get<std::string>()));
    }
  };
  run_phase(phase, good_hosts(), transport_, status_);
}

/// Every host whose pointer this run moved goes back to what it had.
void Rollout::roll_back_all() {
  const std::string culprits = who_failed();
  std::vector<RolloutHost*> moved;
  for (RolloutHost& host : hosts_) {
    if (host.takes_part && host.activated)
      moved.push_back(&host);
  }
  PhaseDescription phase;
  phase.name = "rollback";
  phase.done_word = "rolled back";
  phase.command = [](const RolloutHost& host) {
    return PhaseCommand{{{"phase", "rollback"}, {"releases", host.previous}}, {}};
  };
  phase.accept = [&culprits](RolloutHost& host, const json& answer) {
    if (!answer.value("ok", false))
      return;
    const bool culprit = host.outcome.state == HostState::failed;
    if (!culprit) {
      host.outcome.step = "rollback";
      host.outcome.message = "went back, because " + culprits + " did not confirm";
    }
    host.outcome.state = HostState::rolled_back;
    host.outcome.release = join(host.previous, "+");
  };
  for (RolloutHost* host : moved) {
    // A host that failed keeps its own step and message through a rollback that works.
    host->good = true;
  }
  run_phase(phase, moved, transport_, status_);
}

/// Good hosts at the end: confirmed, or unchanged when no phase wrote anything.
void Rollout::settle() {
  for (RolloutHost* host : good_hosts()) {
    if (host->outcome.state == HostState::rolled_back)
      continue;
    host->outcome.state = host->changed ? HostState::confirmed : HostState::unchanged;
    host->outcome.step = "confirm";
    host->outcome.message.clear();
  }
}

/// Another name of the same machine and environment has the outcome of the first one.
void Rollout::share_outcomes(const AuditReport& audit) {
  for (RolloutHost& host : hosts_) {
    if (host.takes_part)
      continue;
    const HostAudit* verdict = audit_of(audit, host.outcome.host);
    for (const RolloutHost& first : hosts_) {
      if (first.outcome.host != verdict->same_target_as)
        continue;
      const std::string name = host.outcome.host;
      host.outcome = first.outcome;
      host.outcome.host = name;
      host.outcome.sent_bytes = 0;
      host.outcome.message = "the same environment as " + first.outcome.host +
                             (first.outcome.message.empty() ? "" : ": " + first.outcome.message);
    }
  }
}

void Rollout::go(const AuditReport& audit) {
  if (!all_good()) {
    stop_before_activation(HostState::ready, "cannot take it");
    return;
  }
  stage();
  if (all_good())
    verify();
  if (!all_good()) {
    stop_before_activation(HostState::staged, "could not stage it");
  } else {
    // Every host holds the release, whole. From here on hosts change.
    activate();
    if (all_good())
      confirm();
    if (!all_good())
      roll_back_all();
    settle();
  }
  share_outcomes(audit);
}

RolloutResult Rollout::run(const Inventory& inventory, const Fleet& fleet,
                           const AuditReport& audit) {
  RolloutResult result;
  admit(inventory, fleet, audit);
  // From here on no host is added.
  try {
    go(audit);
  } catch (const Interrupted&) {
    result.interrupted = true;
    for (RolloutHost& host : hosts_) {
      if (host.good && host.outcome.message.empty())
        host.outcome.message = "interrupted";
    }
  }
  for (RolloutHost& host : hosts_)
    result.hosts.push_back(std::move(host.outcome));
  return result;
}

}  // namespace

RolloutResult roll_out(const Inventory& inventory, const Fleet& fleet, const AuditReport& audit,
                       const std::vector<Parcel>& parcels, const RolloutOptions& options,
                       Transport& transport, Status& status) {
  return Rollout(parcels, options, transport, status).run(inventory, fleet, audit);
}

}  // namespace ds
