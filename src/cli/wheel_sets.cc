// SPDX-License-Identifier: Apache-2.0
#include "cli/wheel_sets.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/pack_wheel.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

using Reasons = std::vector<std::pair<std::string, std::vector<std::string>>>;

/// Several plans say most of it alike; what they say is said once.
void add_new(std::vector<std::string>& all, const std::string& line) {
  if (std::find(all.begin(), all.end(), line) == all.end())
    all.push_back(line);
}

void say_left_out(const std::vector<PlannedWheel>& wheels, Report& report) {
  for (const PlannedWheel& wheel : wheels) {
    for (const LeftOutOp& op : wheel.plan.left_out)
      add_new(report.left_out, op.name + ": " + op.because);
    for (const std::string& note : wheel.plan.notes)
      add_new(report.notes, note);
  }
}

/// The wheels that were named, each a distribution of its own: on a host the first would hide the
/// second.
std::vector<Wheel> named_wheels(const Options& options) {
  std::vector<Wheel> wheels;
  for (const std::string& file : options.wheels) {
    wheels.push_back(open_wheel(fs::absolute(expand_home(file))));
    const std::string name = normalised_name(wheels.back().name);
    for (std::size_t i = 0; i + 1 < wheels.size(); ++i) {
      if (normalised_name(wheels[i].name) != name)
        continue;
      throw UsageError(
          fmt::format("{} and {} are both wheels of {}: only one of them could be imported",
                      wheels[i].file.string(), wheels.back().file.string(), name),
          "name one of them");
    }
  }
  return wheels;
}

/// "worker-[1-4] (4)"
std::string hosts_of(const PlannedWheel& wheel) {
  return fmt::format("{} ({})", fold_hosts(wheel.hosts), count(wheel.hosts.size(), "host"));
}

}  // namespace

std::vector<WheelSet> obtain_wheels(Session& session, Report& report, StageTimes& times) {
  if (!session.options().wheels.empty())
    return {{named_wheels(session.options()), {}, {}}};
  const std::vector<PlannedWheel> planned = plan_wheels(session);
  say_left_out(planned, report);
  times.finished("plan");
  const std::vector<fs::path> files =
      make_wheels(planned, planned.front().folder / "wheels", session);
  std::vector<WheelSet> sets;
  for (std::size_t at = 0; at < files.size(); ++at) {
    sets.push_back({{open_wheel(files[at])}, {}, planned[at].hosts});
  }
  times.finished("build");
  return sets;
}

std::vector<WheelSet> wheels_of_dry_run(Session& session, Report& report) {
  const Options& options = session.options();
  if (!options.wheels.empty())
    return {{named_wheels(options), {}, {}}};
  if (options.installed)
    return {};
  const std::vector<PlannedWheel> planned = plan_wheels(session);
  say_left_out(planned, report);
  report.plan_text = plans_text(planned, options.verbose);
  report.plan_json = plans_json(planned, session);
  std::vector<WheelSet> sets;
  for (const PlannedWheel& wheel : planned) {
    sets.push_back({{}, {}, wheel.hosts});
    const fs::path built = wheel.folder / "wheels" / wheel_file_name(wheel.plan);
    if (fs::exists(built)) {
      sets.back().wheels.push_back(open_wheel(built));
      continue;
    }
    sets.back().predicted.push_back(predicted_requirements(wheel));
    add_new(
        report.notes,
        "the wheel is not built yet: what it needs is predicted from the plan; the packages that "
        "it requires, glibc, libstdc++ and size are known after 'ds-deploy build'");
  }
  return sets;
}

void warn_of_plans(const std::vector<PlannedWheel>& wheels, Status& status) {
  // One line for each reason.
  Reasons reasons;
  std::vector<std::string> notes;
  for (const PlannedWheel& wheel : wheels) {
    for (const LeftOutOp& op : wheel.plan.left_out) {
      const auto known = std::find_if(reasons.begin(), reasons.end(),
                                      [&op](const auto& one) { return one.first == op.because; });
      if (known == reasons.end())
        reasons.push_back({op.because, {op.name}});
      else
        add_new(known->second, op.name);
    }
    for (const std::string& note : wheel.plan.notes)
      add_new(notes, note);
  }
  for (const auto& [because, ops] : reasons) {
    status.warning(fmt::format("{} {} left out: {}", join(ops, ", "),
                               ops.size() == 1 ? "is" : "are", because));
  }
  for (const std::string& note : notes)
    status.warning(note);
}

std::string plans_text(const std::vector<PlannedWheel>& wheels, bool verbose) {
  std::string text;
  for (const PlannedWheel& wheel : wheels) {
    if (wheels.size() > 1)
      text += fmt::format("{}for          {}\n", text.empty() ? "" : "\n", hosts_of(wheel));
    text += plan_text(wheel.plan, verbose);
  }
  return text;
}

std::string plans_json(const std::vector<PlannedWheel>& wheels, Session& session) {
  std::string text;
  for (const PlannedWheel& wheel : wheels) {
    text += plan_json(wheel.plan, session.environment(),
                      wheels.size() > 1 ? wheel.hosts : std::vector<std::string>());
  }
  return text;
}

}  // namespace ds
