// SPDX-License-Identifier: Apache-2.0
//
// From the op library to the plan of a wheel.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "artifact/artifact.h"
#include "cli/session.h"
#include "plan/plan.h"
#include "source/source.h"
#include "wheel/wheel.h"

namespace ds {

struct PlannedWheel {
  OpLibrary library;
  std::optional<SourceTree> source;  ///< the foreign tree in its place
  std::string python;                ///< the interpreter that it is built with
  bool for_gpus = false;             ///< a host has one
  std::vector<std::string> hosts;    ///< names; empty: all
  BuildPlan plan;
  HostFacts builder;
  std::filesystem::path folder;  ///< where objects are kept
};

/// The wheels that the command line asks for, each with the hosts that get it: one, or for a
/// foreign tree one for each Python and torch of the hosts.
std::vector<PlannedWheel> plan_wheels(Session& session);

/// Reads the ops, asks the build machine, plans for the fleet. `only`: this op alone, whatever
/// DS_BUILD_ variables say; Error (build_failed) if there is none of this name.
PlannedWheel plan_wheel(Session& session, const std::string& only = {});

/// The variables of this process, and what the command line says of plans.
std::map<std::string, std::string> environment_map();
PlanOptions plan_options(const Options& options, std::map<std::string, std::string> environment);
/// Where objects are kept.
std::filesystem::path build_folder(const Options& options);

/// What the wheel of a plan will need, as far as the plan shows: for a dry run.
Requirements predicted_requirements(const PlannedWheel& planned);

/// The file name of the wheel of this plan, and the place of an op's library inside.
std::string wheel_file_name(const BuildPlan& plan);
std::string library_path(const PlannedOp& op);
/// What is imported from the wheel: Python faces, and libraries that were built in the folder of
/// `planned`.
std::vector<WheelFile> package_files(const PlannedWheel& planned);
const Op& op_named(const OpLibrary& library, const std::string& name);

/// The plan as people read it: one line per job with its because. `hosts`: that get its wheel,
/// where others get another.
std::string plan_text(const BuildPlan& plan, bool verbose);
std::string plan_json(const BuildPlan& plan, const std::string& environment,
                      const std::vector<std::string>& hosts = {});

}  // namespace ds
