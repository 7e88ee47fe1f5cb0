// SPDX-License-Identifier: Apache-2.0
//
// Runs a script by roll_out(), and looks at the hosts at every moment of it.
#pragma once

#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "report/report.h"
#include "support/imagined_script.h"
#include "support/recording_status.h"
#include "support/seeded_wheel.h"

namespace ds {

/// The wheels that are new, made once.
struct NewWheels {
  TempDir folder;
  std::vector<Wheel> wheels;
  NewWheels() {
    for (const char* version : {"1.0", "2.0"})
      wheels.push_back(seeded_wheel(folder, version, {}, 1));
  }
  static const NewWheels& get() {
    static const NewWheels made;
    return made;
  }
};

inline const std::string old_release = std::string(64, 'a');

struct ImaginedRun {
  using Releases = ImaginedHost::Releases;

  ImaginedScript script;
  std::string id;
  ImaginedHosts fleet;
  Releases wanted;
  std::vector<std::set<Releases>> before;  ///< what each host may be said to have had
  std::set<std::string> proven;            ///< of those that said so
  bool decided = false;                    ///< somebody was told to stay
  std::vector<std::string> broken;         ///< what must not happen and did
  Report report;

  /// A journal must have the run `id` with hosts n0, n1 and so on.
  explicit ImaginedRun(ImaginedScript what, std::string run = "run-1", Journal* journal = nullptr)
      : script(std::move(what)), id(std::move(run)) {
    for (int at = 0; at < script.parcels; ++at)
      wanted.push_back(NewWheels::get().wheels[static_cast<std::size_t>(at)].sha256);
    for (std::size_t at = 0; at < script.hosts.size(); ++at)
      add(at);
    fleet.events = script.events;
    fleet.old_releases = {old_release};
    fleet.new_releases = wanted;
    fleet.look = [this](const std::string& step, const ImaginedHosts::Entry& entry) {
      look(step, entry);
    };
    if (script.order > 0) {
      auto random = std::make_shared<std::mt19937>(script.order);
      fleet.transport.choose = [random](std::size_t number) { return (*random)() % number; };
    }
    roll(journal);
    script.events = fleet.events;
  }

  bool takes_part(std::size_t at) const { return script.hosts[at].same_as < 0; }
  bool rolling() const { return script.policy.strategy != Policy::Strategy::all_at_once; }
  /// One failure takes all back.
  bool strict() const {
    return !rolling() && script.policy.most_failures(fleet.entries.size()) == 0 &&
           script.policy.on_failure == Policy::OnFailure::roll_back_all;
  }
  bool room_for(std::size_t hosts) const {
    return !rolling() || share(script.policy.max_unavailable) >= hosts;
  }
  bool ours(const ImaginedHost& host) const { return host.trial && host.trial->id == id; }
  /// Another run moved it behind the facts, and this one ended before the lock told it so.
  bool missed_a_move(std::size_t at) const {
    const HostState state = report.hosts[at].state;
    return fleet.entries[at].moved &&
           (report.interrupted || report.stopped || state == HostState::unreachable ||
            state == HostState::refused || state == HostState::failed);
  }
  std::set<Releases> had(std::size_t at) const {
    const auto& moved = fleet.entries[at].moved;
    return moved ? std::set<Releases>{*moved} : before[at];
  }

 private:
  void add(std::size_t at) {
    using Has = ImaginedStart::Has;
    const ImaginedStart& start = script.hosts[at];
    ImaginedHosts::Entry entry{"n" + std::to_string(at), {}};
    ImaginedHost& host = entry.host;
    host.hook = start.hook;
    if (start.has != Has::nothing) {
      host.sealed = {old_release};
      host.active = {old_release};
    }
    if (start.has > Has::old)
      host.sealed.insert(wanted.begin(), wanted.end());
    if (start.has == Has::old_and_damaged || start.has == Has::fresh_damaged)
      host.damaged = {wanted.front()};
    entry.hit = !host.damaged.empty();
    if (start.has >= Has::fresh)
      host.active = wanted;
    before.push_back({host.active});
    if (start.undecided) {
      const Releases previous = start.has >= Has::fresh ? Releases{old_release} : Releases{};
      host.trial = {"run-0", host.active, previous, start.watched};
      host.epoch = 7;
      host.epoch_of = "run-0";
      before.back().insert(previous);
    }
    fleet.entries.push_back(std::move(entry));
  }

