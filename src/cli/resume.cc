// SPDX-License-Identifier: Apache-2.0
#include "cli/resume.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "base/file.h"
#include "base/text.h"
#include "cli/held_releases.h"
#include "cli/history.h"
#include "cli/last_run.h"
#include "cli/pip_mode.h"
#include "cli/resume_options.h"
#include "cli/treatments.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

bool fits(const RunRecord& run, const std::string& command) {
  return command == "activate" ? run.command == "stage"
                               : run.command != "remove" && run.command != "verify";
}

void refuse_removal(const RunRecord& run) {
  if (run.command == "remove") {
    throw UsageError("run " + run.id + " removed releases, which has no rest to go on with",
                     "call it again: ds-deploy remove");
  }
  if (run.command == "verify") {
    throw UsageError("run " + run.id +
                         " takes no host anywhere, so that there is nothing to go on "
                         "with",
                     "call it again: ds-deploy verify --owed");
  }
}

/// The one that is named, else the latest that can be gone on with.
RunRecord chosen_run(const JournalReader& journal, const Options& options) {
  if (!options.action.empty()) {
    RunRecord run = journal.run(options.action);
    refuse_removal(run);
    return run;
  }
  for (const RunRecord& run : journal.runs(1000)) {
    if (!fits(run, options.command))
      continue;
    // An earlier one that died is not gone on with by chance: hosts may be further since.
    if (options.command == "resume" && run.ended && run.exit_status == 0) {
      throw UsageError("the last run, " + run.id + ", ended well",
                       "name the run to go on with; see: ds-deploy history");
    }
    return run;
  }
  throw UsageError(options.command == "activate" ? "no run in the journal has staged anything"
                                                 : "there is no run to go on with in the journal",
                   "see: ds-deploy history");
}

/// The wheels that are named now, and those at `places` that are still there.
std::map<std::string, Wheel> wheels_here(const Options& options,
                                         const std::vector<std::string>& places) {
  std::map<std::string, Wheel> wheels;
  std::vector<std::string> files;
  for (const std::string& file : options.wheels)
    files.push_back(fs::absolute(expand_home(file)).string());
  files.insert(files.end(), places.begin(), places.end());
  for (const std::string& file : files) {
    std::error_code unreadable;
    if (file.empty() || !fs::is_regular_file(file, unreadable))
      continue;
    Wheel wheel = open_wheel(file);
    wheels.emplace(wheel.sha256, std::move(wheel));
  }
  return wheels;
}

bool hold_all(const Fleet& fleet, const HostReleases& wanted) {
  return std::all_of(fleet.hosts.begin(), fleet.hosts.end(), [&wanted](const HostFacts& facts) {
    const auto found = wanted.find(facts.host);
    const std::vector<std::string>& sealed = facts.installed.sealed;
    return facts.state != HostFacts::State::reached || found == wanted.end() ||
           std::all_of(found->second.begin(), found->second.end(), [&](const std::string& sha256) {
             return std::find(sealed.begin(), sealed.end(), sha256) != sealed.end();
           });
  });
}

void add_sets(Undertaking& undertaking, const HostReleases& wanted,
              const std::map<std::string, Wheel>& wheels, Session& session) {
  std::map<std::vector<std::string>, std::vector<std::string>> groups;
  for (const auto& [host, releases] : wanted)
    groups[releases].push_back(host);
  for (const auto& [releases, hosts] : groups) {
    WheelSet set;
    set.hosts = hosts;
    for (const std::string& sha256 : releases)
      set.wheels.push_back(wheels.at(sha256));
    add_wheels(undertaking, std::move(set), session);
  }
}

/// Where that run was to take the hosts that are meant now.
HostReleases wanted_by(const JournalReader& journal, const RunRecord& run, Session& session) {
  HostReleases wanted;
  std::set<std::string> known;
  for (const HostRecord& host : journal.hosts(run.id)) {
    const HostFacts* facts = session.fleet().find(host.name);
    if (facts == nullptr)
      continue;
    known.insert(host.name);
    if (run.command == "rollback" && facts->state != HostFacts::State::reached)
      continue;  // it goes nowhere now, and the policy says what that means
    if (run.command == "rollback" && host.wanted.empty() && host.before.empty()) {
      throw UsageError("host " + host.name + " was not reached by run " + run.id +
                           ", so nobody knows where it was to go back to",
                       "ds-deploy rollback, or leave it out: --exclude " + host.name);
    }
    wanted[host.name] = host.wanted;
  }
  for (const HostFacts& facts : session.fleet().hosts) {
    if (!known.contains(facts.host)) {
      throw UsageError(fmt::format("host {} was not part of run {}", facts.host, run.id),
                       "leave the hostfile out: the run's own hosts are in the journal");
    }
  }
  return wanted;
}

