// SPDX-License-Identifier: Apache-2.0
#include "cli/host_history.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "cli/held_releases.h"
#include "cli/reach.h"
#include "report/report.h"
#include "rollout/rollout.h"

namespace ds {
namespace {

using nlohmann::ordered_json;

/// The same of several hosts; times are each host's own.
struct Row {
  HistoryEntry entry;  ///< of the first host
  std::vector<std::string> hosts;
};

std::string key_of(const HistoryEntry& entry) {
  const std::vector<std::string> parts = {
      entry.run,           entry.event, entry.because,  join(entry.from, "+"),
      join(entry.to, "+"), entry.user,  entry.machine,  entry.command,
      entry.message,       entry.login, entry.sudo_user};
  return join(parts, "\n");
}

/// Newest first.
std::vector<Row> rows_of(const HostHistories& histories, const Fleet& fleet) {
  std::vector<Row> rows;
  std::map<std::string, std::size_t> at;
  for (const HostFacts& facts : fleet.hosts) {
    const auto history = histories.find(facts.host);
    if (history == histories.end())
      continue;
    for (const HistoryEntry& entry : history->second) {
      const auto [found, fresh] = at.emplace(key_of(entry), rows.size());
      if (fresh)
        rows.push_back({entry, {}});
      Row& row = rows[found->second];
      if (row.hosts.empty() || row.hosts.back() != facts.host)
        row.hosts.push_back(facts.host);
    }
  }
  // What one host noted within a second stays in its order.
  std::reverse(rows.begin(), rows.end());
  std::stable_sort(rows.begin(), rows.end(), [](const Row& left, const Row& right) {
    return left.entry.at > right.entry.at;
  });
  return rows;
}

std::string when(std::int64_t at) {
  const std::string time = utc_time(at);
  return time.empty() ? "at an unknown time" : time + " UTC";
}

std::string who(const HistoryEntry& entry) {
  const std::string there =
      entry.sudo_user.empty() ? entry.login : entry.sudo_user + " as " + entry.login;
  return fmt::format("{}@{}{}", entry.user, entry.machine,
                     there == entry.user || there.empty() ? "" : " (there " + there + ")");
}

std::string text_of(const std::vector<Row>& rows) {
  std::string text;
  for (const Row& row : rows) {
    const HistoryEntry& entry = row.entry;
    text += fmt::format("{}  {:<11}  {}  {} -> {}\n    run {}, {} by {}{}{}\n", when(entry.at),
                        entry.event, fold_hosts(row.hosts, 60), release_name(entry.from),
                        release_name(entry.to), entry.run, entry.command, who(entry),
                        entry.because.empty() ? "" : ", because " + entry.because,
                        entry.message.empty() ? "" : ": " + entry.message);
  }
  return text;
}

ordered_json json_of(const Row& row) {
  const HistoryEntry& entry = row.entry;
  return {{"at", entry.at},
          {"run", entry.run},
          {"event", entry.event},
          {"hosts", row.hosts},
          {"from", entry.from},
          {"to", entry.to},
          {"because", entry.because},
          {"user", entry.user},
          {"machine", entry.machine},
          {"command", entry.command},
          {"message", entry.message},
          {"login", entry.login},
          {"sudo_user", entry.sudo_user}};
}

}  // namespace

ExitStatus show_host_history(Session& session) {
  const Options& options = session.options();
  const auto most = static_cast<std::size_t>(options.number);
  const Fleet& fleet = session.fleet();
  const HostHistories histories = read_histories(session.inventory(), session.probe(), fleet, most,
                                                 session.transport(), session.status());
  std::vector<Row> rows = rows_of(histories, fleet);
  if (rows.size() > most)
    rows.erase(rows.begin() + static_cast<std::ptrdiff_t>(most), rows.end());
  ExitStatus exit = status_of(fleet);
  if (exit == ExitStatus::ok && histories.size() < fleet.hosts.size())
    exit = ExitStatus::unreachable;
  std::string said;
  if (options.json) {
    ordered_json entries = ordered_json::array();
    for (const Row& row : rows)
      entries.push_back(json_of(row));
    const ordered_json whole = {{"schema", "ds-deploy.host-history/1"},
                                {"exit", static_cast<int>(exit)},
                                {"entries", entries}};
    said = whole.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
  } else {
    said = rows.empty() ? "no host has noted any change\n" : text_of(rows);
  }
  std::fputs(said.c_str(), stdout);
  std::fflush(stdout);
  return exit;
}

}  // namespace ds
