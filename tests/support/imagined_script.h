// SPDX-License-Identifier: Apache-2.0
//
// A rollout that is to be imagined: its policy, how each host is at first, and what goes wrong.
#pragma once

#include <fmt/format.h>

#include <random>
#include <string>
#include <vector>

#include "rollout/rollout.h"
#include "support/imagined_hosts.h"

namespace ds {

/// How a host is before the run.
struct ImaginedStart {
  enum class Has { nothing, old, old_and_new, old_and_damaged, fresh, fresh_damaged };
  enum class Bad { no, audit, unreachable, login, key, facts };
  Has has = Has::old;
  Bad bad = Bad::no;
  bool hook = true;
  bool undecided = false;  ///< an earlier run's activation of what it has
  bool watched = true;     ///< that one
  bool lacks_packages = false;
  int same_as = -1;  ///< another name for that host
};

struct ImaginedScript {
  Policy policy;
  RolloutOptions::Goal goal = RolloutOptions::Goal::confirmed;
  std::vector<ImaginedStart> hosts;
  std::vector<FaultEvent> events;
  int parcels = 1;
  unsigned order = 0;        ///< seed of the order in which things end; 0: as they began
  std::string text() const;  ///< all of it, for whoever looks for a failure
  bool has(std::initializer_list<Fault> any) const;  ///< one of them happened
  bool has_bad(ImaginedStart::Bad) const;
};

inline const std::vector<std::string>& imagined_steps() {
  static const std::vector<std::string> steps = {
      "begin",   "lock",   "recover", "show-outliving", "is-outlived",
      "lacking", "stage",  "verify",  "requirements",   "activate",
      "confirm", "health", "keep",    "rollback",       "unlock"};
  return steps;
}

inline std::string ImaginedScript::text() const {
  std::string text = fmt::format(
      "{} (bake {} rehearse {}) flight {}{} out {}{} failures {}{} {} dead-man {} retries {} "
      "health {} goal {} parcels "
      "{} order {}\n",
      policy.strategy == Policy::Strategy::canary    ? "canary"
      : policy.strategy == Policy::Strategy::rolling ? "rolling"
                                                     : "all-at-once",
      policy.bake.count(), policy.prove_rollback, policy.max_in_flight.number,
      policy.max_in_flight.percent ? "%" : "", policy.max_unavailable.number,
      policy.max_unavailable.percent ? "%" : "", policy.max_failures.number,
      policy.max_failures.percent ? "%" : "",
      policy.on_failure == Policy::OnFailure::stop         ? "stop"
      : policy.on_failure == Policy::OnFailure::stop_class ? "stop-class"
                                                           : "roll-back-all",
      policy.without_dead_man.what == Policy::Treatment::What::stop ? "stop" : "proceed",
      policy.retries,
      policy.health.command.empty()  ? "no"
      : policy.health.on_coordinator ? "here"
                                     : "there",
      goal == RolloutOptions::Goal::staged ? "staged" : "confirmed", parcels, order);
  for (std::size_t at = 0; at < hosts.size(); ++at) {
    const ImaginedStart& host = hosts[at];
    text += fmt::format("  n{} has {} bad {} hook {} undecided {} watched {} lacks {} same {}\n",
                        at, static_cast<int>(host.has), static_cast<int>(host.bad), host.hook,
                        host.undecided, host.watched, host.lacks_packages, host.same_as);
  }
  for (const FaultEvent& event : events) {
    text +=
        fmt::format("  n{} {} {} fault {} many {}{}\n", event.host, event.step, event.time,
                    static_cast<int>(event.fault), event.many, event.happened ? " happened" : "");
  }
  return text;
}

inline bool ImaginedScript::has(std::initializer_list<Fault> any) const {
  return std::any_of(events.begin(), events.end(), [any](const FaultEvent& event) {
    return event.happened && std::find(any.begin(), any.end(), event.fault) != any.end();
  });
}

inline bool ImaginedScript::has_bad(ImaginedStart::Bad bad) const {
  return std::any_of(hosts.begin(), hosts.end(),
                     [bad](const ImaginedStart& host) { return host.bad == bad; });
}

class ScriptWriter {
 public:
  explicit ScriptWriter(unsigned seed) : random_(seed) {}

