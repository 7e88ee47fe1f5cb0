// SPDX-License-Identifier: Apache-2.0
//
// From the plan of a wheel to the wheel: build, pack.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cache/cache.h"
#include "cli/plan_wheel.h"
#include "cli/session.h"
#include "rollout/rollout.h"
#include "wheel/wheel.h"

namespace ds {

/// An op of a wheel, built.
struct BuiltOp {
  std::string name;
  Op::Kind kind = Op::Kind::cpu;
  std::filesystem::path library;  ///< the file
  std::string path;               ///< of the library in the wheel
  std::string module;             ///< that Python imports the library as; empty for ops of ours
  std::string builder = {};       ///< class of DeepSpeed's that loads it, or empty
  std::string self_test;          ///< "module:function", or empty
  std::int64_t self_test_gpu_memory = 0;  ///< MiB; 0: not said
  OpRules rules;
};

/// What goes into a wheel, and what is told of it.
struct Packing {
  WheelSpec spec;  ///< with the libraries of the ops, without our record
  std::vector<BuiltOp> ops;
  std::string cuda, compiler, nvcc;
};

/// Writes the wheel with our record into `output`, unless the cache has it; says what is in it.
/// Returns its path.
std::filesystem::path pack(const Packing& packing, const std::filesystem::path& output,
                           Session& session, FileHashes& hashes);

/// Compiles what is not up to date, in one graph, and packs each wheel into `output`, unless the
/// cache has it; says what is in it. Returns their paths. Error (build_failed) when a job fails;
/// its messages were shown by then.
std::vector<std::filesystem::path> make_wheels(const std::vector<PlannedWheel>& wheels,
                                               const std::filesystem::path& output,
                                               Session& session);

/// Self-tests and modules of a wheel: from the record inside, if it has one of ours.
Parcel parcel_of(const Wheel& wheel);
/// The same by such a record; empty: it has none.
Parcel parcel_of(const Wheel& wheel, const std::string& record);

}  // namespace ds