  static void spoil(HostFacts& facts, HostAudit& audit, ImaginedStart::Bad bad) {
    using Bad = ImaginedStart::Bad;
    using State = HostFacts::State;
    if (bad == Bad::no)
      return;
    if (bad == Bad::audit) {
      audit.verdict = Verdict::refused;
      return;
    }
    audit.verdict = Verdict::unreachable;
    facts.problem = "a reason";
    facts.installed = {};
    facts.state = bad == Bad::unreachable ? State::unreachable
                  : bad == Bad::login     ? State::login_refused
                  : bad == Bad::key       ? State::key_refused
                                          : State::failed;
  }

  void roll(Journal* journal) {
    Inventory inventory;
    Fleet facts;
    AuditReport audit;
    for (std::size_t at = 0; at < script.hosts.size(); ++at) {
      const ImaginedStart& start = script.hosts[at];
      const std::string& name = fleet.entries[at].name;
      inventory.hosts.emplace_back();
      inventory.hosts.back().name = inventory.hosts.back().endpoint.name = name;
      facts.hosts.push_back(fleet.entries[at].host.facts(name));
      facts.hosts.back().driver = at % 3 == 0 ? "580.65.06" : "535.104.05";
      HostAudit verdict{name, Verdict::ready, {}, {}};
      if (start.lacks_packages)
        verdict.to_install = {"einops"};
      if (start.same_as >= 0)
        verdict.same_target_as = "n" + std::to_string(start.same_as);
      spoil(facts.hosts.back(), verdict, start.bad);
      audit.hosts.push_back(verdict);
    }
    ReleaseSet set;
    for (int at = 0; at < script.parcels; ++at) {
      Parcel parcel;
      parcel.wheel = &NewWheels::get().wheels[static_cast<std::size_t>(at)];
      parcel.imports = {"demo"};
      set.parcels.push_back(parcel);
    }
    RolloutOptions options;
    options.run = id;
    options.goal = script.goal;
    options.policy = script.policy;
    options.journal = journal;
    RecordingStatus status;
    RolloutResult result =
        roll_out(inventory, facts, audit, {set}, options, fleet.transport, status);
    report.hosts = std::move(result.hosts);
    report.interrupted = result.interrupted;
    report.stopped = result.stopped;
  }

  void must(bool holds, const std::string& what) {
    if (!holds)
      broken.push_back(what + " at" + fleet.trace);
  }

  /// After each thing that a host did.
  void look(const std::string& step, const ImaginedHosts::Entry& entry) {
    if (step == "confirm" && entry.host.passes && entry.host.active == wanted)
      proven.insert(entry.name);
    if (step == "keep")
      look_at_decision();
    if (step == "activate" && ours(entry.host))
      look_at_activation();
  }

  void look_at_decision() {
    decided = true;
    for (std::size_t at = 0; at < fleet.entries.size(); ++at) {
      if (strict() && takes_part(at))
        must(proven.contains(fleet.entries[at].name), "told to stay before all were proven");
    }
  }

  void look_at_activation() {
    std::size_t on_trial = 0, out = 0;
    for (std::size_t at = 0; at < fleet.entries.size(); ++at) {
      ImaginedHosts::Entry& entry = fleet.entries[at];
      if (!takes_part(at))
        continue;
      must(entry.host.verified || entry.hit, "activated before " + entry.name + " was verified");
      // Whom the run had to give up is no more in flight, but still out.
      const bool given_up = entry.times["keep"] + entry.times["rollback"] > 0;
      on_trial += ours(entry.host) && !given_up;
      const bool stays = entry.host.confirmed && entry.host.confirmed->id == id;
      out += entry.host.trial || (entry.dead && !stays);
    }
    if (!rolling())
      return;
    must(on_trial <= share(script.policy.max_in_flight), "too many are on trial");
    must(out <= share(script.policy.max_unavailable), "too many are out");
  }

  /// ds-deploy-policy(5): rounded down, at least 1.
  std::size_t share(const Policy::Share& of) const {
    const std::size_t number = static_cast<std::size_t>(of.number);
    const std::size_t hosts = fleet.entries.size();
    return std::max<std::size_t>(1, of.percent ? number * hosts / 100 : number);
  }
};

}  // namespace ds
