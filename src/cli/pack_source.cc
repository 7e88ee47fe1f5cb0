// SPDX-License-Identifier: Apache-2.0
#include "cli/pack_source.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "cli/run_build.h"

namespace ds {

std::filesystem::path make_source_wheel(const PlannedWheel& planned, const std::filesystem::path&,
                                        Session& session) {
  FileHashes hashes(FileHashes::memory_in(cache_folder(session.options())));
  run_build(planned.plan, planned.folder, session, hashes);
  hashes.save();
  throw Error(fmt::format("the {} of {} are compiled in {}, but not packed yet",
                          count(planned.plan.ops.size(), "op"), planned.source->name,
                          planned.folder.string()),
              {}, ExitStatus::build_failed);
}

}  // namespace ds
