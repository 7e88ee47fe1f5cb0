// SPDX-License-Identifier: Apache-2.0
#include "cli/pin.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "cli/reach.h"
#include "cli/rollback.h"
#include "cli/status.h"
#include "report/report.h"
#include "rollout/rollout.h"

namespace ds {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t digits = 16;  // 12 are enough for the hook

struct Row {
  std::string host, state;
  std::vector<std::string> releases;
  std::string message;
};

/// What each host is to keep; the rows of those where nothing is.
HostReleases targets(const Fleet& fleet, const std::string& release, std::vector<Row>& rows) {
  HostReleases wanted;
  for (const HostFacts& facts : fleet.hosts) {
    if (facts.state != HostFacts::State::reached) {
      rows.push_back({facts.host, word_for(facts.state), {}, facts.problem});
      continue;
    }
    ReleaseTarget target = target_of(facts, release);
    if (target.problem.empty() && target.releases.empty())
      target.problem = "what pip installed cannot be kept by ds-deploy";
    if (!target.problem.empty())
      rows.push_back({facts.host, "failed", {}, target.problem});
    else
      wanted[facts.host] = target.releases;
  }
  return wanted;
}

/// What jobs ask for: each host takes those of them that it keeps, the first ones count.
std::vector<std::string> asked_for(const std::vector<Row>& rows) {
  std::vector<std::string> all;
  for (const Row& row : rows) {
    for (const std::string& sha256 : row.releases) {
      if (std::find(all.begin(), all.end(), sha256) == all.end())
        all.push_back(sha256);
    }
  }
  return all;
}

/// A host that keeps another one's release would take that. Of a set of several it is not known
/// here which is of which distribution, so that none of another host's may be there.
bool is_ambiguous(const std::vector<Row>& rows, const Fleet& fleet) {
  const std::vector<std::string> all = asked_for(rows);
  return std::any_of(rows.begin(), rows.end(), [&](const Row& row) {
    const HostFacts* facts = fleet.find(row.host);
    if (facts == nullptr || row.releases.empty())
      return false;
    std::vector<std::string> kept;
    for (const std::string& sha256 : all) {
      const std::vector<std::string>& sealed = facts->installed.sealed;
      if (std::find(sealed.begin(), sealed.end(), sha256) != sealed.end())
        kept.push_back(sha256);
    }
    return row.releases.size() == 1 ? kept.empty() || kept.front() != row.releases.front()
                                    : kept != row.releases;
  });
}

std::string variable_for(const std::vector<Row>& rows) {
  std::vector<std::string> names;
  for (const std::string& sha256 : asked_for(rows))
    names.push_back(sha256.substr(0, digits));
  return names.empty() ? "" : "DS_DEPLOY_RELEASE=" + join(names, ",");
}

std::string text_of(const std::vector<Row>& rows, const std::string& variable) {
  std::map<std::pair<std::string, std::string>, std::vector<std::string>> groups;
  for (const Row& row : rows)
    groups[{row.state, row.message}].push_back(row.host);
  std::string text;
  for (const auto& [said, hosts] : groups) {
    text += fmt::format("{}  {}{}{}\n", fold_hosts(hosts, 60), said.first,
                        said.second.empty() ? "" : ": ", said.second);
  }
  if (variable.empty())
    return text;
  return text + fmt::format(
                    "a job that wants it sets, in its script\n    export {}\nor in "
                    "~/.deepspeed_env\n    {}\n",
                    variable, variable);
}

ExitStatus exit_of(const Fleet& fleet, const std::vector<Row>& rows) {
  if (status_of(fleet) == ExitStatus::key_refused)
    return ExitStatus::key_refused;
  const auto any = [&rows](const char* state) {
    return std::any_of(rows.begin(), rows.end(),
                       [state](const Row& row) { return row.state == state; });
  };
  if (any("failed"))
    return ExitStatus::host_failed;
  return status_of(fleet);
}

}  // namespace

ExitStatus pin(Session& session) {
  const Options& options = session.options();
  const Fleet& fleet = session.fleet();
  std::vector<Row> rows;
  const HostReleases wanted = targets(fleet, options.action, rows);
  for (const PinnedHost& host : pin_releases(session.inventory(), session.probe(), wanted,
                                             options.days, session.transport(), session.status())) {
    const bool good = host.problem.empty();
    const std::string until = utc_time(host.until);
    const std::vector<std::string>& releases = wanted.at(host.host);
    if (good) {
      rows.push_back({host.host, "pinned", releases,
                      fmt::format("{} stays until {} at least", short_names(releases),
                                  until.substr(0, until.find(' ')))});
    } else {
      rows.push_back({host.host, "failed", {}, host.problem});
    }
  }
  const bool ambiguous = is_ambiguous(rows, fleet);
  const std::string variable = ambiguous ? "" : variable_for(rows);
  const ExitStatus exit = ambiguous ? ExitStatus::host_failed : exit_of(fleet, rows);
  std::string said = text_of(rows, variable);
  if (ambiguous) {
    session.status().warning(
        "these hosts keep each other's releases too, so that no one value of DS_DEPLOY_RELEASE "
        "gives each its own: name one release, or some of the hosts with --limit");
  }
  if (options.json) {
    ordered_json list = ordered_json::array();
    for (const Row& row : rows) {
      list.push_back({{"name", row.host},
                      {"state", row.state},
                      {"releases", row.releases},
                      {"message", row.message}});
    }
    const ordered_json whole = {{"schema", "ds-deploy.pin/1"},
                                {"exit", static_cast<int>(exit)},
                                {"variable", variable},
                                {"hosts", list}};
    said = whole.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
  }
  std::fputs(said.c_str(), stdout);
  std::fflush(stdout);
  return exit;
}

}  // namespace ds
