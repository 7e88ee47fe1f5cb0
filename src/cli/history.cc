// SPDX-License-Identifier: Apache-2.0
#include "cli/history.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>
#include <regex>

#include "base/file.h"
#include "base/machine.h"
#include "base/text.h"
#include "cli/run_facts.h"

namespace ds {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

/// Without what stands for a password in an address: "https://ada:...@mirror".
std::string without_password(const std::string& word) {
  static const std::regex login("://[^/@]*@");
  return std::regex_replace(word, login, "://...@");
}

std::string when(std::int64_t seconds) {
  return fmt::format("{:%Y-%m-%d %H:%M:%S} UTC", fmt::gmtime(static_cast<std::time_t>(seconds)));
}

std::string how_it_ended(const RunRecord& run) {
  switch (life_of(run)) {
    case RunLife::ended:
      return fmt::format("exit {}", run.exit_status);
    case RunLife::runs:
      return "goes on";
    case RunLife::died:
      return "died";
    case RunLife::unknown:
      break;
  }
  return "has not ended";
}

ordered_json json_of(const RunRecord& run) {
  ordered_json object = {
      {"run", run.id},          {"command", run.command}, {"words", run.words},
      {"folder", run.folder},   {"user", run.user},       {"machine", run.machine},
      {"version", run.version}, {"began", run.began},     {"state", how_it_ended(run)}};
  object["ended"] = run.ended ? ordered_json(*run.ended) : ordered_json(nullptr);
  object["exit"] = run.ended ? ordered_json(run.exit_status) : ordered_json(nullptr);
  return object;
}

void print(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

void print(const ordered_json& json) {
  print(json.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n");
}

/// With the interpreters that are meant, so that it reads the same elsewhere.
std::string inventory_text(Session& session) {
  std::vector<Host> hosts = session.inventory().hosts;
  for (Host& host : hosts)
    host.python = target_python(host, session.probe());
  return hostfile_text(hosts);
}

/// Hosts with the same end are one line.
std::string hosts_text(const std::vector<HostRecord>& hosts) {
  std::vector<std::pair<std::string, std::vector<std::string>>> rows;
  for (const HostRecord& host : hosts) {
    const std::string said = (host.state.empty() ? "not begun" : host.state) +
                             (host.step.empty() ? "" : " at " + host.step) +
                             (host.message.empty() ? "" : ": " + host.message);
    auto row = std::find_if(rows.begin(), rows.end(),
                            [&said](const auto& known) { return known.first == said; });
    if (row == rows.end())
      row = rows.insert(row, {said, {}});
    row->second.push_back(host.name);
  }
  std::string text;
  for (const auto& [said, names] : rows)
    text += fmt::format("  {}  {}\n", fold_hosts(names, 60), said);
  return text;
}

}  // namespace

fs::path state_folder(const Options& options) {
  return options.state_dir.empty() ? state_home() : fs::path(expand_home(options.state_dir));
}

std::vector<RunRecord> chain_of(const JournalReader& journal, RunRecord run) {
  std::vector<RunRecord> chain = {std::move(run)};
  while (!chain.back().resumes.empty())
    chain.push_back(journal.run(chain.back().resumes));
  return chain;
}

void begin_run(Journal& journal, const Report& report, const Policy& policy,
               const std::vector<ReleaseSet>& sets, const std::string& resumes, Session& session) {
  const Options& options = session.options();
  RunRecord run;
  run.id = report.run;
  run.command = options.command;
  for (const std::string& word : options.words)
    run.words.push_back(without_password(word));
  run.folder = fs::current_path().string();
  run.user = user_name();
  run.machine = host_name();
  run.process = this_process();
  run.version = DS_DEPLOY_VERSION;
  run.began = std::time(nullptr);
  run.resumes = resumes;
  std::vector<ArtifactRecord> artifacts;
  for (const ReleaseSet& set : sets) {
    for (const Parcel& parcel : set.parcels) {
      artifacts.push_back(
          {parcel.wheel->sha256, parcel.wheel->file.filename().string(),
           parcel.wheel->entries.empty() ? "" : fs::absolute(parcel.wheel->file).string(),
           static_cast<std::int64_t>(parcel.wheel->bytes)});
    }
  }
  std::vector<HostRecord> hosts;
  for (const HostFacts& facts : session.fleet().hosts) {
    HostRecord& host = hosts.emplace_back();
    host.name = facts.host;
    host.environment = facts.python.asked;
    host.wanted = wanted_on(sets, facts.host);
    host.before = facts.installed.active;
  }
  journal.begin_run(run, artifacts, hosts,
                    {{RunText::policy, policy.text},
                     {RunText::inventory, inventory_text(session)},
                     {RunText::facts, run_facts_json(facts_of_run(sets, session))}});
}

ExitStatus show_history(const Options& options) {
  const std::optional<JournalReader> journal = JournalReader::open(state_folder(options));
  const std::vector<RunRecord> runs =
      journal ? journal->runs(static_cast<std::size_t>(options.number)) : std::vector<RunRecord>();
  if (options.json) {
    ordered_json list = ordered_json::array();
    for (const RunRecord& run : runs)
      list.push_back(json_of(run));
    print(ordered_json{{"schema", "ds-deploy.history/1"}, {"runs", list}});
    return ExitStatus::ok;
  }
  if (runs.empty())
    print("no run is recorded in " + state_folder(options).string() + "\n");
  for (const RunRecord& run : runs) {
    const std::string took = run.ended ? fmt::format("{} s", *run.ended - run.began) : "";
    print(fmt::format("{:<24} {:<9} {}  {:>7}  {:<13} {}@{}\n", run.id, run.command,
                      when(run.began), took, how_it_ended(run), run.user, run.machine));
  }
  return ExitStatus::ok;
}

ExitStatus show_run(const Options& options) {
  const std::optional<JournalReader> journal = JournalReader::open(state_folder(options));
  if (!journal) {
    throw UsageError("there is no journal in " + state_folder(options).string(),
                     "name the folder with --state-dir");
  }
  const RunRecord run = journal->run(options.action);
  if (options.receipt) {
    const std::string receipt = journal->text(run.id, RunText::report);
    if (receipt.empty())
      throw UsageError("run " + run.id + " left no receipt: it did not end",
                       "see: ds-deploy status");
    print(receipt + (receipt.ends_with('\n') ? "" : "\n"));
    return ExitStatus::ok;
  }
  const std::vector<HostRecord> hosts = journal->hosts(run.id);
  if (options.json) {
    ordered_json object = json_of(run);
    object["hosts"] = ordered_json::array();
    for (const HostRecord& host : hosts) {
      object["hosts"].push_back({{"name", host.name},
                                 {"state", host.state},
                                 {"step", host.step},
                                 {"message", host.message},
                                 {"wanted", host.wanted},
                                 {"before", host.before}});
    }
    print(ordered_json{{"schema", "ds-deploy.run/1"}, {"run", object}});
    return ExitStatus::ok;
  }
  std::string text = fmt::format(
      "run       {}, {}\ncommand   {}\nin        {}\nby        {}@{}, {}\n", run.id,
      how_it_ended(run), join(run.words, " "), run.folder, run.user, run.machine, when(run.began));
  for (const ArtifactRecord& artifact : journal->artifacts(run.id))
    text += fmt::format("wheel     {}  {}\n", artifact.sha256.substr(0, 12), artifact.name);
  for (const DecisionRecord& decision : journal->decisions(run.id)) {
    text += fmt::format("decided   {} {}: {}{}\n", when(decision.time_ms / 1000), decision.what,
                        fold_hosts(decision.hosts, 60),
                        decision.because.empty() ? "" : ", because " + decision.because);
  }
  print(text + hosts_text(hosts));
  return ExitStatus::ok;
}

}  // namespace ds
