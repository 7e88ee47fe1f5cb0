// SPDX-License-Identifier: Apache-2.0
//
// What each phase asks of a host, and what is kept of the answer.
#include "base/text.h"
#include "rollout/rollout_state.h"

namespace ds {

using nlohmann::json;

PhaseDescription stage_phase(const Parcel& parcel, const std::string& run, bool again) {
  PhaseDescription phase;
  phase.name = "stage";
  phase.done_word = "staged";
  phase.command = [&parcel, run, again](const RolloutHost&) {
    return PhaseCommand{{{"phase", "stage"},
                         {"run", run},
                         {"again", again},
                         {"manifest", json::parse(manifest_json(*parcel.wheel))}},
                        parcel.wheel->file};
  };
  phase.accept = [&parcel](RolloutHost& host, const json& answer) {
    host.changed |= answer.value("changed", false);
    if (answer.value("ok", false))
      host.held.insert(parcel.wheel->sha256);
  };
  return phase;
}

PhaseDescription verify_phase(const std::vector<Parcel>& parcels, bool forgiving) {
  json manifests = json::array();
  for (const Parcel& parcel : parcels)
    manifests.push_back(json::parse(manifest_json(*parcel.wheel)));
  PhaseDescription phase;
  phase.name = "verify";
  phase.done_word = "verified";
  phase.command = [manifests](const RolloutHost&) {
    return PhaseCommand{{{"phase", "verify"}, {"manifests", manifests}}, {}};
  };
  phase.accept = [](RolloutHost& host, const json& answer) {
    for (const std::string& sha256 : answer.value("again", std::vector<std::string>()))
      host.damaged.insert(sha256);
  };
  if (forgiving)
    phase.forgive = [](RolloutHost& host, const json&) { return !host.damaged.empty(); };
  return phase;
}

PhaseDescription activate_phase(const std::vector<std::string>& wanted) {
  PhaseDescription phase;
  phase.name = "activate";
  phase.done_word = "active";
  phase.moves_pointer = true;
  phase.command = [wanted](const RolloutHost&) {
    return PhaseCommand{{{"phase", "activate"},
                         {"releases", wanted},
                         {"hook", std::string(template_text("hook.py"))}},
                        {}};
  };
  phase.accept = [wanted](RolloutHost& host, const json& answer) {
    if (!answer.value("ok", false))
      return;
    host.previous = answer.at("previous").get<std::vector<std::string>>();
    host.activated = host.previous != wanted;
    host.changed |= answer.value("changed", false);
    host.outcome.state = HostState::active;
    host.outcome.step = "activate";
    host.outcome.release = join(wanted, "+");
  };
  return phase;
}

PhaseDescription confirm_phase(const std::vector<Parcel>& parcels,
                               std::chrono::milliseconds limit) {
  json dists = json::array(), imports = json::array(), self_tests = json::object();
  for (const Parcel& parcel : parcels) {
    dists.push_back({{"name", parcel.wheel->name}, {"release", parcel.wheel->sha256}});
    for (const std::string& module : parcel.imports)
      imports.push_back(module);
    for (const auto& [op, where] : parcel.self_tests)
      self_tests[op] = where;
  }
  PhaseDescription phase;
  phase.name = "confirm";
  phase.done_word = "confirmed";
  phase.time_limit = limit;
  phase.moves_pointer = true;
  phase.command = [dists, imports, self_tests](const RolloutHost&) {
    return PhaseCommand{{{"dists", dists}, {"imports", imports}, {"self_tests", self_tests}}, {}};
  };
  phase.accept = [](RolloutHost& host, const json& answer) {
    host.outcome.self_tests.clear();
    for (const auto& [op, said] : answer.at("self_tests").items()) {
      host.outcome.self_tests.push_back(clean_line(op) + ": " +
                                        clean_line(said.get<std::string>()));
    }
    host.confirmed = answer.value("ok", false);
  };
  return phase;
}

PhaseDescription rollback_phase(const std::string& because) {
  PhaseDescription phase;
  phase.name = "rollback";
  phase.done_word = "rolled back";
  phase.moves_pointer = true;
  phase.command = [](const RolloutHost& host) {
    return PhaseCommand{{{"phase", "rollback"}, {"releases", host.previous}}, {}};
  };
  phase.accept = [because](RolloutHost& host, const json& answer) {
    if (!answer.value("ok", false))
      return;
    // A culprit keeps its own step and message.
    if (!host.culprit) {
      host.outcome.step = "rollback";
      host.outcome.message = "went back, because " + because;
    }
    host.activated = false;
    host.outcome.state = HostState::rolled_back;
    host.outcome.release = join(host.previous, "+");
  };
  return phase;
}

}  // namespace ds