void add_releases(Undertaking& undertaking, const HostReleases& wanted,
                  const std::vector<std::string>& places, const std::string& run,
                  Session& session) {
  const std::map<std::string, Wheel> wheels = wheels_here(session.options(), places);
  std::vector<std::string> missing;
  for (const auto& [host, releases] : wanted) {
    for (const std::string& sha256 : releases) {
      if (!wheels.contains(sha256))
        missing.push_back(sha256.substr(0, 12));
    }
  }
  // pip installs from the wheel itself.
  const bool by_pip = is_by_pip(session.options());
  const bool held = !by_pip && hold_all(session.fleet(), wanted);
  if (session.options().command == "activate" && by_pip) {
    throw UsageError("run " + run + " installs by pip, which leaves nothing to activate",
                     "ds-deploy resume " + run);
  }
  if (session.options().command == "activate" && !held) {
    throw UsageError("some hosts do not hold what run " + run + " staged",
                     "stage it again: ds-deploy stage");
  }
  if (missing.empty() && undertaking.goal != RolloutOptions::Goal::rolled_back)
    return add_sets(undertaking, wanted, wheels, session);
  if (held)
    return add_held(undertaking, wanted, session);
  throw UsageError(fmt::format("wheel {} of run {} is not where it was, and {}",
                               missing.empty() ? "?" : missing.front(), run,
                               by_pip ? "pip installs from it" : "some hosts lack it"),
                   "name it with --wheel");
}

/// What hosts have already, which is to prove itself.
void add_active(Undertaking& undertaking, Session& session) {
  HostReleases active;
  for (const HostFacts& facts : session.fleet().hosts) {
    if (facts.state == HostFacts::State::reached)
      active[facts.host] = facts.installed.active;
  }
  add_held(undertaking, active, session);
}

std::vector<std::string> places_of(const JournalReader& journal, const RunRecord& run) {
  std::vector<std::string> places;
  for (const ArtifactRecord& artifact : journal.artifacts(run.id))
    places.push_back(artifact.path);
  return places;
}

/// A run that no journal here knows: it was another coordinator's, or its journal is lost.
bool is_unknown(const std::optional<JournalReader>& journal, const Options& options) {
  if (options.command != "resume" ||
      (options.hostfiles.empty() && options.slurm_job.empty() && !options.local_only))
    return false;
  const std::vector<RunRecord> runs = journal ? journal->runs(1000000) : std::vector<RunRecord>();
  if (runs.empty() || options.action.empty())
    return runs.empty();
  return std::none_of(runs.begin(), runs.end(), [&options](const RunRecord& run) {
    return run.id.starts_with(options.action);
  });
}

/// By what the hosts note of it.
ExitStatus resume_from_hosts(const Options& options) {
  Session session(options);
  Undertaking undertaking = begin_undertaking(session);
  ask_hosts(undertaking, session);
  const LastRun run = last_run(session.fleet(), options.action);
  session.status().remark(fmt::format("goes on with run {}, by what the hosts note of it", run.id));
  if (run.back)
    undertaking.goal = RolloutOptions::Goal::rolled_back;
  add_releases(undertaking, run.wanted, {}, run.id, session);
  undertaking.times.finished("wheel");
  return carry_out(undertaking, session);
}

RolloutOptions::Goal goal_of(const std::vector<RunRecord>& chain, const Options& options) {
  using Goal = RolloutOptions::Goal;
  if (options.command == "verify")
    return Goal::proven;
  if (chain.back().command == "rollback")
    return Goal::rolled_back;
  const bool stages = chain.back().command == "stage" && options.command == "resume";
  // One of the chain may have been to activate what its origin staged.
  const bool activates = std::any_of(
      chain.begin(), chain.end(), [](const RunRecord& run) { return run.command == "activate"; });
  return stages && !activates ? Goal::staged : Goal::confirmed;
}

