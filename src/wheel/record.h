// SPDX-License-Identifier: Apache-2.0
//
// RECORD: one CSV line per file of the wheel, `path,sha256=<base64>,<size>`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ds {

struct RecordLine {
  std::string path;
  std::string hash;  ///< "sha256=<URL-safe base64, no '='>"; empty: none
  std::optional<std::uint64_t> size;
  bool operator==(const RecordLine&) const = default;
};

std::string record_text(const std::vector<RecordLine>& entries);

/// Error (usage) that names `where` and the line for anything that is no RECORD.
std::vector<RecordLine> parse_record(std::string_view text, const std::string& where);

}  // namespace ds
