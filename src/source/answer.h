// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "source/source.h"

namespace ds {

/// The JSON that read_source.py prints after its nonce, `root` left to the caller. Error if it is
/// not in that form. `shown`: the source, `python`: the interpreter, for messages.
SourceTree parse_source_answer(const std::string& json, const std::string& shown,
                               const std::string& python);

}  // namespace ds
