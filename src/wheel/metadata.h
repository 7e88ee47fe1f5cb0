// SPDX-License-Identifier: Apache-2.0
//
// METADATA that others wrote: fields, one a line, then an empty line and prose (core metadata
// specification).
#pragma once

#include <string>
#include <string_view>

namespace ds {

/// Why it cannot be that of the distribution `name`, such as "has no Name"; or empty.
std::string metadata_problem(std::string_view text, std::string_view name);

/// With another Version; all else stays as it is.
std::string with_version(std::string_view text, std::string_view version);

}  // namespace ds
