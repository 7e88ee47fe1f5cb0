// SPDX-License-Identifier: Apache-2.0
#include "plan/explain_flags.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace ds {
namespace {

std::string quoted(const Words& words) {
  Words shown;
  for (const std::string& word : words)
    shown.push_back(shell_quote(word));
  return shown.empty() ? "(nothing)" : join(shown, " ");
}

std::string change_text(const FlagChange& change) {
  if (change.from.empty())
    return fmt::format("    {} is added: {}\n", change.to, change.because);
  if (change.to.empty())
    return fmt::format("    {} is left out: {}\n", change.from, change.because);
  return fmt::format("    {} becomes {}: {}\n", change.from, change.to, change.because);
}

/// One kind of command; the first job of the kind stands for all.
std::string part(const std::string& title, const Words& said, const Job* job,
                 const std::vector<FlagChange>& changes) {
  if (job == nullptr)
    return {};
  std::string text = fmt::format("{}\n  the tree: {}\n  here:     {}\n", title, quoted(said),
                                 quoted(job->command.argv));
  if (!changes.empty())
    text += "  what differs\n";
  for (const FlagChange& change : changes)
    text += change_text(change);
  return text;
}

}  // namespace

std::string flags_text(const SourceOp& op, const SourceFlags& flags, const std::vector<Job>& jobs) {
  const auto first = [&](const std::string& start) -> const Job* {
    const auto found = std::find_if(jobs.begin(), jobs.end(), [&](const Job& job) {
      return job.op == op.name && job.name.starts_with(start);
    });
    return found == jobs.end() ? nullptr : &*found;
  };
  std::string text = fmt::format("op {} ({})\n", op.name, op.module);
  text += part("C++", op.cxx_flags, first("c++ "), flags.cxx_changes);
  text += part("nvcc", op.nvcc_flags, first("nvcc "), flags.nvcc_changes);
  Words link = op.link_flags;
  for (const std::string& name : op.libraries)
    link.push_back("-l" + name);
  text += part("link", link, first("link "), flags.link_changes);
  return text +
         "what is added to every op: Python's -DNDEBUG -fwrapv -O3 -fPIC, torch's own macros, "
         "folders and libraries, the CPU level of the hosts, and -ffile-prefix-map, so that no "
         "folder of this machine is named in a library\n";
}

}  // namespace ds
