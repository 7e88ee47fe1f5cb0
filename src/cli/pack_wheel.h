// SPDX-License-Identifier: Apache-2.0
//
// From the plan of a wheel to the wheel: build, pack.
#pragma once

#include <filesystem>

#include "cli/plan_wheel.h"
#include "cli/session.h"
#include "rollout/rollout.h"
#include "wheel/wheel.h"

namespace ds {

/// Compiles what is not up to date and packs the wheel into `output`, unless the cache has it; says
/// what is in it. Returns its path. Error (build_failed) when a job fails; its messages were shown
/// by then.
std::filesystem::path make_wheel(const PlannedWheel& planned, const std::filesystem::path& output,
                                 Session& session);

/// Self-tests and modules of a wheel: from the record inside, if it has one of ours.
Parcel parcel_of(const Wheel& wheel);

}  // namespace ds
