// SPDX-License-Identifier: Apache-2.0
//
// What each phase asks of a host, and what is kept of the answer.
#include <map>
#include <set>

#include "base/sha256.h"
#include "base/text.h"
#include "rollout/rollout_state.h"

namespace ds {

using nlohmann::json;

namespace {

const WheelPart* part_of(const Wheel& wheel, const RolloutHost& host) {
  for (const WheelPart& part : host.facts->installed.parts) {
    if (part.release == wheel.sha256 && part.bytes > 0)
      return &part;
  }
  return nullptr;
}

json deepspeed_request(const Parcel& parcel) {
  json ops = json::array();
  for (const DeepSpeedOp& op : parcel.deepspeed)
    ops.push_back({{"name", op.name}, {"builder", op.builder}, {"module", op.module}});
  return {{"release", parcel.wheel->sha256}, {"ops", ops}};
}

/// What the hosts hold of the wheel's beginning; not what has other bytes.
std::map<const RolloutHost*, const WheelPart*> beginnings(const Wheel& wheel,
                                                          const std::vector<RolloutHost*>& hosts) {
  std::map<const RolloutHost*, const WheelPart*> held;
  std::set<std::uint64_t> sizes;
  for (const RolloutHost* host : hosts) {
    if (const WheelPart* part = part_of(wheel, *host)) {
      held[host] = part;
      sizes.insert(static_cast<std::uint64_t>(part->bytes));
    }
  }
  const std::map<std::uint64_t, Digest> digests = sha256_beginnings(wheel.file, sizes);
  std::erase_if(held, [&digests](const auto& entry) {
    const auto ours = digests.find(static_cast<std::uint64_t>(entry.second->bytes));
    return ours == digests.end() || hex(ours->second) != entry.second->sha256;
  });
  return held;
}

}  // namespace

PhaseDescription stage_phase(const Parcel& parcel, const std::string& run, bool again,
                             const std::vector<RolloutHost*>& hosts) {
  PhaseDescription phase;
  phase.name = "stage";
  phase.done_word = "staged";
  phase.command = [&parcel, run, again,
                   held = beginnings(*parcel.wheel, hosts)](const RolloutHost& host) {
    const auto found = held.find(&host);
    const WheelPart part = found != held.end() ? *found->second : WheelPart{{}, 0, sha256_hex("")};
    return PhaseCommand{{{"phase", "stage"},
                         {"run", run},
                         {"again", again},
                         {"kept", {{"bytes", part.bytes}, {"sha256", part.sha256}}},
                         {"manifest", json::parse(manifest_json(*parcel.wheel))}},
                        parcel.wheel->file,
                        static_cast<std::uint64_t>(part.bytes)};
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
  json request = json::object();
  for (const Parcel& parcel : parcels) {
    dists.push_back({{"name", parcel.wheel->name}, {"release", parcel.wheel->sha256}});
    for (const std::string& module : parcel.imports)
      imports.push_back(module);
    for (const auto& [op, where] : parcel.self_tests)
      self_tests[op] = where;
    if (!parcel.deepspeed.empty())
      request["deepspeed"] = deepspeed_request(parcel);
  }
  request.update({{"dists", dists}, {"imports", imports}, {"self_tests", self_tests}});
  PhaseDescription phase;
  phase.name = "confirm";
  phase.done_word = "confirmed";
  phase.time_limit = limit;
  phase.moves_pointer = true;
  phase.command = [request](const RolloutHost& host) {
    PhaseCommand command{request, {}};
    if (command.request.contains("deepspeed"))
      command.request["deepspeed"]["gpus"] = host.facts->gpus.size();
    return command;
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
