// SPDX-License-Identifier: Apache-2.0
#include "cli/hosts_exports.h"

#include <algorithm>

#include "cli/run_build.h"

namespace ds {
namespace {

bool takes_of_others(const SetNeeds& set) {
  return std::any_of(set.wheels.begin(), set.wheels.end(), [](const Requirements& wheel) {
    return std::any_of(wheel.libraries.begin(), wheel.libraries.end(),
                       [](const LibraryNeeds& library) { return !library.outside.empty(); });
  });
}

}  // namespace

RuntimeExports hosts_exports(const std::vector<SetNeeds>& sets, Session& session) {
  if (!std::any_of(sets.begin(), sets.end(), takes_of_others))
    return {};
  const std::filesystem::path folder = cache_folder(session.options()) / "exports";
  RuntimeExports exports = kept_exports(session.fleet(), folder);
  if (session.options().facts.empty()) {
    fetch_exports(session.fleet(), session.inventory(), session.transport(), folder, exports);
  }
  return exports;
}

}  // namespace ds