  ImaginedScript write() {
    ImaginedScript script;
    const std::size_t number = 1 + below(8);
    write_policy(script.policy, static_cast<int>(number));
    if (one_in(12))
      script.goal = RolloutOptions::Goal::staged;
    script.parcels = one_in(4) ? 2 : 1;
    script.order = one_in(4) ? 0 : static_cast<unsigned>(1 + below(1'000'000));
    const bool some_bad = one_in(10);
    for (std::size_t at = 0; at < number; ++at)
      script.hosts.push_back(write_start(at, some_bad));
    const std::size_t events = below(5);
    for (std::size_t at = 0; at < events; ++at)
      script.events.push_back(write_event(number));
    return script;
  }

 private:
  std::size_t below(std::size_t limit) {
    return std::uniform_int_distribution<std::size_t>(0, limit - 1)(random_);
  }
  bool one_in(std::size_t number) { return below(number) == 0; }

  Policy::Share share(int least, int most) {
    if (one_in(3))
      return {static_cast<int>(std::max<std::size_t>(least, below(101))), true};
    return {least + static_cast<int>(below(static_cast<std::size_t>(most - least + 1))), false};
  }

  void write_policy(Policy& policy, int hosts) {
    if (!one_in(3)) {
      policy.strategy = Policy::Strategy::rolling;
      policy.max_in_flight = share(1, hosts);
      policy.max_unavailable = share(1, hosts);
    }
    if (policy.strategy == Policy::Strategy::rolling && one_in(2)) {
      policy.strategy = Policy::Strategy::canary;
      policy.waves = {share(1, hosts), share(1, hosts)};
      policy.bake = std::chrono::seconds(below(3) * 60);
      policy.prove_rollback = one_in(3);
    }
    if (!one_in(3))
      policy.max_failures = one_in(4) ? Policy::Share{static_cast<int>(below(50)), true}
                                      : Policy::Share{static_cast<int>(below(3)), false};
    if (one_in(2))
      policy.on_failure = one_in(3) ? Policy::OnFailure::stop_class : Policy::OnFailure::stop;
    if (one_in(2))
      policy.without_dead_man.what = Policy::Treatment::What::proceed;
    policy.retries = static_cast<int>(below(3));
    if (one_in(3)) {
      policy.health.command = "test -e /run/healthy";
      policy.health.on_coordinator = one_in(2);
    }
  }

  ImaginedStart write_start(std::size_t at, bool some_bad) {
    using Has = ImaginedStart::Has;
    static const Has mostly[] = {Has::old, Has::old, Has::old, Has::old, Has::fresh};
    ImaginedStart start;
    start.has = one_in(4) ? static_cast<Has>(below(6)) : mostly[below(5)];
    start.hook = start.has != Has::nothing && !one_in(8);
    start.undecided = start.has != Has::nothing && one_in(12);
    start.watched = one_in(2);
    start.lacks_packages = one_in(10);
    if (some_bad && one_in(3))
      start.bad = static_cast<ImaginedStart::Bad>(1 + below(5));
    if (at > 0 && one_in(15))
      start.same_as = 0;
    return start;
  }

  FaultEvent write_event(std::size_t hosts) {
    // Where hosts change there is the most to break.
    static const std::vector<std::string> mostly = {"activate", "confirm", "keep", "rollback"};
    const std::vector<std::string>& steps = one_in(2) ? mostly : imagined_steps();
    FaultEvent event;
    event.host = below(hosts);
    event.step = steps[below(steps.size())];
    event.time = one_in(3) ? 1 + static_cast<int>(below(2)) : 0;
    event.fault = static_cast<Fault>(below(fault_count));
    if (moves_a_host(event.fault))
      event.step = "begin";
    event.many = 1 + static_cast<int>(below(4));
    return event;
  }

  std::mt19937 random_;
};

}  // namespace ds
