// SPDX-License-Identifier: Apache-2.0
//
// ds-deploy.result/1
// OUTPUT BYTES INPUTS          SHA-256, length of the messages, number of inputs
// MESSAGES
// HASH PATH                    for each input
// OUTPUT ...                   the one before
#include "cache/results.h"

#include <fmt/format.h>

#include <charconv>
#include <vector>

namespace ds {
namespace {

constexpr std::string_view header = "ds-deploy.result/1\n";
constexpr std::size_t digits = 64;  // of a SHA-256 in hex
constexpr std::size_t most_results = 8;

std::optional<std::string_view> take_line(std::string_view& text) {
  const std::size_t end = text.find('\n');
  if (end == std::string_view::npos)
    return std::nullopt;
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end + 1);
  return line;
}

std::optional<std::size_t> number(std::string_view text) {
  std::size_t value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || end != text.data() + text.size())
    return std::nullopt;
  return value;
}

struct Written {
  std::string_view output, messages, inputs;  ///< `inputs`: whole lines
  std::string_view whole;
  std::size_t input_count = 0;
};

/// Takes one result off the front of `text`, without looking at its inputs one by one.
std::optional<Written> take_result(std::string_view& text) {
  const std::string_view before = text;
  const std::optional<std::string_view> head = take_line(text);
  if (!head || head->size() <= digits)
    return std::nullopt;
  const std::size_t blank = head->find(' ', digits + 1);
  if ((*head)[digits] != ' ' || blank == std::string_view::npos)
    return std::nullopt;
  const std::optional<std::size_t> bytes = number(head->substr(digits + 1, blank - digits - 1));
  const std::optional<std::size_t> inputs = number(head->substr(blank + 1));
  if (!bytes || !inputs || *bytes >= text.size() || text[*bytes] != '\n')
    return std::nullopt;
  Written written;
  written.output = head->substr(0, digits);
  written.messages = text.substr(0, *bytes);
  written.input_count = *inputs;
  text.remove_prefix(*bytes + 1);
  const std::string_view from = text;
  for (std::size_t i = 0; i < *inputs; ++i) {
    if (!take_line(text))
      return std::nullopt;
  }
  written.inputs = from.substr(0, from.size() - text.size());
  written.whole = before.substr(0, before.size() - text.size());
  return written;
}

/// The first input that has not the content it had; nothing if all have.
std::optional<std::string_view> changed_input(std::string_view inputs,
                                              const Cache::HashOf& hash_of) {
  while (const std::optional<std::string_view> line = take_line(inputs)) {
    if (line->size() <= digits)
      return *line;
    const std::string_view path = line->substr(digits + 1);
    if (hash_of(path) != line->substr(0, digits))
      return path;
  }
  return std::nullopt;
}

}  // namespace

std::optional<MadeResult> find_result(std::string_view text, const Cache::HashOf& hash_of,
                                      std::string* changed) {
  if (!text.starts_with(header))
    return std::nullopt;
  text.remove_prefix(header.size());
  while (const std::optional<Written> written = take_result(text)) {
    const std::optional<std::string_view> other = changed_input(written->inputs, hash_of);
    if (!other)
      return MadeResult{std::string(written->output), std::string(written->messages)};
    if (changed != nullptr && changed->empty())
      *changed = *other;
  }
  return std::nullopt;
}

std::optional<std::string> with_result(std::string_view text, const MadeResult& result,
                                       const InputHashes& inputs) {
  std::string now(header);
  fmt::format_to(std::back_inserter(now), "{} {} {}\n{}\n", result.output, result.messages.size(),
                 inputs.size(), result.messages);
  for (const auto& [path, hash] : inputs) {
    if (path.find('\n') != std::string::npos || hash.size() != digits)
      return std::nullopt;
    fmt::format_to(std::back_inserter(now), "{} {}\n", hash, path);
  }
  const std::string newest = now.substr(header.size());
  if (text.starts_with(header))
    text.remove_prefix(header.size());
  for (std::size_t kept = 1; kept < most_results; ++kept) {
    const std::optional<Written> older = take_result(text);
    if (!older)
      break;
    if (older->whole != newest)
      now += older->whole;
  }
  return now;
}

}  // namespace ds
