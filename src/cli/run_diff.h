// SPDX-License-Identifier: Apache-2.0
//
// Two states of a fleet held against each other, host by host. Pure.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "cli/run_facts.h"

namespace ds {

/// Sections in which differences are told: "wheel", "flags", "toolchain", "facts".
using SectionName = std::pair<std::string, std::string>;  ///< section, name

struct HostSide {
  std::string problem;  ///< it gave no answer then, and is not compared; empty: it did
  /// What is not known is not there; an empty value is none.
  std::map<SectionName, std::string> values;
};

struct RunSide {
  std::string run;    ///< id; empty: the hosts as they are now
  std::string title;  ///< more about it: "deploy, 2026-11-26 03:12:00 UTC, by ada@head"
  bool facts_kept = true;
  /// Of all of it, not of a host: the items that are on one side alone differ.
  std::map<SectionName, std::vector<std::string>> lists;
  std::map<std::string, HostSide> hosts;
  std::string name() const { return run.empty() ? "now" : "run " + run; }
};

struct Difference {
  SectionName what;
  std::string before, after;       ///< empty: none
  std::vector<std::string> hosts;  ///< empty: of all of it
  bool operator==(const Difference&) const = default;
};

struct RunDiff {
  std::vector<Difference> differences;                 ///< by section; of a name the widest first
  std::vector<std::string> before_alone, after_alone;  ///< hosts
  std::vector<std::pair<std::string, std::vector<std::string>>> unanswered;  ///< why, hosts
  std::vector<std::string> notes;
  std::size_t compared = 0;  ///< hosts
  bool differs() const {
    return !differences.empty() || !before_alone.empty() || !after_alone.empty();
  }
};

RunDiff compare(const RunSide& before, const RunSide& after);

std::string run_diff_text(const RunSide& before, const RunSide& after, const RunDiff& diff,
                          bool verbose);
/// {"schema":"ds-deploy.run-diff/1",...} on one line.
std::string run_diff_json(const RunSide& before, const RunSide& after, const RunDiff& diff,
                          int exit_status);

/// The arguments and options of a command line, each option with its values ("--keep 3"), without
/// those that only say how the answer is shown. `words` begin with the program.
std::vector<std::string> options_in(const std::vector<std::string>& words,
                                    const std::string& command);

}  // namespace ds
