// SPDX-License-Identifier: Apache-2.0
//
// What runs left to do on hosts: it stays so until a later decision says that it is done.
#include <algorithm>
#include <map>

#include "journal/database.h"
#include "journal/journal.h"
#include "journal/schema.h"

namespace ds {
namespace {

constexpr const char* decisions_on_debts =
    "SELECT hosts.host, environment, runs.id, what FROM decisions"
    " JOIN decision_hosts USING (run, sequence)"
    " JOIN hosts ON hosts.run = decisions.run AND hosts.host = decision_hosts.host"
    " JOIN runs ON runs.id = decisions.run"
    " WHERE what IN ('leave-out', 'served', 'owe-gpu-proof', 'owe-nothing')"
    " ORDER BY runs.number, decisions.sequence, hosts.position";

constexpr const char* decisions_on_drains =
    "SELECT host, runs.id, what, because FROM decisions"
    " JOIN decision_hosts USING (run, sequence) JOIN runs ON runs.id = decisions.run"
    " WHERE what IN ('drain', 'drained', 'undrained') ORDER BY runs.number, decisions.sequence";

}  // namespace

std::vector<DrainRecord> JournalReader::drains() const {
  std::vector<DrainRecord> drains;
  Statement rows(*database_, decisions_on_drains);
  while (rows.step()) {
    const std::string host = rows.line(0), run = rows.line(1), what = rows.line(2);
    const auto known = std::find_if(drains.begin(), drains.end(),
                                    [&host](const DrainRecord& one) { return one.host == host; });
    if (what == "undrained") {
      if (known != drains.end())
        drains.erase(known);
    } else if (known == drains.end()) {
      drains.push_back({host, run, what == "drained" ? rows.line(3) : ""});
    } else if (what == "drained" && known->run == run) {
      known->before = rows.line(3);
    }
  }
  return drains;
}

std::vector<DebtRecord> JournalReader::debts() const {
  std::vector<DebtRecord> debts;
  if (!has_environments(*database_))
    return debts;
  std::map<std::pair<std::string, std::string>, std::size_t> releases, proofs;
  Statement rows(*database_, decisions_on_debts);
  while (rows.step()) {
    const std::string what = rows.line(3);
    const bool proof = what.starts_with("owe");
    const std::pair key(rows.line(0), rows.line(1, longest_path));
    auto& known = proof ? proofs : releases;
    const auto before = known.find(key);
    if (before != known.end()) {
      debts[before->second].run.clear();
      known.erase(before);
    }
    if (what != "leave-out" && what != "owe-gpu-proof")
      continue;
    known[key] = debts.size();
    debts.push_back({key.first, key.second, rows.line(2), proof});
  }
  std::erase_if(debts, [](const DebtRecord& debt) { return debt.run.empty(); });
  return debts;
}

}  // namespace ds
