// SPDX-License-Identifier: Apache-2.0
//
// deepspeed/git_version_info_installed.py: assignments of Python literals, one a line. It is read,
// never run; whatever is no such literal ends the reading of its line.
#include <algorithm>
#include <map>

#include "artifact/artifact.h"
#include "base/text.h"

namespace ds {
namespace {

constexpr std::size_t longest_text = 200;
constexpr std::size_t most_items = 1000;

/// Strings, numbers, names (True, None) and dictionaries with string keys, as far as they are told
/// apart here: a value is its text, a dictionary's entries are "key" -> text.
class LiteralReader {
 public:
  explicit LiteralReader(std::string_view text) : rest_(text) {}

  /// Empty for what is no literal, or is a dictionary, whose entries are taken.
  std::string value(std::map<std::string, std::string>& entries) {
    skip_blanks();
    if (take('{')) {
      dictionary(entries);
      return {};
    }
    return scalar();
  }

 private:
  void dictionary(std::map<std::string, std::string>& entries) {
    while (entries.size() < most_items) {
      skip_blanks();
      const std::string key = scalar();
      skip_blanks();
      if (key.empty() || !take(':'))
        return;
      skip_blanks();
      entries[key] = scalar();
      skip_blanks();
      if (!take(','))
        return;
    }
  }

  std::string scalar() {
    if (rest_.starts_with('\'') || rest_.starts_with('"')) {
      const char quote = rest_.front();
      const std::size_t end = rest_.find(quote, 1);
      if (end == std::string_view::npos)
        return {};
      const std::string text = clean_line(rest_.substr(1, end - 1), longest_text);
      rest_.remove_prefix(end + 1);
      return text;
    }
    const std::size_t end = std::min(
        rest_.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._"),
        rest_.size());
    const std::string text = clean_line(rest_.substr(0, end), longest_text);
    rest_.remove_prefix(end);
    return text;
  }

  void skip_blanks() {
    rest_.remove_prefix(std::min(rest_.find_first_not_of(" \t"), rest_.size()));
  }

  bool take(char c) {
    if (!rest_.starts_with(c))
      return false;
    rest_.remove_prefix(1);
    return true;
  }

  std::string_view rest_;
};

/// "0.0" stands for none in a record that was made without torch.
std::string version_of(const std::map<std::string, std::string>& entries, const char* key) {
  const auto found = entries.find(key);
  return found == entries.end() || found->second == "0.0" || found->second == "None"
             ? std::string()
             : found->second;
}

}  // namespace

std::optional<InstallRecord> read_install_record(std::string_view text) {
  InstallRecord record;
  bool any = false;
  for (const std::string& line : lines(std::string(text.substr(0, 1u << 20)))) {
    const std::size_t equals = line.find('=');
    if (equals == std::string::npos)
      continue;
    const std::string name(trim(std::string_view(line).substr(0, equals)));
    std::map<std::string, std::string> entries;
    const std::string value =
        LiteralReader(std::string_view(line).substr(equals + 1)).value(entries);
    if (name == "version") {
      record.version = value;
    } else if (name == "accelerator_name") {
      record.accelerator = value;
    } else if (name == "torch_info") {
      record.torch = version_of(entries, "version");
      record.cuda = version_of(entries, "cuda_version");
    } else if (name == "installed_ops") {
      any = true;
      for (const auto& [op, installed] : entries) {
        if (installed != "False" && installed != "0" && installed != "None")
          record.ops.push_back(op);
      }
    }
  }
  return any ? std::optional(record) : std::nullopt;
}

}  // namespace ds
