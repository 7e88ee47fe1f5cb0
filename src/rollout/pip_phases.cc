// SPDX-License-Identifier: Apache-2.0
#include "rollout/pip_phases.h"

namespace ds {

using nlohmann::json;

PhaseDescription pip_lacking_phase(const SetTexts& manifests, const Policy& policy) {
  PhaseDescription phase;
  phase.name = "check";
  phase.done_word = "checked";
  phase.time_limit = policy.time_limits.verify;
  phase.command = [&manifests](const RolloutHost& host) {
    return PhaseCommand{.request = {{"phase", "pip-lacking"}}, .more = manifests.at(host.set)};
  };
  phase.accept = [](RolloutHost& host, const json& answer) {
    if (!answer.value("ok", false))
      return;
    host.held.insert(host.wanted.begin(), host.wanted.end());
    for (const std::string& sha256 : releases_of(answer, "lacking"))
      host.held.erase(sha256);
  };
  return phase;
}

PhaseDescription pip_send_phase(std::size_t at, const Policy& policy) {
  PhaseDescription phase;
  phase.name = "send";
  phase.done_word = "sent";
  phase.time_limit = policy.time_limits.stage;
  phase.command = [at](const RolloutHost& host) {
    const Wheel& wheel = *host.set->parcels[at].wheel;
    return PhaseCommand{.request = {{"phase", "pip-send"},
                                    {"file", wheel.file.filename().string()},
                                    {"stream", {{"bytes", wheel.bytes}, {"sha256", wheel.sha256}}}},
                        .file = wheel.file};
  };
  phase.accept = [](RolloutHost&, const json&) {};
  return phase;
}

PhaseDescription pip_install_phase(const Policy& policy) {
  PhaseDescription phase;
  phase.name = "install";
  phase.done_word = "installed";
  phase.time_limit = policy.time_limits.stage;
  phase.moves_pointer = true;  // without an answer nobody knows what is there
  phase.command = [](const RolloutHost& host) {
    json wheels = json::array();
    for (const Parcel& parcel : host.set->parcels) {
      if (!host.held.contains(parcel.wheel->sha256))
        wheels.push_back(
            {{"name", parcel.wheel->name}, {"file", parcel.wheel->file.filename().string()}});
    }
    return PhaseCommand{{{"phase", "pip-install"}, {"wheels", wheels}}};
  };
  phase.accept = [](RolloutHost& host, const json& answer) {
    if (!answer.value("ok", false))
      return;
    host.changed = true;
    host.outcome.state = HostState::active;
    host.outcome.message.clear();
  };
  return phase;
}

PhaseDescription pip_verify_phase(const SetTexts& manifests, const Policy& policy) {
  PhaseDescription phase;
  phase.name = "verify";
  phase.done_word = "verified";
  phase.time_limit = policy.time_limits.verify;
  phase.moves_pointer = true;
  phase.command = [&manifests](const RolloutHost& host) {
    return PhaseCommand{.request = {{"phase", "pip-verify"}}, .more = manifests.at(host.set)};
  };
  phase.accept = [](RolloutHost&, const json&) {};
  return phase;
}

}  // namespace ds
