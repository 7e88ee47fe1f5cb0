// SPDX-License-Identifier: Apache-2.0
//
// What is said and kept of a job that failed.
#pragma once

#include <filesystem>
#include <string>

#include "build/build.h"
#include "plan/plan.h"
#include "process/process.h"

namespace ds {

/// Why a job has failed, in a few words; empty if it has not. `made`: it wrote its output.
std::string failure_of(const CommandResult& result, const Job& job, bool made);

/// gcc's driver outlives the compiler that the kernel killed, and says so.
bool killed_for_memory(const CommandResult& result);

/// Where the messages of this job are kept when it fails: log/OP/FILE.log in the build folder.
std::filesystem::path log_file(const Job& job, const std::filesystem::path& build_folder);

/// The command, what became of it and all that it said. A log that cannot be written is none.
void write_log(const FailedJob& failed, const std::string& failure);

}  // namespace ds
