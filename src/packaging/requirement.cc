// SPDX-License-Identifier: Apache-2.0
//
// "name[extra] >= 1; marker" (PEP 508).
#include <algorithm>
#include <cctype>

#include "base/text.h"
#include "packaging/marker.h"
#include "packaging/packaging.h"

namespace ds {
namespace {

constexpr std::size_t longest_requirement = 10'000;

bool is_name_character(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
}

bool is_name(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_name_character) &&
         std::isalnum(static_cast<unsigned char>(text.front())) != 0 &&
         std::isalnum(static_cast<unsigned char>(text.back())) != 0;
}

/// Takes "[a, b]" off the front; false if it is malformed.
bool take_extras(std::string_view& rest, std::vector<std::string>& extras) {
  if (!rest.starts_with('['))
    return true;
  const std::size_t end = rest.find(']');
  if (end == std::string_view::npos)
    return false;
  const std::string_view inside = trim(rest.substr(1, end - 1));
  for (const std::string& extra :
       inside.empty() ? std::vector<std::string>() : split(inside, ',')) {
    if (!is_name(trim(extra)))
      return false;
    extras.push_back(package_name(trim(extra)));
  }
  rest = trim(rest.substr(end + 1));
  return true;
}

/// ">=2, <3" or "(>=2, <3)" without brackets and blanks; nothing if a clause is none.
std::optional<std::string> plain_specifiers(std::string_view text) {
  text = trim(text);
  if (text.starts_with('(') && text.ends_with(')'))
    text = trim(text.substr(1, text.size() - 2));
  if (text.empty())
    return std::string();
  std::vector<std::string> clauses;
  for (const std::string& clause : split(text, ',')) {
    const std::string_view whole = trim(clause);
    const std::size_t version = std::min(whole.find_first_not_of("<>=!~"), whole.size());
    const std::string plain =
        std::string(whole.substr(0, version)) + std::string(trim(whole.substr(version)));
    // Whether a clause can be read does not depend on the version, but for "===".
    if (plain.empty() || !version_fits(plain, "0"))
      return std::nullopt;
    clauses.push_back(plain);
  }
  return join(clauses, ",");
}

/// Takes "@ url" off the front; a marker stands after a blank, since URLs may hold a semicolon.
bool take_url(std::string_view& rest, std::string& url) {
  const std::string_view after = trim(rest.substr(1));
  const std::size_t end = std::min(after.find_first_of(" \t"), after.size());
  url = after.substr(0, end);
  rest = trim(after.substr(end));
  return !url.empty() && (rest.empty() || rest.starts_with(';'));
}

}  // namespace

std::string PackageRequirement::text() const {
  std::string text = name;
  if (!extras.empty())
    text += "[" + join(extras, ",") + "]";
  return url.empty() ? text + specifiers : text + " @ " + url;
}

std::optional<PackageRequirement> parse_requirement(std::string_view text) {
  std::string_view rest = trim(text);
  if (rest.size() > longest_requirement)
    return std::nullopt;
  const std::size_t end = static_cast<std::size_t>(
      std::find_if_not(rest.begin(), rest.end(), is_name_character) - rest.begin());
  if (!is_name(rest.substr(0, end)))
    return std::nullopt;
  PackageRequirement requirement;
  requirement.name = package_name(rest.substr(0, end));
  rest = trim(rest.substr(end));
  if (!take_extras(rest, requirement.extras))
    return std::nullopt;
  if (rest.starts_with('@')) {
    if (!take_url(rest, requirement.url))
      return std::nullopt;
  }
  const std::size_t semicolon = std::min(rest.find(';'), rest.size());
  const std::optional<std::string> specifiers = plain_specifiers(rest.substr(0, semicolon));
  if (!specifiers)
    return std::nullopt;
  requirement.specifiers = *specifiers;
  if (semicolon < rest.size()) {
    requirement.marker = trim(rest.substr(semicolon + 1));
    if (!is_marker(requirement.marker))
      return std::nullopt;
  }
  return requirement;
}

}  // namespace ds
