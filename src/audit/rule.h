// SPDX-License-Identifier: Apache-2.0
//
// A rule looks at one host and says what it found; pure. The table of all rules is in audit.cc.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "audit/audit.h"

namespace ds {

/// What rules ask of all hosts, found once.
struct FleetSummary {
  /// How many of the reached hosts have which value of a property that a job wants alike: "torch"
  /// -> "2.11.0" -> 3.
  std::map<std::string, std::map<std::string, std::size_t>> values;
  std::set<std::string> capabilities;  ///< of all GPUs: "9.0"
  /// The first host of each machine, and of each environment of a machine.
  std::map<std::string, const HostFacts*> machines, targets;
  /// Hosts of each environment on a file system that others can have too, each machine once.
  std::map<std::string, std::vector<const HostFacts*>> shared;
};

/// Keys of these; empty where the host cannot be told from others.
std::string machine_key(const HostFacts& host);
std::string target_key(const HostFacts& host);
/// The kernel driver, else what its first GPU says; empty: not known.
std::string driver_of(const HostFacts& host);

FleetSummary summarise(const Fleet& fleet);
/// Adds the host, which is among the summary's targets, to those of its environment, where others
/// can have it.
void note_shared(const HostFacts& host, FleetSummary& summary);
/// Who writes each of these environments; and where one of its hosts is refused, all are.
void judge_shared(const FleetSummary& summary, const AuditOptions& options,
                  std::vector<HostAudit>& hosts);

/// What a library finds of the symbols that it takes from PyTorch and Python.
struct LookedUp {
  std::size_t there = 0;
  /// Those that are not there, and those of which nobody knows.
  std::vector<std::string> of_torch, of_python, unknown;
};

/// Hosts with the same libraries find the same: each is looked up once.
class SymbolLookup {
 public:
  explicit SymbolLookup(const RuntimeExports& exports) : exports_(exports) {}
  const LookedUp& find(const LibraryNeeds& library, const HostFacts& host);

 private:
  using Runtime = std::map<std::string, std::string>;
  const RuntimeExports& exports_;
  std::map<Runtime, std::map<const LibraryNeeds*, LookedUp>> found_;
};

/// Which hosts get which wheels.
class Sets {
 public:
  explicit Sets(const std::vector<SetNeeds>& sets) {
    for (const SetNeeds& set : sets) {
      if (set.hosts.empty())
        others_ = &set;
      for (const std::string& host : set.hosts)
        by_host_[host] = &set;
    }
  }

  const SetNeeds* of(const std::string& host) const {
    const auto found = by_host_.find(host);
    return found == by_host_.end() ? others_ : found->second;
  }

  std::set<const SetNeeds*> of(const std::vector<std::string>& hosts) const {
    std::set<const SetNeeds*> all;
    for (const std::string& host : hosts)
      all.insert(of(host));
    all.erase(nullptr);
    return all;
  }

 private:
  std::map<std::string, const SetNeeds*> by_host_;
  const SetNeeds* others_ = nullptr;
};

/// `hosts` are those of the fleet.
WayOut way_out(const std::vector<HostAudit>& hosts, const Sets& sets, const Fleet& fleet,
               const AuditOptions& options);

struct Subject {
  const std::vector<Requirements>& wheels;
  const HostFacts& host;
  const Fleet& fleet;
  const FleetSummary& summary;  ///< of the fleet
  const AuditOptions& options;
  SymbolLookup& symbols;
};

using Findings = std::vector<Finding>;  ///< their `rule` is filled in by audit()

inline Finding finding(Severity severity, std::string because, std::string fix = {},
                       std::string op = {}) {
  return {{}, severity, std::move(op), std::move(because), std::move(fix)};
}

inline Finding with_ways(Finding finding, std::vector<Change> ways) {
  finding.ways = std::move(ways);
  return finding;
}

/// A wheel that is only planned has no binaries to read: rules about them stay silent.
inline bool is_built(const Requirements& wheel) {
  return !wheel.sha256.empty();
}

/// Its op, else its file name.
std::string label(const LibraryNeeds& library);

/// What an op library asks of a host: its record's rules, and what its binary shows.
OpRules rules_of(const LibraryNeeds& library);

/// What one of the rules that build and jit hold an op against says here, for each op.
Findings op_findings(const Subject& subject, const std::string& rule);

/// "leave the host out: --exclude NAME"
std::string leave_out(const Subject& subject);

/// "apt-get install libaio1", or in general words.
std::string how_to_get(const Subject& subject, const std::string& soname);

Findings environment_rule(const Subject& subject);
Findings env_script_rule(const Subject& subject);
Findings externally_managed_rule(const Subject& subject);
Findings write_permission_rule(const Subject& subject);
Findings disk_rule(const Subject& subject);
Findings same_machine_rule(const Subject& subject);
Findings installed_rule(const Subject& subject);
Findings activation_rule(const Subject& subject);
Findings lock_rule(const Subject& subject);
Findings machine_rule(const Subject& subject);
Findings python_rule(const Subject& subject);
Findings torch_rule(const Subject& subject);
Findings uniformity_rule(const Subject& subject);
Findings slots_rule(const Subject& subject);
Findings gpu_mode_rule(const Subject& subject);
Findings gpu_health_rule(const Subject& subject);
Findings gpu_busy_rule(const Subject& subject);
Findings symbols_rule(const Subject& subject);
Findings shadowed_rule(const Subject& subject);
Findings login_shell_rule(const Subject& subject);
Findings jit_rule(const Subject& subject);
Findings noexec_rule(const Subject& subject);
Findings shared_environment_rule(const Subject& subject);
/// Another host of the run can write its environment.
bool is_written_by_another(const Subject& subject);
Findings shared_memory_rule(const Subject& subject);
Findings clock_rule(const Subject& subject);
Findings deepspeed_record_rule(const Subject& subject);
Findings cxx_abi_rule(const Subject& subject);
Findings run_path_rule(const Subject& subject);
Findings requirements_rule(const Subject& subject);
Findings glibc_rule(const Subject& subject);
Findings libstdcxx_rule(const Subject& subject);
Findings cpu_level_rule(const Subject& subject);
Findings instructions_rule(const Subject& subject);
Findings needed_libraries_rule(const Subject& subject);
Findings gpu_rule(const Subject& subject);
Findings minimum_capability_rule(const Subject& subject);
Findings gpu_image_rule(const Subject& subject);
Findings driver_rule(const Subject& subject);

/// What pip has to install for the wheels on a host where it may: "pydantic>=2.0.0". torch is never
/// among it.
std::vector<std::string> packages_to_install(const Subject& subject);

/// The host earlier in the fleet that is the same environment of the same machine, or nullptr.
const HostFacts* same_target(const Subject& subject);

}  // namespace ds
