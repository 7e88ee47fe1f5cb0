// SPDX-License-Identifier: Apache-2.0
#include "wheel/metadata.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/text.h"
#include "wheel/wheel.h"

namespace ds {
namespace {

struct Field {
  std::size_t begin = 0, end = 0;  ///< of its value in the text
};

/// The values of the fields of this name, in the part before the prose.
std::vector<Field> fields(std::string_view text, std::string_view name) {
  std::vector<Field> found;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    if (trim(line).empty())
      break;
    const std::size_t colon = line.find(':');
    if (colon != std::string_view::npos && lower(line.substr(0, colon)) == lower(name))
      found.push_back({at + colon + 1, end});
    at = end + 1;
  }
  return found;
}

std::string problem_of(const std::vector<Field>& found, const std::string& name) {
  if (found.empty())
    return "has no " + name;
  return found.size() > 1 ? "has " + name + " twice" : "";
}

}  // namespace

std::string metadata_problem(std::string_view text, std::string_view name) {
  if (text.find('\0') != std::string_view::npos)
    return "has characters that are no text";
  for (const std::string field : {"Metadata-Version", "Name", "Version"}) {
    const std::string problem = problem_of(fields(text, field), field);
    if (!problem.empty())
      return problem;
  }
  const Field said = fields(text, "Name").front();
  const std::string_view value = trim(text.substr(said.begin, said.end - said.begin));
  return normalised_name(value) == name ? "" : "is that of '" + clean_line(value, 80) + "'";
}

std::string with_version(std::string_view text, std::string_view version) {
  std::string changed(text);
  const std::vector<Field> found = fields(text, "Version");
  // The last one first: what stands before it keeps its place.
  for (auto field = found.rbegin(); field != found.rend(); ++field)
    changed.replace(field->begin, field->end - field->begin, fmt::format(" {}", version));
  return changed;
}

}  // namespace ds
