// SPDX-License-Identifier: Apache-2.0
#include "wheel/wheel_name.h"

#include <algorithm>
#include <vector>

#include "base/text.h"
#include "packaging/packaging.h"
#include "wheel/wheel.h"

namespace ds {
namespace {

bool is_alphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/// Letters, digits and `others`, at least one character.
bool made_of(std::string_view text, std::string_view others) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [others](char c) {
    return is_alphanumeric(c) || others.find(c) != std::string_view::npos;
  });
}

bool is_name(std::string_view text) {
  return made_of(text, "._") && is_alphanumeric(text.front()) && is_alphanumeric(text.back());
}

bool is_build(std::string_view text) {
  return made_of(text, "._") && text.front() >= '0' && text.front() <= '9';
}

}  // namespace

bool is_tag(std::string_view tag) {
  const std::vector<std::string> components = split(tag, '-');
  return components.size() == 3 &&
         std::all_of(components.begin(), components.end(), [](const std::string& component) {
           const std::vector<std::string> set = split(component, '.');
           return std::all_of(set.begin(), set.end(),
                              [](const std::string& one) { return made_of(one, "_"); });
         });
}

std::optional<WheelName> parse_wheel_name(std::string_view file_name) {
  if (!file_name.ends_with(".whl") || file_name.size() > 255)
    return std::nullopt;
  const std::vector<std::string> pieces = split(file_name.substr(0, file_name.size() - 4), '-');
  if (pieces.size() != 5 && pieces.size() != 6)
    return std::nullopt;
  const bool has_build = pieces.size() == 6;
  const std::size_t first = pieces.size() - 3;
  WheelName parsed{.name = pieces[0],
                   .version = pieces[1],
                   .build = has_build ? pieces[2] : "",
                   .tag = pieces[first] + "-" + pieces[first + 1] + "-" + pieces[first + 2]};
  const bool sound = is_name(parsed.name) && normalised_version(parsed.version) &&
                     is_tag(parsed.tag) && (!has_build || is_build(parsed.build));
  if (!sound)
    return std::nullopt;
  return parsed;
}

std::optional<std::string> normalised_version(std::string_view version) {
  const std::optional<PackageVersion> parsed =
      trim(version) == version ? parse_version(version) : std::nullopt;
  return parsed ? std::optional(parsed->text()) : std::nullopt;
}

std::string normalised_name(std::string_view name) {
  std::string out;
  for (const char c : lower(name)) {
    const bool separator = c == '-' || c == '_' || c == '.';
    if (!separator) {
      out += c;
    } else if (!out.ends_with('_')) {
      out += '_';
    }
  }
  return out;
}

std::string path_problem(std::string_view path) {
  if (path.empty())
    return "its name is empty";
  if (path.size() > 4096)
    return "its name is too long";
  if (path.find_first_of("\n\t") != std::string_view::npos || clean(path) != path) {
    return "its name has control characters or is not UTF-8";
  }
  if (path.find('\\') != std::string_view::npos)
    return "its name has a backslash";
  if (path.front() == '/')
    return "its name is absolute";
  for (const std::string& piece : split(path, '/')) {
    if (piece.empty())
      return "its name has an empty component";
    if (piece == "." || piece == "..")
      return "its name climbs ('" + piece + "')";
  }
  return {};
}

}  // namespace ds
