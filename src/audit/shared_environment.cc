// SPDX-License-Identifier: Apache-2.0
//
// Environments on file systems that several machines have mounted: one copy for all of them, which
// one host writes.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "audit/rule.h"
#include "base/text.h"

namespace ds {
namespace {

/// File systems that several machines can have mounted.
bool is_network(const std::string& filesystem) {
  static constexpr std::array names = {"nfs",    "lustre", "gpfs", "beegfs", "ceph",
                                       "wekafs", "cifs",   "smb3", "9p",     "afs",
                                       "panfs",  "pvfs2",  "gfs2", "ocfs2",  "virtiofs"};
  return filesystem.starts_with("fuse.") ||
         std::any_of(names.begin(), names.end(),
                     [&](const char* name) { return filesystem.starts_with(name); });
}

/// The device number of a mount differs from machine to machine, the inode does not.
std::string shared_key(const HostFacts& host) {
  const std::string& id = host.python.prefix_id;
  const std::size_t colon = id.find(':');
  if (!is_network(host.disk.filesystem) || host.disk.source.empty() || colon == std::string::npos)
    return {};
  return host.disk.source + "\n" + id.substr(colon);
}

std::vector<std::string> names_of(const std::vector<const HostFacts*>& hosts) {
  std::vector<std::string> names;
  for (const HostFacts* host : hosts)
    names.push_back(host->host);
  return names;
}

/// That of several machines which this host is one of; empty: it has its own.
const std::vector<const HostFacts*>& unit_of(const FleetSummary& summary, const HostFacts& host) {
  static const std::vector<const HostFacts*> none;
  const auto found = summary.shared.find(shared_key(host));
  return found == summary.shared.end() || found->second.size() < 2 ? none : found->second;
}

}  // namespace

void note_shared(const HostFacts& host, FleetSummary& summary) {
  const std::string key = shared_key(host);
  const std::string target = target_key(host);
  if (key.empty())
    return;
  // Another name of one machine is no other host.
  if (target.empty() || summary.targets.at(target) == &host)
    summary.shared[key].push_back(&host);
}

bool is_written_by_another(const Subject& subject) {
  const auto& unit = unit_of(subject.summary, subject.host);
  return std::any_of(unit.begin(), unit.end(), [&subject](const HostFacts* other) {
    return other != &subject.host && other->installed.root_writable;
  });
}

Findings shared_environment_rule(const Subject& subject) {
  const HostFacts& host = subject.host;
  const DiskFacts& disk = host.disk;
  if (host.python.executable.empty())
    return {};
  if (disk.filesystem.empty() || (is_network(disk.filesystem) && shared_key(host).empty()))
    return {
        finding(Severity::unknown, "whether other hosts have the same environment is not known")};
  if (!is_network(disk.filesystem))
    return {finding(Severity::ok, "the environment lies on this host's own " + disk.filesystem)};
  const std::string where =
      fmt::format("the environment lies on {} {}", disk.filesystem, disk.source);
  const auto& unit = unit_of(subject.summary, host);
  if (unit.empty())
    return {finding(Severity::ok, where + ", which no other host of the run has")};
  for (const HostFacts* other : unit) {
    if (other->python.prefix == host.python.prefix)
      continue;
    return {finding(Severity::fail,
                    fmt::format("{}, at {} here and at {} on {}, and what is installed there names "
                                "its own place",
                                where, host.python.prefix, other->python.prefix, other->host),
                    "mount it at one place on all hosts, or give them environments of their own")};
  }
  return {finding(Severity::ok, fmt::format("{}, and {} of the run have it: one of them writes, "
                                            "each confirms",
                                            where, count(unit.size(), "host")))};
}

void judge_shared(const FleetSummary& summary, const AuditOptions& options,
                  std::vector<HostAudit>& hosts) {
  std::map<std::string, HostAudit*> audits;
  for (HostAudit& host : hosts)
    audits.emplace(host.host, &host);
  for (const auto& [key, unit] : summary.shared) {
    if (unit.size() < 2)
      continue;
    const HostFacts* writer = nullptr;
    std::vector<std::string> refused;
    const auto writes_better = [&options](const HostFacts* host) {
      return options.writers.contains(host->host);
    };
    for (const HostFacts* host : unit) {
      if (audits.at(host->host)->verdict == Verdict::refused)
        refused.push_back(host->host);
      const bool writes = host->installed.root_writable || writes_better(host);
      if (writes && (writer == nullptr || (writes_better(host) && !writes_better(writer))))
        writer = host;
    }
    for (const HostFacts* host : unit) {
      HostAudit& audit = *audits.at(host->host);
      audit.writer = writer == nullptr ? unit.front()->host : writer->host;
      if (refused.empty() || audit.verdict == Verdict::refused)
        continue;
      audit.verdict = Verdict::refused;
      audit.findings.insert(
          audit.findings.begin(),
          {"shared-environment", Severity::fail, "",
           fmt::format("it has one environment with {}, which {} refused", some_of(refused),
                       refused.size() == 1 ? "is" : "are"),
           "mend what refuses them, or give hosts that differ an environment of their own"});
    }
  }
}

bool is_on_network(const HostFacts& host) {
  return is_network(host.disk.filesystem);
}

std::vector<std::vector<std::string>> shared_environments(const Fleet& fleet) {
  std::vector<std::vector<std::string>> units;
  for (const auto& [key, hosts] : summarise(fleet).shared) {
    if (hosts.size() > 1)
      units.push_back(names_of(hosts));
  }
  return units;
}

}  // namespace ds
