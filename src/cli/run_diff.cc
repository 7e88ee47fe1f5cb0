// SPDX-License-Identifier: Apache-2.0
#include "cli/run_diff.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>

#include "base/text.h"
#include "report/report.h"

namespace ds {
namespace {

using nlohmann::ordered_json;

constexpr std::array sections = {"wheel", "flags", "toolchain", "facts"};

/// Items of the first that the second has not, as often as it has them.
std::string without(const std::vector<std::string>& items, const std::vector<std::string>& others) {
  std::multiset<std::string> left(others.begin(), others.end());
  std::vector<std::string> alone;
  for (const std::string& item : items) {
    const auto found = left.find(item);
    if (found == left.end())
      alone.push_back(item);
    else
      left.erase(found);
  }
  return join(alone, ", ");
}

void compare_lists(const RunSide& before, const RunSide& after, RunDiff& diff) {
  for (const auto& [what, items] : before.lists) {
    const auto other = after.lists.find(what);
    if (other == after.lists.end())
      continue;
    Difference difference = {
        what, without(items, other->second), without(other->second, items), {}};
    if (difference.before != difference.after)
      diff.differences.push_back(std::move(difference));
  }
}

/// Hosts that went from one value to another, by what it is of and by both.
using Moves =
    std::map<SectionName, std::map<std::pair<std::string, std::string>, std::vector<std::string>>>;

void compare_hosts(const std::string& host, const HostSide& before, const HostSide& after,
                   Moves& moves) {
  for (const auto& [what, value] : before.values) {
    const auto other = after.values.find(what);
    if (other != after.values.end() && other->second != value)
      moves[what][{value, other->second}].push_back(host);
  }
}

void add_moves(const Moves& moves, RunDiff& diff) {
  for (const auto& [what, changes] : moves) {
    const std::size_t first = diff.differences.size();
    for (const auto& [values, hosts] : changes)
      diff.differences.push_back({what, values.first, values.second, hosts});
    std::stable_sort(diff.differences.begin() + static_cast<std::ptrdiff_t>(first),
                     diff.differences.end(), [](const Difference& left, const Difference& right) {
                       return left.hosts.size() > right.hosts.size();
                     });
  }
}

std::size_t rank(const Difference& difference) {
  const auto* found = std::find(sections.begin(), sections.end(), difference.what.first);
  return static_cast<std::size_t>(found - sections.begin());
}

/// One entry: most say the same, each with an address of its own.
void add_unanswered(const RunSide& side, RunDiff& diff) {
  std::set<std::string> problems;
  std::vector<std::string> hosts;
  for (const auto& [name, host] : side.hosts) {
    if (host.problem.empty())
      continue;
    problems.insert(host.problem);
    hosts.push_back(name);
  }
  if (hosts.empty())
    return;
  diff.unanswered.emplace_back(
      "gave no answer " + (side.run.empty() ? "now" : "in run " + side.run) + ": " +
          side.hosts.at(hosts.front()).problem + (problems.size() > 1 ? ", and the like" : ""),
      std::move(hosts));
}

std::string value_text(const SectionName& what, const std::string& value) {
  if (value.empty())
    return "none";
  if (what == SectionName{"wheel", "release"})
    return short_names(split(value, '+'));
  return clean_line(value, 300);
}

std::string hosts_text(const std::vector<std::string>& hosts, bool verbose) {
  return verbose ? fold_hosts(hosts) : fold_hosts(hosts, 60);
}

ordered_json side_json(const RunSide& side) {
  if (side.run.empty())
    return {{"now", true}, {"hosts", side.hosts.size()}};
  return {{"run", side.run}, {"hosts", side.hosts.size()}, {"facts_kept", side.facts_kept}};
}

bool is_of_the_answer(const std::string& option) {
  static const std::set<std::string> known = {"--json",  "-v",       "--verbose", "-q",
                                              "--quiet", "--color",  "--format",  "--junit",
                                              "--html",  "--events", "-y",        "--yes"};
  return known.contains(option.substr(0, option.find_first_of(" =")));
}

}  // namespace

RunDiff compare(const RunSide& before, const RunSide& after) {
  RunDiff diff;
  compare_lists(before, after, diff);
  Moves moves;
  for (const auto& [name, host] : before.hosts) {
    const auto other = after.hosts.find(name);
    if (other == after.hosts.end()) {
      diff.before_alone.push_back(name);
    } else if (host.problem.empty() && other->second.problem.empty()) {
      ++diff.compared;
      compare_hosts(name, host, other->second, moves);
    }
  }
  for (const auto& [name, host] : after.hosts) {
    if (!before.hosts.contains(name))
      diff.after_alone.push_back(name);
  }
  add_moves(moves, diff);
  std::stable_sort(
      diff.differences.begin(), diff.differences.end(),
      [](const Difference& left, const Difference& right) { return rank(left) < rank(right); });
  for (const RunSide* side : {&before, &after}) {
    add_unanswered(*side, diff);
    if (!side->facts_kept)
      diff.notes.push_back("no facts were kept of run " + side->run +
                           ", which an earlier ds-deploy made");
    if (before.run == after.run)
      break;
  }
  return diff;
}

std::string run_diff_text(const RunSide& before, const RunSide& after, const RunDiff& diff,
                          bool verbose) {
  std::string text;
  if (diff.differs()) {
    for (const RunSide* side : {&before, &after})
      text += side->name() + (side->title.empty() ? "" : "  " + side->title) + "\n";
  } else {
    text = fmt::format("nothing differs between {} and {}, on {}\n", before.name(), after.name(),
                       count(diff.compared, "host"));
  }
  std::string section;
  for (const Difference& difference : diff.differences) {
    if (difference.what.first != section)
      text += (section = difference.what.first) + "\n";
    const std::string hosts =
        difference.hosts.empty() ? "" : hosts_text(difference.hosts, verbose) + "  ";
    text += fmt::format("  {:<12}  {}{} -> {}\n", difference.what.second, hosts,
                        value_text(difference.what, difference.before),
                        value_text(difference.what, difference.after));
  }
  if (!diff.before_alone.empty() || !diff.after_alone.empty() || !diff.unanswered.empty())
    text += "hosts\n";
  if (!diff.before_alone.empty())
    text += fmt::format("  {}  {} alone has it\n", hosts_text(diff.before_alone, verbose),
                        before.name());
  if (!diff.after_alone.empty())
    text +=
        fmt::format("  {}  {} alone has it\n", hosts_text(diff.after_alone, verbose), after.name());
  for (const auto& [because, hosts] : diff.unanswered)
    text += fmt::format("  {}  {}\n", hosts_text(hosts, verbose), because);
  for (const std::string& note : diff.notes)
    text += "note  " + note + "\n";
  return text;
}

std::string run_diff_json(const RunSide& before, const RunSide& after, const RunDiff& diff,
                          int exit_status) {
  ordered_json differences = ordered_json::array(), unanswered = ordered_json::array();
  for (const Difference& difference : diff.differences) {
    differences.push_back({{"section", difference.what.first},
                           {"name", difference.what.second},
                           {"before", difference.before},
                           {"after", difference.after},
                           {"hosts", difference.hosts}});
  }
  for (const auto& [because, hosts] : diff.unanswered)
    unanswered.push_back({{"because", because}, {"hosts", hosts}});
  const ordered_json whole = {
      {"schema", "ds-deploy.run-diff/1"},  {"exit", exit_status},
      {"before", side_json(before)},       {"after", side_json(after)},
      {"differs", diff.differs()},         {"differences", differences},
      {"before_alone", diff.before_alone}, {"after_alone", diff.after_alone},
      {"unanswered", unanswered},          {"notes", diff.notes}};
  return whole.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::vector<std::string> options_in(const std::vector<std::string>& words,
                                    const std::string& command) {
  std::vector<std::string> options;
  const std::size_t first = words.size() > 1 && words[1] == command ? 2 : 1;
  for (std::size_t at = first; at < words.size(); ++at) {
    const std::string word = clean_line(words[at], 300);
    const bool value = !word.starts_with('-') || word == "-";
    if (value && !options.empty() && options.back().starts_with('-'))
      options.back() += " " + word;
    else
      options.push_back(word);
  }
  std::erase_if(options, is_of_the_answer);
  return options;
}

}  // namespace ds
