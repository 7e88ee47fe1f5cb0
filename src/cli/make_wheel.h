// SPDX-License-Identifier: Apache-2.0
//
// From the op library to a wheel: plan, build, pack.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "artifact/artifact.h"
#include "cli/session.h"
#include "plan/plan.h"
#include "rollout/rollout.h"
#include "wheel/wheel.h"

namespace ds {

struct PlannedWheel {
  OpLibrary library;
  BuildPlan plan;
  HostFacts builder;
  std::filesystem::path folder;  ///< where objects are kept
};

/// Reads the ops, asks the build machine, plans for the fleet. `only`: this op alone, whatever
/// DS_BUILD_ variables say; Error (build_failed) if there is none of this name.
PlannedWheel plan_wheel(Session& session, const std::string& only = {});

/// Compiles what is not up to date and packs the wheel into `output`. Error (build_failed) when a
/// job fails; its messages were shown by then.
Wheel make_wheel(const PlannedWheel& planned, const std::filesystem::path& output,
                 Session& session);

/// Where its library lies in the wheel.
std::string library_path(const PlannedOp& op);

/// What is imported from the wheel: Python faces, and libraries that were built in the folder of
/// `planned`.
std::vector<WheelFile> package_files(const PlannedWheel& planned);

/// What the wheel of a plan will need, as far as the plan shows: for a dry run.
Requirements predicted_requirements(const PlannedWheel& planned);

/// The file name that make_wheel would write.
std::string wheel_file_name(const BuildPlan& plan);

/// Self-tests and modules of a wheel: from the record inside, if it has one of ours.
Parcel parcel_of(const Wheel& wheel);

/// The plan as people read it: one line per job with its because.
std::string plan_text(const BuildPlan& plan, bool verbose);
std::string plan_json(const BuildPlan& plan, const std::string& environment);

}  // namespace ds
