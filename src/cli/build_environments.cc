// SPDX-License-Identifier: Apache-2.0
#include "cli/build_environments.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/private_environment.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

class Search {
 public:
  explicit Search(Session& session) : session_(session) {
    for (const std::string& named : session.options().environments)
      take(named);
    for (const std::string& python : session.pythons_here())
      pythons_.push_back(python);
    if (pythons_.empty() && requirements_.empty()) {
      throw UsageError("no interpreter was named whose torch the tree is built with",
                       "give --python /path/of/venv/bin/python: it has to be on this machine, with "
                       "the hosts' Python and torch; or --env for one that is here alone");
    }
  }

  /// The first that serves the group; with an empty `python` if none does.
  BuildEnvironment environment_for(const TargetGroup& group) {
    for (const std::string& python : pythons_) {
      if (serves(asked(python), group))
        return {python, asked(python)};
    }
    for (const fs::path& file : requirements_) {
      const std::string base = base_of(group);
      if (base.empty())
        continue;
      const std::string python = private_environment(file, base, session_);
      if (serves(asked(python), group))
        return {python, asked(python)};
    }
    return {};
  }

  /// "/opt/venv/bin/python has Python 3.11 with torch 2.9.0", for each that was asked.
  std::vector<std::string> what_is_here() const {
    std::vector<std::string> texts;
    for (const auto& [python, facts] : asked_) {
      const std::string version =
          facts.python.version.empty() ? "does not run" : "has Python " + facts.python.version;
      texts.push_back(fmt::format(
          "{} {}{}", python, version,
          facts.torch.version.empty() ? ", no torch" : " with torch " + facts.torch.version));
    }
    return texts;
  }

 private:
  /// A folder with an interpreter, an interpreter, or a file of requirements.
  void take(const std::string& named) {
    const fs::path path = fs::absolute(expand_home(named));
    std::error_code failure;
    const fs::path inside = path / "bin/python";
    if (fs::is_directory(path, failure) && fs::exists(inside, failure)) {
      pythons_.push_back(inside.string());
    } else if (fs::is_regular_file(path, failure)) {
      const bool program = !find_program(path.string()).empty();
      program ? pythons_.push_back(path.string()) : requirements_.push_back(path);
    } else {
      throw UsageError(
          fmt::format("--env {} is no environment: {}", clean_line(named),
                      fs::exists(path, failure) ? "it has no bin/python" : "it does not exist"),
          "name the folder of a virtual environment, or a file of requirements such "
          "as one with the line 'torch==2.11.0'");
    }
  }

  const HostFacts& asked(const std::string& python) {
    const auto known = asked_.find(python);
    return known != asked_.end()
               ? known->second
               : asked_.emplace(python, session_.build_machine(python)).first->second;
  }

  /// What an environment of the group's Python can be made with: one that is named, or in PATH.
  std::string base_of(const TargetGroup& group) {
    for (const std::string& python : pythons_) {
      if (serves(asked(python), {group.python, "", {}}))
        return python;
    }
    const std::string name = "python" + (group.python.empty() ? "3" : group.python);
    return find_program(name).empty() ? "" : name;
  }

  Session& session_;
  std::vector<std::string> pythons_;
  std::vector<fs::path> requirements_;
  std::map<std::string, HostFacts> asked_;
};

[[noreturn]] void refuse(const std::vector<const TargetGroup*>& unserved, const Search& search) {
  std::vector<std::string> wanted;
  for (const TargetGroup* group : unserved) {
    wanted.push_back(fmt::format("{}, as {} {}", to_string(*group), some_of(group->hosts),
                                 group->hosts.size() == 1 ? "has" : "have"));
  }
  const TargetGroup& first = *unserved.front();
  throw Error(
      fmt::format("the tree cannot be built for every host: no interpreter of this machine has {} "
                  "({})",
                  join(wanted, "; nor "), join(search.what_is_here(), "; ")),
      fmt::format("make one: python{} -m venv DIR && DIR/bin/pip install torch=={} setuptools, and "
                  "add --env DIR; or leave these hosts out with --exclude",
                  first.python, first.torch.substr(0, first.torch.find('+'))),
      ExitStatus::build_failed);
}

}  // namespace

std::vector<BuildEnvironment> build_environments(Session& session,
                                                 const std::vector<TargetGroup>& groups) {
  Search search(session);
  std::vector<BuildEnvironment> found;
  std::vector<const TargetGroup*> unserved;
  for (const TargetGroup& group : groups) {
    found.push_back(search.environment_for(group));
    if (found.back().python.empty())
      unserved.push_back(&group);
  }
  if (!unserved.empty())
    refuse(unserved, search);
  return found;
}

}  // namespace ds
