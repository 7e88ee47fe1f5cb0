// SPDX-License-Identifier: Apache-2.0
//
// The file of a job in the store: for the last few outputs of the job, what each was made from.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "cache/cache.h"

namespace ds {

/// As Cache::find(). A file that is cut off or damaged holds no results.
std::optional<MadeResult> find_result(std::string_view text, const Cache::HashOf& hash_of,
                                      std::string* changed);

/// `text` with one more result before the others; what it held longest is dropped. Paths with a
/// line end cannot be written: then nothing.
std::optional<std::string> with_result(std::string_view text, const MadeResult& result,
                                       const InputHashes& inputs);

}  // namespace ds
