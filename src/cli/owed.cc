// SPDX-License-Identifier: Apache-2.0
#include "cli/owed.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>

#include "base/text.h"
#include "cli/history.h"
#include "cli/resume.h"

namespace ds {
namespace {

/// The hosts of one run.
struct Debtors {
  std::string debt;  ///< id of the run that left it to be done
  RunRecord run;     ///< that is gone on with
  std::set<std::string> hosts;
};

void say(const std::string& text) {
  std::fputs((text + "\n").c_str(), stderr);
}

/// What was staged is owed active once the rest of the run was activated.
RunRecord latest_of(const JournalReader& journal, const RunRecord& run) {
  const auto was_kept = [&journal](const RunRecord& later) {
    const std::vector<HostRecord> hosts = journal.hosts(later.id);
    return std::any_of(hosts.begin(), hosts.end(), [](const HostRecord& host) {
      return host.state == "confirmed" || host.state == "unchanged";
    });
  };
  for (const RunRecord& later : journal.runs(1000)) {
    if (later.command != "activate" || !was_kept(later))
      continue;
    for (const RunRecord& one : chain_of(journal, later)) {
      if (one.id == run.id)
        return later;
    }
  }
  return run;
}

/// Which of them a rollback never reached, so that nobody knows where they were to go back to.
std::set<std::string> without_target(const JournalReader& journal, const RunRecord& origin) {
  std::set<std::string> names;
  for (const HostRecord& host : journal.hosts(origin.id)) {
    if (origin.command == "rollback" && host.wanted.empty() && host.before.empty())
      names.insert(host.name);
  }
  return names;
}

/// Those of the names that --limit, --include and --exclude choose.
std::set<std::string> chosen(const std::set<std::string>& names, const std::string& hosts,
                             const Options& options) {
  const Inventory inventory = parse_hostfile(hosts, "the hosts of that run");
  std::set<std::string> some;
  for (const Host& host :
       select_hosts(inventory, {options.include, options.exclude, options.limit}).hosts) {
    if (names.contains(host.name))
      some.insert(host.name);
  }
  return some;
}

std::vector<Debtors> debtors_of(const JournalReader& journal, const Options& options) {
  const bool proofs = options.command == "verify";
  const std::string run = options.action.empty() ? "" : journal.run(options.action).id;
  std::vector<Debtors> all;
  for (const DebtRecord& debt : journal.debts()) {
    if (debt.proof != proofs || (!run.empty() && debt.run != run))
      continue;
    if (all.empty() || all.back().debt != debt.run)
      all.push_back({debt.run, journal.run(debt.run), {}});
    all.back().hosts.insert(debt.host);
  }
  const bool selects =
      !options.include.empty() || !options.exclude.empty() || !options.limit.empty();
  for (Debtors& each : all) {
    const RunRecord origin = chain_of(journal, each.run).back();
    try {
      if (selects)
        each.hosts = chosen(each.hosts, journal.text(origin.id, RunText::inventory), options);
    } catch (const UsageError&) {
      each.hosts.clear();  // none of this run's
    }
  }
  std::erase_if(all, [](const Debtors& each) { return each.hosts.empty(); });
  return all;
}

/// The first of these that applies to any of the runs, as for hosts of one run.
ExitStatus worst(const std::vector<ExitStatus>& ends) {
  constexpr std::array order = {ExitStatus::rollback_failed, ExitStatus::key_refused,
                                ExitStatus::lock_held,       ExitStatus::host_failed,
                                ExitStatus::interrupted,     ExitStatus::unreachable,
                                ExitStatus::incompatible};
  for (const ExitStatus status : order) {
    if (std::find(ends.begin(), ends.end(), status) != ends.end())
      return status;
  }
  const auto other =
      std::find_if(ends.begin(), ends.end(), [](ExitStatus end) { return end != ExitStatus::ok; });
  return other == ends.end() ? ExitStatus::ok : *other;
}

/// One run that cannot be gone on with keeps no other one's hosts waiting.
ExitStatus pay_run(const Debtors& debtors, const Options& options) {
  Options one = options;
  one.action = debtors.debt;
  one.only = debtors.hosts;
  one.include = one.exclude = {};
  one.limit.clear();
  try {
    return go_on_with(debtors.run, one);
  } catch (const Error& error) {
    say(fmt::format("ds-deploy: error: what run {} owes: {}{}{}", debtors.debt, error.what(),
                    error.fix().empty() ? "" : "\n  ", error.fix()));
    return error.status();
  }
}

ExitStatus pay(const Options& options, const char* what) {
  std::vector<Debtors> debtors;
  std::vector<ExitStatus> ends;
  {
    const JournalReader journal = journal_of(options);
    debtors = debtors_of(journal, options);
    for (Debtors& each : debtors) {
      each.run = latest_of(journal, each.run);
      const RunRecord origin = chain_of(journal, each.run).back();
      for (const std::string& name : without_target(journal, origin)) {
        if (each.hosts.erase(name) == 0)
          continue;
        say(
            fmt::format("{}: run {} never reached it, so that nobody knows where it was to go back "
                        "to; see: ds-deploy rollback",
                        name, origin.id));
        ends.push_back(ExitStatus::unreachable);
      }
    }
  }
  std::erase_if(debtors, [](const Debtors& each) { return each.hosts.empty(); });
  if (debtors.empty() && ends.empty() && !options.quiet)
    say(fmt::format("no host is owed a {}", what));
  for (const Debtors& each : debtors) {
    ends.push_back(pay_run(each, options));
    if (ends.back() == ExitStatus::interrupted)
      break;
  }
  return worst(ends);
}

}  // namespace

ExitStatus resume_owed(const Options& options) {
  return pay(options, owed_release);
}

ExitStatus prove_owed(const Options& options) {
  return pay(options, owed_proof);
}

Debts debts_of(const JournalReader& journal, Session& session) {
  std::set<std::pair<std::string, std::string>> here;
  for (const Host& host : session.inventory().hosts)
    here.emplace(host.name, target_python(host, session.probe()));
  Debts debts;
  for (const DebtRecord& debt : journal.debts()) {
    if (!here.contains({debt.host, debt.environment}))
      continue;
    (debt.proof ? debts.proofs : debts.releases).insert(debt.host);
    debts.all.push_back(debt);
  }
  return debts;
}

}  // namespace ds
