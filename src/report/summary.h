// SPDX-License-Identifier: Apache-2.0
//
// What every form of the report says: equal results are one thing, worst first. Pure.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "report/report.h"

namespace ds {

/// 0 is the worst, so that the eye meets first what needs a hand.
int rank(HostState state);

/// The same finding of several hosts, or of several ops on one host.
struct FoldedFinding {
  Severity severity = Severity::ok;
  std::string rule, because;
  std::string fix;             ///< without the words that leave the host out
  bool can_leave_out = false;  ///< they were there
  std::vector<std::string> ops;
  std::vector<std::string> hosts;  ///< in the fleet's order, each once

  /// The fix for one host, or for all of them.
  std::string fix_for(const std::vector<std::string>& names) const;
};

struct FoldedFindings {
  std::vector<FoldedFinding> findings;       ///< worst first, then by rule and words
  std::vector<std::vector<std::size_t>> of;  ///< for each host of the audit, worst first
};
FoldedFindings fold_findings(const Report& report);

/// Hosts with the same end.
struct FoldedOutcome {
  HostState state = HostState::skipped;
  std::string step;  ///< empty where there is nothing to say
  std::string message;
  bool left_out = false;
  std::vector<std::string> hosts;

  std::string line() const;  ///< "failed at stage: No space left on device"
};
std::vector<FoldedOutcome> fold_outcomes(const Report& report);  ///< worst first

std::size_t number_left_out(const Report& report);  ///< by the policy

/// Hosts that owe the same, by what it is.
std::map<std::string, std::vector<std::string>> hosts_that_owe(const Report& report);

/// What a host's findings say of one rule, or of one op.
enum class Cell { fail, unknown, warn, ok, none };
char symbol(Cell cell);  ///< F ? w . -

struct GridRow {
  HostState state = HostState::skipped;
  std::vector<Cell> cells;         ///< one for each column
  std::vector<std::size_t> hosts;  ///< positions in Report::hosts
};

/// Hosts against requirements; hosts that are equal in state and cells are one row.
struct Grid {
  std::vector<std::string> columns;  ///< those with bad cells first
  std::vector<Cell> worst;           ///< of each column
  std::vector<GridRow> rows;         ///< worst first
};
enum class GridOf { rules, ops };
Grid grid_of(const Report& report, GridOf columns);

/// The grid as text, with its legend; columns that are good everywhere are named in one line unless
/// `verbose`. Empty if nothing was asked.
std::string grid_text(const Report& report, bool verbose);

/// "node[1-3] (3)"; names beyond about `limit` characters are an ellipsis.
std::string names_and_number(const std::vector<std::string>& names, std::size_t limit);

std::vector<std::string> names_of(const Report& report, const std::vector<std::size_t>& hosts);

/// One sentence: "5 of 4000 hosts are not ready", "all 4 hosts are confirmed".
std::string verdict_line(const Report& report);

/// The audit of each host by name; views into `report`.
std::unordered_map<std::string_view, const HostAudit*> audits_by_host(const Report& report);

/// Of all steps on a host; of all stages of the run.
double total(const std::map<std::string, double>& seconds);

}  // namespace ds
