// SPDX-License-Identifier: Apache-2.0
#include "cli/status.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "cli/history.h"
#include "cli/owed.h"
#include "cli/reach.h"
#include "report/report.h"

namespace ds {
namespace {

using nlohmann::ordered_json;

/// "0123456789ab", several: "+"
std::string short_name(const std::vector<std::string>& releases) {
  return releases.empty() ? "none" : short_names(releases);
}

std::string when(std::int64_t at) {
  const std::string time = utc_time(at);
  return time.empty() ? "at an unknown time" : time.substr(0, time.rfind(':')) + " UTC";
}

void take_trial(const Activation& trial, HostStatus& status) {
  status.decided = false;
  const std::string back = short_name(trial.previous);
  if (trial.seconds_left > 0) {
    status.state = "unconfirmed";
    status.message =
        trial.watched ? fmt::format("goes back to {} in {} s unless run {} confirms it", back,
                                    trial.seconds_left, trial.id)
                      : fmt::format(
                            "run {} has {} s to confirm it; the process that would take it back to "
                            "{} then is gone, so that the next deployment does",
                            trial.id, trial.seconds_left, back);
  } else {
    status.state = "overdue";
    status.message = fmt::format(
        "run {} ended before it was confirmed; the next deployment takes it back to {} first",
        trial.id, back);
  }
}

void take_settled(const Activations& activations, HostStatus& status) {
  const std::optional<Activation>&confirmed = activations.confirmed,
        &back = activations.rolled_back;
  if (back) {
    status.state = "rolled-back";
    status.message =
        fmt::format("from {}, {}: {}", short_name(back->releases), when(back->at), back->because);
  } else if (confirmed) {
    status.state = "confirmed";
    status.message = fmt::format("by run {}, {}", confirmed->id, when(confirmed->at));
  }
}

struct Row {
  const HostStatus* first;
  std::vector<std::string> hosts;
};

std::vector<Row> fold(const std::vector<HostStatus>& hosts) {
  std::vector<Row> rows;
  std::map<std::string, std::size_t> at;
  for (const HostStatus& host : hosts) {
    const std::string key = host.release + "\n" + host.state + "\n" + host.message + "\n" +
                            host.owed + "\n" + join(host.processes, "\n");
    const auto [found, fresh] = at.emplace(key, rows.size());
    if (fresh)
      rows.push_back({&host, {}});
    rows[found->second].hosts.push_back(host.host);
  }
  return rows;
}

std::string text_of(const std::vector<HostStatus>& hosts) {
  std::string text;
  std::map<std::string, std::vector<std::string>> releases;
  for (const HostStatus& host : hosts)
    releases[host.release].push_back(host.host);
  for (const Row& row : fold(hosts)) {
    const std::vector<std::string> names = split(row.first->release, '+');
    const std::string said = row.first->message.empty() ? "" : ", " + row.first->message;
    text += fmt::format("{}  {}\n    {}{}\n", fold_hosts(row.hosts, 60),
                        row.first->release.empty() ? "none" : short_name(names), row.first->state,
                        said);
    if (!row.first->owed.empty())
      text += "    owed " + row.first->owed + "\n";
    for (const std::string& process : row.first->processes)
      text += "    " + process + "\n";
  }
  if (releases.size() > 1) {
    std::vector<std::string> pieces;
    for (const auto& [release, names] : releases) {
      pieces.push_back(fmt::format("{} on {}",
                                   release.empty() ? "none" : short_name(split(release, '+')),
                                   count(names.size(), "host")));
    }
    text += "not the same everywhere: " + join(pieces, ", ") + "\n";
  }
  return text;
}

std::string json_of(const char* schema, const std::vector<HostStatus>& hosts, ExitStatus exit) {
  ordered_json list = ordered_json::array();
  for (const HostStatus& host : hosts) {
    list.push_back({{"name", host.host},
                    {"state", host.state},
                    {"release", host.release},
                    {"message", host.message},
                    {"owed", host.owed}});
    if (!host.processes.empty())
      list.back()["processes"] = host.processes;
  }
  const ordered_json whole = {
      {"schema", schema}, {"exit", static_cast<int>(exit)}, {"hosts", list}};
  return whole.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::vector<std::string> processes_of(const HostFacts& facts) {
  std::vector<std::string> processes;
  if (!facts.use)
    return {"which processes use a release is not known"};
  for (const ReleaseUse& use : facts.use->releases)
    processes.push_back(short_names({use.sha256}) + ": " + use.process);
  if (!facts.use->all_seen)
    processes.emplace_back("other users' processes were not seen, or not all of them");
  return processes;
}

/// By host; nothing where the journal cannot be read, which costs no more.
std::map<std::string, std::string> owed_to(Session& session) {
  std::map<std::string, std::string> owed;
  try {
    const auto journal = JournalReader::open(state_folder(session.options()));
    for (const DebtRecord& debt :
         journal ? debts_of(*journal, session).all : std::vector<DebtRecord>()) {
      const char* kind = debt.proof ? owed_proof : owed_release;
      std::string& text = owed[debt.host];
      text += fmt::format("{}the {} of run {}: {}", text.empty() ? "" : ", ", kind, debt.run,
                          command_for(kind));
    }
    for (const DrainRecord& drain : journal ? journal->drains() : std::vector<DrainRecord>()) {
      std::string& text = owed[drain.host];
      text += fmt::format(
          "{}its return to a scheduler's work, out of which run {} took it: "
          "ds-deploy resume {}",
          text.empty() ? "" : ", ", drain.run, drain.run);
    }
  } catch (const Error& error) {
    session.status().warning("what hosts are owed is not known: " + error.what());
  }
  return owed;
}

}  // namespace

std::string word_for(HostFacts::State state) {
  return state == HostFacts::State::unreachable ? "unreachable"
         : state == HostFacts::State::failed    ? "failed"
                                                : "refused";
}

void print_hosts(Session& session, const char* schema, const std::vector<HostStatus>& hosts,
                 ExitStatus exit, const std::string& text) {
  const std::string said = session.options().json
                               ? json_of(schema, hosts, exit)
                               : "environment  " + session.environment() + "\n" + text;
  std::fputs(said.c_str(), stdout);
  std::fflush(stdout);
}

HostStatus host_status(const HostFacts& facts) {
  HostStatus status;
  status.host = facts.host;
  if (facts.state != HostFacts::State::reached) {
    status.state = word_for(facts.state);
    status.message = facts.problem;
    return status;
  }
  const Activations& activations = facts.installed.activations;
  status.release = join(facts.installed.active, "+");
  status.state = facts.installed.active.empty() ? "none" : "active";
  for (const auto& [name, said] : facts.installed.packages)
    status.message += fmt::format("{}{} {} by pip", status.message.empty() ? "" : ", ", name, said);
  if (!activations.problems.empty()) {
    status.decided = false;
    status.state = "damaged";
    status.message = join(activations.problems, ", ");
  } else if (activations.trial) {
    take_trial(*activations.trial, status);
  } else {
    take_settled(activations, status);
  }
  const std::vector<std::string>* noted = activations.rolled_back
                                              ? &activations.rolled_back->previous
                                          : activations.confirmed ? &activations.confirmed->releases
                                                                  : nullptr;
  if (status.decided && noted != nullptr && *noted != facts.installed.active) {
    status.decided = false;
    status.state = "active";
    status.message = "its notes say " + short_name(*noted) +
                     ": the pointer was moved by other means; deploy again";
  }
  if (!facts.installed.active.empty() && !facts.installed.hook) {
    status.decided = false;
    status.state = "damaged";
    status.message = "what starts the release is not in site-packages; deploy it again";
  }
  return status;
}

ExitStatus show_status(Session& session) {
  const Fleet& fleet = session.fleet();
  std::vector<HostStatus> hosts;
  std::map<std::string, std::string> owed = owed_to(session);
  for (const HostFacts& facts : fleet.hosts) {
    hosts.push_back(host_status(facts));
    hosts.back().owed = owed[facts.host];
    if (session.options().processes)
      hosts.back().processes = processes_of(facts);
  }
  ExitStatus exit = status_of(fleet);
  const bool decided =
      std::all_of(hosts.begin(), hosts.end(), [](const HostStatus& host) { return host.decided; });
  if (exit == ExitStatus::ok && !decided)
    exit = ExitStatus::unreachable;
  print_hosts(session, "ds-deploy.status/1", hosts, exit, text_of(hosts));
  return exit;
}

}  // namespace ds
