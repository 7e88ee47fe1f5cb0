// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "base/error.h"
#include "cache/cache.h"
#include "cli/session.h"
#include "plan/plan.h"

namespace ds {

/// Makes every library of the plan in `folder`, as the command line says: jobs, memory, load, job
/// server, cache, timeline. Error (build_failed) if one cannot be made.
void run_build(const BuildPlan& plan, const std::filesystem::path& folder, Session& session,
               FileHashes& hashes);

/// --cache-dir, else the user's.
std::filesystem::path cache_folder(const Options& options);

/// The command `cache`.
ExitStatus manage_cache(Session& session);

}  // namespace ds
