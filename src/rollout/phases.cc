// SPDX-License-Identifier: Apache-2.0
//
// What each phase asks of a host, and what is kept of the answer.
#include <fmt/format.h>

#include <map>
#include <optional>

#include "base/text.h"
#include "rollout/rollout_state.h"

namespace ds {

using nlohmann::json;

namespace {

/// One request for the hosts of each set.
using Requests = std::map<const ReleaseSet*, json>;

}  // namespace

SetTexts manifest_texts(const std::vector<ReleaseSet>& sets) {
  SetTexts manifests;
  for (const ReleaseSet& set : sets) {
    json all = json::array();
    for (const Parcel& parcel : set.parcels)
      all.push_back(manifest_of(*parcel.wheel));
    manifests[&set] = shared_text(json{{"manifests", all}});
  }
  return manifests;
}

PhaseDescription verify_phase(const std::vector<ReleaseSet>& sets, const Policy& policy,
                              bool forgiving) {
  PhaseDescription phase;
  phase.name = "verify";
  phase.done_word = "verified";
  phase.time_limit = policy.time_limits.verify;
  phase.command = [manifests = manifest_texts(sets)](const RolloutHost& host) {
    return PhaseCommand{.request = {{"phase", "verify"}}, .more = manifests.at(host.set)};
  };
  phase.accept = [](RolloutHost& host, const json& answer) {
    for (const std::string& sha256 : answer.value("again", std::vector<std::string>()))
      host.damaged.insert(sha256);
  };
  if (forgiving)
    phase.forgive = [](RolloutHost& host, const json&) { return !host.damaged.empty(); };
  return phase;
}

PhaseDescription verify_sealed_phase(const Policy& policy) {
  PhaseDescription phase;
  phase.name = "verify";
  phase.done_word = "verified";
  phase.time_limit = policy.time_limits.verify;
  phase.command = [](const RolloutHost& host) {
    return PhaseCommand{{{"phase", "check"}, {"releases", host.wanted}}, {}};
  };
  phase.accept = [](RolloutHost& host, const json& answer) {
    if (!answer.value("ok", false))
      return;
    for (const json& release : answer.at("releases")) {
      const std::string damage = clean_line(release.at("damage").get<std::string>(), 1000);
      if (damage.empty())
        continue;
      host.good = false;
      host.outcome.state = HostState::failed;
      host.outcome.step = "verify";
      host.outcome.checksum_refused = true;
      host.outcome.message =
          "release " + clean_line(release.at("sha256").get<std::string>(), 12) + ": " + damage;
    }
  };
  return phase;
}

PhaseDescription clean_phase(const RolloutOptions& options) {
  PhaseDescription phase;
  phase.name = "clean";
  phase.time_limit = std::chrono::minutes(5);
  json request = {{"phase", "clean"}, {"keep", options.keep}, {"all_asked", false}};
  if (options.keep_days)
    request["keep_days"] = *options.keep_days;
  phase.command = [request](const RolloutHost&) { return PhaseCommand{request, {}}; };
  phase.accept = [](RolloutHost& host, const json& answer) {
    const std::size_t removed = releases_of(answer, "removed").size();
    if (removed == 0)
      return;
    add_remark(host, fmt::format("{} removed, {}", count(removed, "old release"),
                                 human_bytes(answer.at("bytes").get<std::uint64_t>())));
  };
  // A host where it fails is well all the same.
  phase.forgive = [](RolloutHost&, const json&) { return true; };
  return phase;
}

namespace {

json deepspeed_request(const Parcel& parcel, bool by_pip) {
  json ops = json::array();
  for (const DeepSpeedOp& op : parcel.deepspeed)
    ops.push_back({{"name", op.name}, {"builder", op.builder}, {"module", op.module}});
  return {{"release", by_pip ? "" : parcel.wheel->sha256}, {"ops", ops}};
}

json confirm_request(const ReleaseSet& set, bool by_pip) {
  json request = json::object();
  json dists = json::array(), releases = json::array(), imports = json::array(),
       self_tests = json::object();
  for (const Parcel& parcel : set.parcels) {
    if (by_pip)
      dists.push_back({{"name", parcel.wheel->name}, {"dist_info", parcel.wheel->dist_info}});
    else if (parcel.wheel->name.empty())
      releases.push_back(parcel.wheel->sha256);  // nothing was noted of it
    else
      dists.push_back({{"name", parcel.wheel->name}, {"release", parcel.wheel->sha256}});
    for (const std::string& module : parcel.imports)
      imports.push_back(module);
    for (const auto& [op, where] : parcel.self_tests)
      self_tests[op] = where;
    for (const auto& [op, mebibytes] : parcel.gpu_memory)
      request["gpu_memory"][op] = mebibytes;
    if (!parcel.deepspeed.empty())
      request["deepspeed"] = deepspeed_request(parcel, by_pip);
  }
  request.update(
      {{"dists", dists}, {"releases", releases}, {"imports", imports}, {"self_tests", self_tests}});
  return request;
}

/// One that changed owes what it could not show; one that did not has shown it before, or owes it
/// still.
void take_proof(RolloutHost& host, bool spared, bool moved) {
  if (!host.confirmed)
    return;
  if (!is_for_gpus(*host.set))
    host.owes_proof = false;
  else if (!host.facts->gpus.empty())
    host.owes_proof = spared && (moved || host.owes_proof);
}

}  // namespace

namespace {

/// A number that a host can have measured.
std::optional<double> measured(const json& figure, const char* key) {
  const auto found = figure.is_object() ? figure.find(key) : figure.end();
  if (found == figure.end() || !found->is_number())
    return std::nullopt;
  const double number = found->get<double>();
  return number >= 0 && number < 1e9 ? std::optional(number) : std::nullopt;
}

void take_figures(RolloutHost& host, const json& answer) {
  host.outcome.self_test_figures.clear();
  const json figures = answer.value("figures", json::object());
  for (const auto& [op, figure] : figures.items()) {
    if (const std::optional<double> seconds = measured(figure, "seconds")) {
      host.outcome.self_test_figures[clean_line(op)] = {*seconds,
                                                        measured(figure, "gb_per_s").value_or(0)};
    }
  }
}

}  // namespace

PhaseDescription confirm_phase(const std::vector<ReleaseSet>& sets, const Policy& policy,
                               bool by_pip) {
  Requests requests;
  for (const ReleaseSet& set : sets)
    requests[&set] = confirm_request(set, by_pip);
  PhaseDescription phase;
  phase.name = "confirm";
  phase.done_word = "confirmed";
  phase.fresh = true;
  phase.time_limit = policy.time_limits.confirm;
  phase.moves_pointer = true;
  phase.command = [requests](const RolloutHost& host) {
    PhaseCommand command{requests.at(host.set), {}};
    if (host.set->parcels.empty())
      command.request["nothing_below"] = host.facts->installed.root;
    if (command.request.contains("deepspeed")) {
      command.request["deepspeed"]["gpus"] = host.spares_gpus ? 0 : host.facts->gpus.size();
      command.request["deepspeed"]["spared"] = host.spares_gpus;
    }
    if (host.spares_gpus)
      command.request["spare_gpus"] = true;
    return command;
  };
  phase.accept = [by_pip](RolloutHost& host, const json& answer) {
    host.outcome.self_tests.clear();
    for (const auto& [op, said] : answer.at("self_tests").items()) {
      host.outcome.self_tests.push_back(clean_line(op) + ": " +
                                        clean_line(said.get<std::string>()));
    }
    take_figures(host, answer);
    host.confirmed = answer.value("ok", false);
    take_proof(host, host.spares_gpus || answer.value("gpus_taken", false),
               host.activated || (by_pip && host.changed));
  };
  return phase;
}

}  // namespace ds
