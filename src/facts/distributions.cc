// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "facts/facts.h"

namespace ds {
namespace {

constexpr std::size_t longest = 200;
constexpr std::size_t most = 5000;

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= longest &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
         });
}

bool is_version(std::string_view text) {
  return !text.empty() && text.size() <= longest &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

}  // namespace

void Distributions::add(std::string_view name, std::string_view version) {
  if (count_ == most || !is_name(name) || !is_version(version) || find(name))
    return;
  text_.append(name).append(" ").append(version).append("\n");
  ++count_;
}

std::optional<std::string> Distributions::find(std::string_view name) const {
  const std::string line = std::string(name) + " ";
  for (std::size_t at = 0; at < text_.size(); at = text_.find('\n', at) + 1) {
    if (text_.compare(at, line.size(), line) == 0)
      return text_.substr(at + line.size(), text_.find('\n', at) - at - line.size());
  }
  return std::nullopt;
}

std::vector<std::pair<std::string, std::string>> Distributions::all() const {
  std::vector<std::pair<std::string, std::string>> all;
  for (std::size_t at = 0; at < text_.size(); at = text_.find('\n', at) + 1) {
    const std::size_t blank = text_.find(' ', at), end = text_.find('\n', at);
    all.emplace_back(text_.substr(at, blank - at), text_.substr(blank + 1, end - blank - 1));
  }
  return all;
}

}  // namespace ds
