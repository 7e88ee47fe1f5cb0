// SPDX-License-Identifier: Apache-2.0
//
// What runs left to do: decisions of the last run that targeted a host and environment. A newer run
// takes the debts of its hosts over.
#include "journal/database.h"
#include "journal/journal.h"
#include "journal/schema.h"

namespace ds {
namespace {

constexpr std::size_t longest_path = 4096;
constexpr std::size_t longest_message = 4096;

constexpr const char* decisions_of_last_runs =
    "WITH last AS (SELECT host, environment, max(number) AS number FROM hosts"
    " JOIN runs ON runs.id = hosts.run GROUP BY host, environment)"
    " SELECT last.host, environment, runs.id, what, because FROM last"
    " JOIN runs USING (number)"
    " JOIN decision_hosts ON decision_hosts.run = runs.id AND decision_hosts.host = last.host"
    " JOIN decisions ON decisions.run = runs.id AND decisions.sequence = decision_hosts.sequence"
    " WHERE what IN ('leave-out', 'owe-gpu-proof', 'owe-nothing')"
    " ORDER BY number, last.host, environment, decisions.sequence";

}  // namespace

std::vector<DebtRecord> JournalReader::debts() const {
  std::vector<DebtRecord> debts;
  if (!has_environments(*database_))
    return debts;
  Statement rows(*database_, decisions_of_last_runs);
  while (rows.step()) {
    const std::string host = rows.line(0), environment = rows.line(1, longest_path);
    if (debts.empty() || debts.back().host != host || debts.back().environment != environment ||
        debts.back().run != rows.line(2)) {
      debts.push_back({.host = host, .environment = environment, .run = rows.line(2)});
    }
    DebtRecord& debt = debts.back();
    const std::string what = rows.line(3);
    debt.release |= what == "leave-out";
    debt.proof = what == "owe-gpu-proof" || (debt.proof && what != "owe-nothing");
    if (what == "leave-out")
      debt.because = rows.line(4, longest_message);
  }
  std::erase_if(debts, [](const DebtRecord& debt) { return !debt.release && !debt.proof; });
  return debts;
}

}  // namespace ds
