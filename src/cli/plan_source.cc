// SPDX-License-Identifier: Apache-2.0
#include "cli/plan_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "audit/audit.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/build_environments.h"
#include "cli/run_build.h"
#include "source/source.h"

namespace ds {

namespace fs = std::filesystem;

std::vector<std::string> source_environment(const HostFacts& builder) {
  const std::map<std::string, std::string> own = environment_map();
  const auto home = own.find("CUDA_HOME");
  if ((home != own.end() && !home->second.empty()) || builder.nvcc.empty())
    return {};
  return {"CUDA_HOME=" + fs::path(builder.nvcc.front().path).parent_path().parent_path().string()};
}

namespace {

SourceTree tree_of(Session& session, const BuildEnvironment& environment) {
  SourceOptions how;
  how.in_use = &session.in_use();
  how.cache = cache_folder(session.options());
  how.environment = source_environment(environment.facts);
  const fs::path source = fs::absolute(expand_home(session.options().source));
  return read_source(source, environment.python, how);
}

/// All groups are built from one tree, which is read for it once.
std::string digest_of(const SourceTree& tree, const std::vector<PlannedWheel>& known) {
  const bool is_known = !known.empty() && known.front().source->root == tree.root;
  return is_known ? known.front().source->digest : source_digest(tree.root);
}

PlannedWheel plan_group(Session& session, const TargetGroup& group, const Fleet& fleet,
                        const BuildEnvironment& environment,
                        const std::vector<PlannedWheel>& known) {
  PlannedWheel planned;
  planned.folder = build_folder(session.options());
  planned.python = environment.python;
  planned.builder = environment.facts;
  planned.hosts = group.hosts;
  planned.for_gpus = std::any_of(fleet.hosts.begin(), fleet.hosts.end(),
                                 [](const HostFacts& host) { return !host.gpus.empty(); });
  planned.source = tree_of(session, environment);
  planned.source->digest = digest_of(*planned.source, known);
  planned.plan = make_source_plan(*planned.source, fleet, planned.builder,
                                  plan_options(session, environment_map()));
  return planned;
}

void refuse_one_name(const std::vector<PlannedWheel>& wheels) {
  std::map<std::string, const PlannedWheel*> names;
  for (const PlannedWheel& wheel : wheels) {
    const auto [other, is_new] = names.emplace(wheel_file_name(wheel.plan), &wheel);
    if (is_new)
      continue;
    throw Error(fmt::format("the wheels for {} and for {} have one name, {}",
                            some_of(other->second->hosts), some_of(wheel.hosts), other->first),
                "deploy to them apart, with --include", ExitStatus::build_failed);
  }
}

/// Hosts with one copy of an environment get one wheel.
void refuse_two_in_one(const std::vector<TargetGroup>& groups, const Fleet& fleet) {
  for (const std::vector<std::string>& unit : shared_environments(fleet)) {
    const TargetGroup* first = nullptr;
    for (const TargetGroup& group : groups) {
      const bool meant = std::any_of(unit.begin(), unit.end(), [&group](const std::string& host) {
        return std::find(group.hosts.begin(), group.hosts.end(), host) != group.hosts.end();
      });
      if (!meant)
        continue;
      if (first != nullptr) {
        throw Error(fmt::format("{} have one environment on a shared file system, and would need "
                                "two wheels: for {} ({}) and for {} ({})",
                                some_of(unit), to_string(*first), some_of(first->hosts),
                                to_string(group), some_of(group.hosts)),
                    "give hosts that differ an environment of their own, or leave some out: "
                    "--exclude",
                    ExitStatus::incompatible);
      }
      first = &group;
    }
  }
}

}  // namespace

std::vector<PlannedWheel> plan_source_wheels(Session& session) {
  // Without hosts that answer there is still a wheel to build.
  const Fleet& fleet = session.fleet();
  const std::vector<TargetGroup> groups = target_groups(fleet);
  refuse_two_in_one(groups, fleet);
  const std::vector<BuildEnvironment> environments = build_environments(session, groups);
  std::vector<PlannedWheel> wheels;
  if (groups.size() == 1) {
    wheels.push_back(plan_group(session, groups.front(), fleet, environments.front(), wheels));
    wheels.front().hosts.clear();
    return wheels;
  }
  for (std::size_t at = 0; at < groups.size(); ++at) {
    wheels.push_back(with_context("planning for " + to_string(groups[at]), [&] {
      return plan_group(session, groups[at], fleet_of(groups[at], fleet), environments[at], wheels);
    }));
  }
  refuse_one_name(wheels);
  return wheels;
}

std::string explain_source_flags(Session& session) {
  const Options& options = session.options();
  const Fleet& fleet = session.fleet();
  const std::vector<TargetGroup> groups = target_groups(fleet);
  const std::vector<BuildEnvironment> environments = build_environments(session, groups);
  std::string text;
  for (std::size_t at = 0; at < groups.size(); ++at) {
    if (groups.size() > 1)
      text += fmt::format("{}{}, {}:\n", at == 0 ? "" : "\n", to_string(groups[at]),
                          some_of(groups[at].hosts));
    text += explain_flags(tree_of(session, environments[at]), options.explain_flags,
                          fleet_of(groups[at], fleet), environments[at].facts,
                          plan_options(session, environment_map()));
  }
  return text;
}

}  // namespace ds