/// Hosts where a run outside of the chain was confirmed after the chain began, by their own notes.
std::set<std::string> changed_since(const Fleet& fleet, const std::vector<RunRecord>& chain) {
  std::set<std::string> names;
  for (const HostFacts& facts : fleet.hosts) {
    const std::optional<Activation>& last = facts.installed.activations.confirmed;
    const bool later = last && last->at - facts.clock_ahead.value_or(0) > chain.back().began &&
                       std::none_of(chain.begin(), chain.end(),
                                    [&last](const RunRecord& run) { return run.id == last->id; });
    if (later)
      names.insert(facts.host);
  }
  return names;
}

void write_off(const std::set<std::string>& hosts, const std::string& run, Undertaking& undertaking,
               Session& session) {
  if (hosts.empty())
    return;
  const std::vector<std::string> names(hosts.begin(), hosts.end());
  session.status().remark(fmt::format(
      "{}: another run has changed it since, so that run {} owes it nothing", some_of(names), run));
  if (undertaking.journal)
    undertaking.journal->decide(run, {"served", names, "another run changed it since", 0, 0});
}

/// Nothing: `overtaken` has hosts that are to be left alone, and the rest is to be asked anew.
std::optional<ExitStatus> attempt(const RunRecord& chosen, const Options& now,
                                  std::set<std::string>* overtaken) {
  std::optional<JournalReader> reader = journal_of(now);
  const std::vector<RunRecord> chain = chain_of(*reader, chosen);
  const RunRecord& run = chain.back();
  const Options options = options_of(chain, *reader, now);
  reader.reset();
  Session session(options);
  session.status().remark(fmt::format("goes on with run {} ({})", run.id, run.command));
  Undertaking undertaking = begin_undertaking(session);
  if (!undertaking.journal)
    reader = journal_of(now);
  const JournalReader& journal = reader ? *reader : *undertaking.journal;
  undertaking.resumes = chain.front().id;
  undertaking.goal = goal_of(chain, options);
  undertaking.audited = !options.no_audit && options.command != "verify";
  const std::string& latest = chain.front().id;
  const std::string policy = journal.text(latest, RunText::policy);
  if (options.policy.empty() && !policy.empty())
    undertaking.policy = read_policy(policy, "the policy of run " + latest);
  apply_flags(options, undertaking.policy);
  if (now.owed) {
    leave_out_what_hinders(undertaking.policy);
    apply_flags(now, undertaking.policy);
  }
  if (is_by_pip(options))
    refuse_beside_pip(undertaking.policy, session);
  ask_hosts(undertaking, session);
  if (overtaken != nullptr) {
    *overtaken = changed_since(session.fleet(), chain);
    write_off(*overtaken, now.action, undertaking, session);
    if (!overtaken->empty())
      return std::nullopt;
  }
  if (options.command == "verify")
    add_active(undertaking, session);
  else
    add_releases(undertaking, wanted_by(journal, run, session), places_of(journal, run), run.id,
                 session);
  undertaking.times.finished("wheel");
  return carry_out(undertaking, session);
}

}  // namespace

JournalReader journal_of(const Options& options) {
  std::optional<JournalReader> journal = JournalReader::open(state_folder(options));
  if (journal)
    return std::move(*journal);
  throw UsageError(
      "there is no journal in " + state_folder(options).string(),
      "name its folder with --state-dir; where it is lost: ds-deploy resume --hostfile FILE asks "
      "the hosts, or deploy the same wheel again");
}

ExitStatus resume(const Options& now) {
  // The journal cannot be read and written at one time by one process.
  std::optional<JournalReader> reader = JournalReader::open(state_folder(now));
  if (is_unknown(reader, now)) {
    reader.reset();
    return resume_from_hosts(now);
  }
  if (!reader)
    reader = journal_of(now);
  const RunRecord chosen = chosen_run(*reader, now);
  reader.reset();
  return go_on_with(chosen, now);
}

ExitStatus go_on_with(const RunRecord& run, const Options& options) {
  std::set<std::string> overtaken;
  const bool pays = options.owed && options.command == "resume";
  const std::optional<ExitStatus> status = attempt(run, options, pays ? &overtaken : nullptr);
  if (status)
    return *status;
  Options fewer = options;
  for (const std::string& name : overtaken)
    fewer.only.erase(name);
  return fewer.only.empty() ? ExitStatus::ok : attempt(run, fewer, nullptr).value();
}

}  // namespace ds
