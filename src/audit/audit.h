// SPDX-License-Identifier: Apache-2.0
//
// Holds what the wheel's binaries need against what each host is. Pure.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "artifact/artifact.h"
#include "compat/compat.h"
#include "config/config.h"
#include "facts/facts.h"

namespace ds {

/// 0 is the worst: fail, unknown, warn, ok.
int rank(Severity severity);

/// What would end a finding: a kind of the table in way_out.cc, and a value of it.
struct Change {
  std::string kind;   ///< "arch", "driver", "torch-wheel"
  std::string value;  ///< "9.0"
  bool operator==(const Change&) const = default;
};

struct Finding {
  std::string rule;  ///< "gpu-image", "glibc", ...
  Severity severity = Severity::ok;
  std::string op;  ///< empty: the whole wheel or host
  std::string because;
  std::string fix;
  bool ignored = false;           ///< --ignore: it is told as a warning and refuses nothing
  std::vector<Change> ways = {};  ///< any of them ends it; empty: what `fix` says, on the host
  bool operator==(const Finding&) const = default;
};

enum class Verdict { ready, refused, unreachable };

struct HostAudit {
  std::string host;
  Verdict verdict = Verdict::ready;
  std::vector<Finding> findings;  ///< worst first
  std::string same_target_as;     ///< another host's name: same machine, same environment
  std::vector<std::string> to_install = {};  ///< with_requirements: for pip, "einops>=0.6"
  /// Of an environment that several hosts of the run have on a shared file system: the one that
  /// writes it, which may be this one; empty: it has its own.
  std::string writer = {};
};

/// The cheapest changes that together make the most hosts ready.
struct WayOut {
  struct Step {
    std::string change;              ///< "build for compute capability 9.0 too"
    std::vector<std::string> hosts;  ///< that need it, and are ready with all of the steps
    /// Of device code, that an architecture more compiles once more, and about how much larger it
    /// makes the libraries; 0: nothing, or not known.
    std::size_t units = 0;
    std::uint64_t bytes = 0;
  };
  struct Remaining {
    std::string host, because;
  };
  std::vector<Step> steps;  ///< those that help the most hosts first
  std::vector<Remaining> remaining;
};

struct AuditReport {
  std::vector<HostAudit> hosts;  ///< in the fleet's order
  WayOut way_out;
  bool all_ready() const;
};

/// Findings of a rule that are not to refuse a host.
struct IgnoredRule {
  std::string rule;
  std::string hosts;  ///< a glob (fnmatch(3)); empty: all
};

/// "gpu", "uniformity@node7", "driver@old-*". UsageError for what is no rule, or one without which
/// nothing can be deployed.
IgnoredRule parse_ignored(const std::string& text);

struct AuditOptions {
  bool require_gpu = false;
  bool strict = false;             ///< warnings and unknowns refuse a host
  bool needs_environment = true;   ///< a host without a target interpreter fails (deploy)
  bool with_requirements = false;  ///< Python packages that are missing will be installed
  bool installed = false;          ///< what is active there is looked at
  std::vector<IgnoredRule> ignored;
  std::map<std::string, int> slots;  ///< by host, as the hostfile says; empty: it is not asked
  std::set<std::string> writers;     ///< of shared environments, as the hostfile says
  const Catalog* catalog = &builtin_catalog();
  /// What the hosts' libraries give; those that are not in it are not known.
  const RuntimeExports* exports = &no_exports();
  static const RuntimeExports& no_exports();
};

inline constexpr const char* leave_out_words = "leave the host out: --exclude ";

/// Takes the offer to leave `host` out, which holds its name, off the end of a fix; false if it
/// makes none.
bool take_leave_out(std::string& fix, const std::string& host);

/// What a wheel runs on there, in a line: "8 NVIDIA H100, driver 580.65.06, glibc 2.36,
/// Python 3.11, torch 2.6.0+cu124". Hosts that say the same are of one class: what one of them
/// shows of a wheel, the others would. Clean text.
std::string class_of(const HostFacts& host);

/// Other machines can have the environment too.
bool is_on_network(const HostFacts& host);

/// Names of hosts that have one environment on a shared file system: two or more each.
std::vector<std::vector<std::string>> shared_environments(const Fleet& fleet);

/// What the wheels of one release set need, and the hosts that are to get them.
struct SetNeeds {
  std::vector<Requirements> wheels;
  std::vector<std::string> hosts;  ///< names; empty: every host that no other set names
};

/// A host is ready if every wheel of its set can run there; one that no set names is held against
/// no wheel.
AuditReport audit(const std::vector<SetNeeds>& sets, const Fleet& fleet,
                  const AuditOptions& options);

/// The same where all hosts get the same wheels, one or several.
AuditReport audit(const std::vector<Requirements>& wheels, const Fleet& fleet,
                  const AuditOptions& options);

}  // namespace ds
