// SPDX-License-Identifier: Apache-2.0
//
// Which wheels go to which hosts: those that the command line names, or those that are built.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "artifact/artifact.h"
#include "cli/plan_wheel.h"
#include "cli/session.h"
#include "report/report.h"
#include "wheel/wheel.h"

namespace ds {

/// Wheels that belong together on a host.
struct WheelSet {
  std::vector<Wheel> wheels;
  std::vector<Requirements> predicted;  ///< of a wheel that a dry run does not build
  std::vector<std::string> hosts;       ///< names; empty: all
};

/// Seconds of each stage, for the report.
class StageTimes {
 public:
  void finished(const std::string& stage) {
    const auto now = std::chrono::steady_clock::now();
    seconds[stage] += std::chrono::duration<double>(now - last_).count();
    last_ = now;
  }
  std::map<std::string, double> seconds;

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

/// The wheels that were named, for every host; else those that are built from the ops.
std::vector<WheelSet> obtain_wheels(Session& session, Report& report, StageTimes& times);

/// The same of a dry run, which compiles nothing: a wheel that a plan has made before is read, else
/// what it needs is predicted. The plans go into the report.
std::vector<WheelSet> wheels_of_dry_run(Session& session, Report& report);

/// What the plans leave out and note, as warnings.
void warn_of_plans(const std::vector<PlannedWheel>& wheels, Status& status);

/// Each plan, under the hosts that get its wheel where there are several.
std::string plans_text(const std::vector<PlannedWheel>& wheels, bool verbose);
/// A line for each plan, with "hosts" where there are several.
std::string plans_json(const std::vector<PlannedWheel>& wheels, Session& session);

}  // namespace ds
