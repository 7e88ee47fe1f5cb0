// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ds {

/// A YAML value with its place in the file. Scalars are text as it was written: `7.0` is "7.0".
struct YamlValue {
  enum class Kind { nothing, text, list, map };
  Kind kind = Kind::nothing;
  int line = 0, column = 0;  ///< from 1
  std::string text;
  std::vector<YamlValue> items;  ///< of a list; of a map its values
  std::vector<YamlValue> keys;   ///< of a map, one for each item, repeats kept
};

/// The one document in `text`. InputError for a syntax error, for more than one document, and for
/// aliases that would unfold without bounds.
YamlValue read_yaml(std::string_view text, const std::string& file);

/// "a text", "a list", "a map", "nothing".
std::string_view to_string(YamlValue::Kind kind);

}  // namespace ds
