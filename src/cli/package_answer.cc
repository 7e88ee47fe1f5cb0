// SPDX-License-Identifier: Apache-2.0
#include "cli/package_answer.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "base/text.h"

namespace ds {
namespace {

using nlohmann::json;

constexpr std::size_t most_ops = 1000;

/// A text; "" if there is none; nothing if it is something else.
std::optional<std::string> text_of(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end())
    return std::string();
  if (!found->is_string())
    return std::nullopt;
  return clean_line(found->get_ref<const std::string&>());
}

std::optional<PackageAnswer::Op> op_of(const json& said) {
  if (!said.is_object())
    return std::nullopt;
  const auto name = text_of(said, "name"), state = text_of(said, "state"),
             message = text_of(said, "message");
  if (!name || !state || !message || name->empty() || state->empty())
    return std::nullopt;
  return PackageAnswer::Op{*name, *state, *message};
}

std::optional<PackageAnswer> answer_of(const json& said) {
  const auto version = text_of(said, "version");
  const json& ops = said["ops"];
  if (!version || !ops.is_array() || ops.size() > most_ops)
    return std::nullopt;
  PackageAnswer answer;
  answer.installed = true;
  answer.version = *version;
  for (const json& item : ops) {
    const std::optional<PackageAnswer::Op> op = op_of(item);
    if (!op)
      return std::nullopt;
    answer.ops.push_back(*op);
  }
  return answer;
}

}  // namespace

PackageAnswer read_package_answer(const ExecResult& result) {
  PackageAnswer answer;
  for (const std::string& line : lines(result.out)) {
    const json said = json::parse(line, nullptr, false);
    if (!said.is_object() || !said.contains("ops"))
      continue;
    if (std::optional<PackageAnswer> read = answer_of(said))
      return *std::move(read);
    answer.problem = "ds_ops answered in a form that cannot be read";
  }
  if (answer.problem.empty() && result.outcome != ExecResult::Outcome::exited)
    answer.problem = "ds_ops gave no answer: " + clean_line(result.message);
  return answer;
}

}  // namespace ds
