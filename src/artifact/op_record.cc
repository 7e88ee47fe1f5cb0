// SPDX-License-Identifier: Apache-2.0
//
// The record inside a wheel. Anybody may have written it, so only what has the right form counts.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "artifact/artifact.h"
#include "base/text.h"

namespace ds {
namespace {

using nlohmann::json;

constexpr std::size_t longest_text = 200;
constexpr std::size_t most_items = 1000;

bool is_alpha(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_identifier(std::string_view text) {
  return !text.empty() && is_alpha(text.front()) &&
         std::all_of(text.begin(), text.end(), [](char c) { return is_alpha(c) || is_digit(c); });
}

bool is_module(const std::string& text) {
  const std::vector<std::string> names = split(text, '.');
  return std::all_of(names.begin(), names.end(), is_identifier);
}

bool is_class(const std::string& text) {
  return is_identifier(text);
}

bool is_self_test(const std::string& text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string::npos || !is_identifier(std::string_view(text).substr(colon + 1)))
    return false;
  return is_module(text.substr(0, colon));
}

bool is_soname(const std::string& text) {
  return text.find(".so") != std::string::npos && text.front() != '-' &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return is_alpha(c) || is_digit(c) || c == '+' || c == '-' || c == '.';
         });
}

/// Only compared with the paths that a wheel has.
bool is_library_path(const std::string& text) {
  return text.ends_with(".so") && clean_line(text) == text;
}

/// "7.0", "12.8"
bool is_major_minor(const std::string& text) {
  const std::vector<std::string> pieces = split(text, '.');
  return pieces.size() == 2 && parse_integer(pieces[0], 1, 99) && parse_integer(pieces[1], 0, 99);
}

/// "2.9.0+cu128"
bool is_version(const std::string& text) {
  return !text.empty() && is_digit(text.front()) &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return is_alpha(c) || is_digit(c) || c == '.' || c == '+' || c == '-';
         });
}

/// A member that is a text of a sane length, or "".
std::string text_of(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string())
    return {};
  const auto& text = found->get_ref<const std::string&>();
  return text.size() > longest_text ? std::string() : text;
}

std::optional<bool> truth_of(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_boolean())
    return std::nullopt;
  return found->get<bool>();
}

std::int64_t mebibytes_of(const json& op) {
  const auto found = op.find("self_test_gpu_memory");
  const bool is_size = found != op.end() && found->is_number_unsigned() && *found <= 1u << 20;
  return is_size ? found->get<std::int64_t>() : 0;
}

std::vector<std::string> sonames_of(const json& op) {
  std::vector<std::string> sonames;
  const auto found = op.find("host_needs");
  if (found == op.end() || !found->is_array())
    return sonames;
  for (const json& item : *found) {
    if (!item.is_string() || sonames.size() == most_items)
      continue;
    const auto& text = item.get_ref<const std::string&>();
    if (text.size() <= longest_text && is_soname(text))
      sonames.push_back(text);
  }
  return sonames;
}

/// Members that have not the right form are as if they were not there.
OpRecord record_of(const json& op) {
  OpRecord said;
  const auto take = [&op](const char* key, bool (*has_form)(const std::string&)) {
    const std::string text = text_of(op, key);
    return has_form(text) ? text : std::string();
  };
  said.name = text_of(op, "name");
  said.self_test = take("self_test", is_self_test);
  said.self_test_gpu_memory = mebibytes_of(op);
  said.host_needs = sonames_of(op);
  said.minimum_capability = take("minimum_compute_capability", is_major_minor);
  said.links_torch = truth_of(op, "links_torch").value_or(false);
  said.torch = take("torch", is_version);
  said.torch_cxx11_abi = truth_of(op, "torch_cxx11_abi");
  said.cuda = take("cuda", is_major_minor);
  said.cuda_check_skipped = truth_of(op, "cuda_check_skipped").value_or(false);
  said.library = take("library", is_library_path);
  said.module = take("module", is_module);
  said.builder = take("builder", is_class);
  return said;
}

}  // namespace

std::optional<std::vector<OpRecord>> read_op_records(std::string_view text) {
  const json record = json::parse(text, nullptr, false);
  if (!record.is_object())
    return std::nullopt;
  const auto ops = record.find("ops");
  if (ops == record.end() || !ops->is_array())
    return std::nullopt;
  std::vector<OpRecord> records;
  for (const json& op : *ops) {
    if (!op.is_object() || records.size() == most_items)
      continue;
    OpRecord said = record_of(op);
    if (is_identifier(said.name))
      records.push_back(std::move(said));
  }
  return records;
}

}  // namespace ds
