// SPDX-License-Identifier: Apache-2.0
//
// What is noted of a wheel beside its release when it is staged, so that a host can be brought back
// to it without the wheel.
#include "base/text.h"
#include "rollout/rollout_state.h"

namespace ds {
namespace {

using nlohmann::json;

constexpr const char* schema = "ds-deploy.release/1";
constexpr std::size_t longest_record = 16u << 20;

ReleaseRecord record_from(const json& value, const std::string& sha256) {
  ReleaseRecord record;
  record.sha256 = sha256;
  if (!value.is_object() || value.value("schema", json()) != json(schema))
    return record;
  record.name = clean_line(value.at("name").get<std::string>(), 200);
  record.version = clean_line(value.at("version").get<std::string>(), 200);
  record.file = clean_line(value.at("file").get<std::string>(), 300);
  record.bytes = value.at("bytes").get<std::uint64_t>();
  record.ops = value.at("ops").get<std::string>();
  record.needs = value.at("needs").get<std::string>();
  return record;
}

}  // namespace

json release_record(const Parcel& parcel) {
  return {{"schema", schema},
          {"name", parcel.wheel->name},
          {"version", parcel.wheel->version},
          {"file", parcel.wheel->file.filename().string()},
          {"bytes", parcel.wheel->bytes},
          {"ops", parcel.ops},
          {"needs", parcel.needs}};
}

HeldReleases read_release_records(const Inventory& inventory, const ProbeOptions& probe,
                                  const HostReleases& releases, Transport& transport,
                                  Status& status) {
  HeldReleases found;
  PhaseDescription phase;
  phase.name = "records";
  phase.most_output = longest_record;
  phase.command = [&releases](const RolloutHost& host) {
    return PhaseCommand{{{"phase", "records"}, {"releases", releases.at(host.outcome.host)}}};
  };
  phase.accept = [&](RolloutHost& host, const json& answer) {
    if (!answer.value("ok", false))
      return;
    for (const std::string& sha256 : releases.at(host.outcome.host)) {
      found[host.outcome.host].push_back(record_from(answer.at("records").at(sha256), sha256));
    }
  };
  const auto meant = [&releases](const Host& host) {
    const auto wanted = releases.find(host.name);
    return wanted != releases.end() && !wanted->second.empty();
  };
  ask_each(phase, inventory, probe, meant, transport, status);
  return found;
}

}  // namespace ds
