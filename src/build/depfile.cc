// SPDX-License-Identifier: Apache-2.0
#include "build/depfile.h"

#include <set>

namespace ds {
namespace {

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/// Length of a joined line end at `at`, or 0.
std::size_t line_join(std::string_view text, std::size_t at) {
  if (text.substr(at, 2) == "\\\n")
    return 2;
  return text.substr(at, 3) == "\\\r\n" ? 3 : 0;
}

/// One word from `at` on, which is moved behind it. Half of the backslashes before a blank or a
/// hash are quotes; all others are themselves (GNU make, "Types of Prerequisites"; cpp's mkdeps).
std::string next_word(std::string_view text, std::size_t& at) {
  std::string word;
  while (at < text.size() && !is_blank(text[at]) && line_join(text, at) == 0) {
    if (text.substr(at, 2) == "$$") {
      word += '$';
      at += 2;
      continue;
    }
    std::size_t slashes = 0;
    while (at + slashes < text.size() && text[at + slashes] == '\\')
      ++slashes;
    const char next = at + slashes < text.size() ? text[at + slashes] : '\0';
    if (slashes > 0 && (next == ' ' || next == '\t' || next == '#')) {
      word.append(slashes / 2, '\\');
      at += slashes;
      if (slashes % 2 == 0) {
        if (next == '#')
          continue;
        return word;
      }
      word += next;
      ++at;
    } else if (slashes > 0) {
      word += '\\';
      ++at;
    } else {
      word += text[at++];
    }
  }
  return word;
}

}  // namespace

std::vector<std::string> parse_depfile(std::string_view text) {
  std::vector<std::string> names;
  std::set<std::string> seen;
  bool in_targets = true;
  for (std::size_t at = 0; at < text.size();) {
    if (const std::size_t joined = line_join(text, at)) {
      at += joined;
      continue;
    }
    if (is_blank(text[at])) {
      if (text[at] == '\n')
        in_targets = true;
      ++at;
      continue;
    }
    const std::string word = next_word(text, at);
    if (in_targets) {
      in_targets = !word.ends_with(':');
    } else if (seen.insert(word).second) {
      names.push_back(word);
    }
  }
  return names;
}

}  // namespace ds
