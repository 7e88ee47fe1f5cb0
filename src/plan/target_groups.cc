// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <set>

#include "base/text.h"
#include "plan/plan.h"

namespace ds {
namespace {

/// "3.11"; "3.13t" without a global lock, whose libraries are others.
std::string python_of(const PythonFacts& python) {
  if (python.version.find('.') == std::string::npos)
    return {};
  const std::vector<std::string> abi = split(python.soabi, '-');
  const bool free_threaded = abi.size() > 1 && abi[1].ends_with('t');
  return major_minor(python.version) + (free_threaded ? "t" : "");
}

}  // namespace

std::vector<TargetGroup> target_groups(const Fleet& fleet) {
  std::vector<TargetGroup> groups;
  std::vector<const HostFacts*> others;
  for (const HostFacts& host : fleet.hosts) {
    const std::string python = python_of(host.python);
    if (python.empty() || host.torch.version.empty()) {
      others.push_back(&host);
      continue;
    }
    const auto known = std::find_if(groups.begin(), groups.end(), [&](const TargetGroup& group) {
      return group.python == python && group.torch == host.torch.version;
    });
    if (known == groups.end())
      groups.push_back({python, host.torch.version, {host.host}});
    else
      known->hosts.push_back(host.host);
  }
  for (const HostFacts* host : others) {
    const std::string python = python_of(host->python);
    if (groups.empty())
      groups.push_back({python, "", {}});
    TargetGroup& first = groups.front();
    if (first.torch.empty() && first.python.empty())
      first.python = python;
    const auto same = std::find_if(groups.begin(), groups.end(), [&](const TargetGroup& group) {
      return group.python == python;
    });
    (same == groups.end() ? first : *same).hosts.push_back(host->host);
  }
  if (groups.empty())
    groups.emplace_back();
  return groups;
}

bool serves(const HostFacts& builder, const TargetGroup& group) {
  return (group.python.empty() || python_of(builder.python) == group.python) &&
         (group.torch.empty() || builder.torch.version == group.torch);
}

Fleet fleet_of(const TargetGroup& group, const Fleet& fleet) {
  const std::set<std::string> names(group.hosts.begin(), group.hosts.end());
  Fleet part;
  for (const HostFacts& host : fleet.hosts) {
    if (names.contains(host.host))
      part.hosts.push_back(host);
  }
  return part;
}

std::string to_string(const TargetGroup& group) {
  if (group.python.empty())
    return "any Python";
  return "Python " + group.python + (group.torch.empty() ? "" : " with torch " + group.torch);
}

}  // namespace ds
