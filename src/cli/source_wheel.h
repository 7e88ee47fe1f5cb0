// SPDX-License-Identifier: Apache-2.0
//
// From a foreign tree's package and the libraries that were built of its ops to one wheel.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cache/cache.h"
#include "cli/pack_wheel.h"
#include "cli/session.h"
#include "source/source.h"

namespace ds {

struct SourceWheel {
  SourceTree tree;
  std::string version;       ///< source_wheel_version()
  std::string accelerator;   ///< what DeepSpeed takes the hosts for: "cuda", "cpu". One that it
                             ///< takes for another compiles its ops anew
  std::vector<BuiltOp> ops;  ///< with their modules; `path` is made of these
  std::string cuda, compiler, nvcc;
  bool bf16 = false;  ///< every GPU that it is built for has it
};

/// Packs everything that the tree's own wheel has, and the libraries where its builders look for
/// them, into `output`, unless the cache has that wheel; says what is in it. Returns its path.
std::filesystem::path make_source_wheel(const SourceWheel& wheel, const SourcePackage& package,
                                        const std::filesystem::path& output, Session& session,
                                        FileHashes& hashes);

}  // namespace ds
