// SPDX-License-Identifier: Apache-2.0
#include "cli/held_releases.h"

#include <fmt/format.h>

#include <map>
#include <set>

#include "base/text.h"
#include "cli/pack_wheel.h"

namespace ds {
namespace {

using Notes = std::vector<ReleaseRecord>;

/// As much of the wheel as was noted: no file of it is here.
Wheel wheel_of(const ReleaseRecord& record) {
  Wheel wheel;
  wheel.sha256 = record.sha256;
  wheel.name = record.name;
  wheel.version = record.version;
  wheel.bytes = record.bytes;
  wheel.file = record.file.empty() ? record.sha256.substr(0, 12) : record.file;
  return wheel;
}

void refuse_unnoted(const std::vector<std::string>& hosts, const ReleaseRecord& record) {
  throw UsageError(fmt::format("what release {} needs was not noted on {} when it was staged",
                               record.sha256.substr(0, 12), fold_hosts(hosts, 60)),
                   "deploy its wheel with --wheel, or leave the audit out: rollback --no-audit");
}

void add_set(Undertaking& undertaking, const Notes& notes, const std::vector<std::string>& hosts) {
  SetNeeds& needs = undertaking.needs.emplace_back(SetNeeds{{}, hosts});
  ReleaseSet& release = undertaking.releases.emplace_back(ReleaseSet{{}, hosts});
  for (const ReleaseRecord& record : notes) {
    std::optional<Requirements> needed = read_requirements(record.needs);
    if (!needed && undertaking.audited)
      refuse_unnoted(hosts, record);
    const Wheel& wheel = undertaking.wheels.emplace_back(wheel_of(record));
    // Its word for what it is; which release it is, is known.
    Requirements known = needed.value_or(Requirements{});
    known.sha256 = wheel.sha256;
    undertaking.report.wheels.push_back(reported_wheel(wheel, known, hosts));
    needs.wheels.push_back(std::move(known));
    release.parcels.push_back(parcel_of(wheel, record.ops));
    release.parcels.back().needs = record.needs;
    release.parcels.back().for_gpus = has_device_code(undertaking.needs.back().wheels.back());
  }
}

}  // namespace

void add_held(Undertaking& undertaking, const HostReleases& wanted, Session& session) {
  const HeldReleases held = read_release_records(session.inventory(), session.probe(), wanted,
                                                 session.transport(), session.status());
  for (const auto& [host, releases] : wanted) {
    const auto told = held.find(host);
    const HostFacts* facts = session.fleet().find(host);
    if (facts == nullptr || facts->state != HostFacts::State::reached)
      continue;
    if (!releases.empty() && (told == held.end() || told->second.size() != releases.size())) {
      throw Error("nothing was changed: " + host + " did not tell what was noted of its releases",
                  "try again, or leave it out: --exclude " + host, ExitStatus::unreachable);
    }
  }
  undertaking.sealed_there = true;
  // What one host says of a release counts for that host; most say the same.
  std::map<Notes, std::vector<std::string>> groups;
  for (const HostFacts& facts : session.fleet().hosts) {
    const auto found = held.find(facts.host);
    groups[found == held.end() ? Notes() : found->second].push_back(facts.host);
  }
  for (const auto& [notes, hosts] : groups)
    add_set(undertaking, notes, hosts);
}

std::string release_name(const std::vector<std::string>& releases) {
  return releases.empty() ? "what pip installed, or nothing" : short_names(releases);
}

std::vector<std::string> releases_to_remove(const Options& options, const Fleet& fleet) {
  std::set<std::string> chosen;
  for (const std::string& beginning : options.files) {
    const std::size_t before = chosen.size();
    for (const HostFacts& facts : fleet.hosts) {
      for (const std::string& sha256 : facts.installed.sealed) {
        if (sha256.starts_with(beginning))
          chosen.insert(sha256);
      }
    }
    if (chosen.size() > before + 1) {
      throw UsageError("several releases begin with " + clean_line(beginning, 64),
                       "write more of it");
    }
    if (chosen.size() == before)
      throw UsageError("no host has a release " + clean_line(beginning, 64),
                       "see: ds-deploy facts");
  }
  return {chosen.begin(), chosen.end()};
}

}  // namespace ds
