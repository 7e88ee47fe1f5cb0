// SPDX-License-Identifier: Apache-2.0
#include "cli/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/text.h"
#include "cli/held_releases.h"
#include "cli/history.h"
#include "cli/pip_mode.h"
#include "cli/reach.h"
#include "cli/status.h"

namespace ds {
namespace {

constexpr std::size_t most_runs = 1000;

/// Where the journal's last word has each of `hosts`; those that it does not know are not in it.
HostReleases last_known(const Options& options, const std::set<std::string>& hosts) {
  HostReleases known;
  const std::optional<JournalReader> journal = JournalReader::open(state_folder(options));
  if (!journal)
    return known;
  std::set<std::string> decided;
  for (const RunRecord& run : journal->runs(most_runs)) {
    if (decided.size() == hosts.size())
      break;
    for (const HostRecord& host : journal->hosts(run.id)) {
      if (!hosts.contains(host.name) || decided.contains(host.name))
        continue;
      const bool there =
          host.state == "confirmed" || host.state == "unchanged" ||
          (host.state == "rolled-back" && chain_of(*journal, run).back().command == "rollback");
      const bool back = host.state == "rolled-back" && !there;
      if (there && is_by_pip(chain_of(*journal, run).back()))
        known[host.name] = {};  // no release of ours
      else if (there || back)
        known[host.name] = there ? host.wanted : host.before;
      // What a host is at after another end is not the journal's to say.
      if (!host.state.empty() && host.state != "ready" && host.state != "staged" &&
          host.state != "refused" && host.state != "skipped" && host.state != "unreachable")
        decided.insert(host.name);
    }
  }
  return known;
}

HostStatus verified(const HostFacts& facts, const HostReleases& known) {
  HostStatus said;
  said.host = facts.host;
  said.release = join(facts.installed.active, "+");
  said.state = "whole";
  if (facts.state != HostFacts::State::reached) {
    said.state = word_for(facts.state);
    said.message = facts.problem;
    return said;
  }
  if (!facts.installed.checked) {
    said.state = "failed";
    said.message = "its releases could not be read";
    return said;
  }
  for (const CheckedRelease& release : *facts.installed.checked) {
    if (release.damage.empty())
      continue;
    said.state = "damaged";
    said.message += fmt::format("{}release {}: {}", said.message.empty() ? "" : "; ",
                                release.sha256.substr(0, 12), release.damage);
  }
  const auto expected = known.find(facts.host);
  if (said.state == "whole" && expected != known.end() &&
      expected->second != facts.installed.active) {
    said.state = "drifted";
    said.message = "the journal has it at " + release_name(expected->second);
  }
  if (said.state == "whole" && said.release.empty())
    said.state = "none";
  return said;
}

std::string text_of(const std::vector<HostStatus>& hosts) {
  std::vector<std::pair<std::string, std::vector<std::string>>> rows;
  for (const HostStatus& host : hosts) {
    const std::string line = fmt::format(
        "{}  {}{}", host.release.empty() ? "none" : short_names(split(host.release, '+')),
        host.state, host.message.empty() ? "" : ": " + host.message);
    auto row = std::find_if(rows.begin(), rows.end(),
                            [&line](const auto& known) { return known.first == line; });
    if (row == rows.end())
      row = rows.insert(row, {line, {}});
    row->second.push_back(host.host);
  }
  std::string text;
  for (const auto& [line, names] : rows)
    text += fmt::format("{}  {}\n", fold_hosts(names, 60), line);
  return text;
}

ExitStatus exit_of(const Fleet& fleet, const std::vector<HostStatus>& hosts) {
  const auto any = [&hosts](const char* state) {
    return std::any_of(hosts.begin(), hosts.end(),
                       [state](const HostStatus& host) { return host.state == state; });
  };
  const ExitStatus reached = status_of(fleet);
  if (reached == ExitStatus::key_refused || any("damaged"))
    return ExitStatus::key_refused;
  return reached != ExitStatus::ok || any("drifted") || any("failed") ? ExitStatus::unreachable
                                                                      : ExitStatus::ok;
}

}  // namespace

ExitStatus verify_hosts(Session& session) {
  session.check_releases();
  std::set<std::string> names;
  for (const HostFacts& facts : session.fleet().hosts)
    names.insert(facts.host);
  const HostReleases known = last_known(session.options(), names);
  std::vector<HostStatus> hosts;
  for (const HostFacts& facts : session.fleet().hosts)
    hosts.push_back(verified(facts, known));
  const ExitStatus exit = exit_of(session.fleet(), hosts);
  print_hosts(session, "ds-deploy.verify/1", hosts, exit, text_of(hosts));
  return exit;
}

}  // namespace ds
