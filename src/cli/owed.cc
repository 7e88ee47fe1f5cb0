// SPDX-License-Identifier: Apache-2.0
#include "cli/owed.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <set>
#include <vector>

#include "base/text.h"
#include "cli/history.h"
#include "cli/resume.h"

namespace ds {
namespace {

/// The hosts of one run.
struct Debtors {
  RunRecord run;
  std::set<std::string> hosts;
};

/// Which of them a rollback never reached, so that nobody knows where they were to go back to.
std::set<std::string> without_target(const JournalReader& journal, const RunRecord& origin) {
  std::set<std::string> names;
  for (const HostRecord& host : journal.hosts(origin.id)) {
    if (origin.command == "rollback" && host.wanted.empty() && host.before.empty())
      names.insert(host.name);
  }
  return names;
}

std::vector<Debtors> debtors_of(const JournalReader& journal, const std::string& run, bool proofs) {
  std::vector<Debtors> all;
  const std::string chosen = run.empty() ? run : journal.run(run).id;
  for (const DebtRecord& debt : journal.debts()) {
    if (!(proofs ? debt.proof : debt.release) || (!chosen.empty() && debt.run != chosen))
      continue;
    if (all.empty() || all.back().run.id != debt.run)
      all.push_back({journal.run(debt.run), {}});
    all.back().hosts.insert(debt.host);
  }
  return all;
}

/// The first of these that applies to any of the runs.
ExitStatus worst(const std::vector<ExitStatus>& ends) {
  constexpr std::array order = {ExitStatus::interrupted, ExitStatus::rollback_failed,
                                ExitStatus::key_refused, ExitStatus::lock_held,
                                ExitStatus::host_failed, ExitStatus::unreachable,
                                ExitStatus::incompatible};
  for (const ExitStatus status : order) {
    if (std::find(ends.begin(), ends.end(), status) != ends.end())
      return status;
  }
  const auto other =
      std::find_if(ends.begin(), ends.end(), [](ExitStatus end) { return end != ExitStatus::ok; });
  return other == ends.end() ? ExitStatus::ok : *other;
}

ExitStatus pay(const Options& options, const char* what) {
  std::vector<Debtors> debtors;
  std::vector<ExitStatus> ends;
  {
    const JournalReader journal = journal_of(options);
    debtors = debtors_of(journal, options.action, options.command == "verify");
    for (Debtors& each : debtors) {
      const RunRecord origin = chain_of(journal, each.run).back();
      for (const std::string& name : without_target(journal, origin)) {
        if (each.hosts.erase(name) == 0)
          continue;
        std::fputs(fmt::format("{}: run {} never reached it, so that nobody knows where it was to "
                               "go back to; see: ds-deploy rollback\n",
                               name, origin.id)
                       .c_str(),
                   stderr);
        ends.push_back(ExitStatus::unreachable);
      }
    }
  }
  std::erase_if(debtors, [](const Debtors& each) { return each.hosts.empty(); });
  if (debtors.empty() && ends.empty() && !options.quiet)
    std::fputs(fmt::format("no host is owed a {}\n", what).c_str(), stderr);
  for (const Debtors& each : debtors) {
    Options one = options;
    one.action = each.run.id;
    one.only = each.hosts;
    ends.push_back(go_on_with(each.run, one));
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

std::map<std::string, std::string> debts_of_hosts(Session& session) {
  std::map<std::string, std::string> owed;
  const std::optional<JournalReader> journal = JournalReader::open(state_folder(session.options()));
  if (!journal)
    return owed;
  std::map<std::pair<std::string, std::string>, DebtRecord> known;
  for (const DebtRecord& debt : journal->debts())
    known[{debt.host, debt.environment}] = debt;
  for (const HostFacts& facts : session.fleet().hosts) {
    const auto debt = known.find({facts.host, facts.python.asked});
    if (debt == known.end())
      continue;
    owed[facts.host] =
        debt->second.release
            ? "the release of run " + debt->second.run + ": ds-deploy resume --owed"
            : "the gpu-proof of run " + debt->second.run + ": ds-deploy verify --owed";
  }
  return owed;
}

}  // namespace ds
