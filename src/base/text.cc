// SPDX-License-Identifier: Apache-2.0
#include "base/text.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace ds {
namespace {

/// Length of the valid UTF-8 sequence at `text[at]` (RFC 3629), or 0.
std::size_t utf8_length(std::string_view text, std::size_t at, char32_t& code) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(at);
  std::size_t length = first < 0x80                    ? 1
                       : first >= 0xF0 && first < 0xF5 ? 4
                       : first >= 0xE0 && first < 0xF0 ? 3
                       : first >= 0xC2 && first < 0xE0 ? 2
                                                       : 0;
  if (length == 0 || at + length > text.size())
    return 0;
  code = length == 1 ? first : first & (0xFFu >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xC0) != 0x80)
      return 0;
    code = (code << 6) | (byte(at + i) & 0x3Fu);
  }
  static constexpr char32_t lowest[] = {0, 0, 0x80, 0x800, 0x10000};
  if (code < lowest[length] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
    return 0;
  return length;
}

bool is_harmful(char32_t code) {
  if (code == '\n' || code == '\t')
    return false;
  if (code < 0x20 || (code >= 0x7F && code < 0xA0))
    return true;
  // Bidirectional controls and line separators can make a line read as another one.
  return (code >= 0x202A && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069) ||
         code == 0x200E || code == 0x200F || code == 0x2028 || code == 0x2029 || code == 0xFEFF;
}

}  // namespace

std::string clean(std::string_view text, std::size_t limit) {
  std::string out;
  std::size_t at = 0;
  while (at < text.size() && out.size() < limit) {
    char32_t code = 0;
    const std::size_t length = utf8_length(text, at, code);
    if (length == 0) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[at++]));
      continue;
    }
    if (code == '\r' && at + 1 < text.size() && text[at + 1] == '\n') {
      // CRLF is a line end, nothing else
    } else if (code < 0x100 && is_harmful(code)) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned>(code));
    } else if (is_harmful(code)) {
      out += "\xEF\xBF\xBD";
    } else {
      out += text.substr(at, length);
    }
    at += length;
  }
  if (at < text.size())
    out += fmt::format("... ({} more bytes)", text.size() - at);
  return out;
}

std::string clean_line(std::string_view text, std::size_t limit) {
  std::string out = clean(trim(text), limit);
  std::replace_if(
      out.begin(), out.end(), [](char c) { return c == '\n' || c == '\t'; }, ' ');
  return out;
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view blanks = " \t\r\n\v\f";
  const std::size_t first = text.find_first_not_of(blanks);
  if (first == std::string_view::npos)
    return {};
  return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> pieces;
  std::size_t start = 0;
  for (std::size_t at = text.find(separator); at != std::string_view::npos;
       at = text.find(separator, start)) {
    pieces.emplace_back(text.substr(start, at - start));
    start = at + 1;
  }
  pieces.emplace_back(text.substr(start));
  return pieces;
}

std::vector<std::string> split_words(std::string_view text) {
  std::vector<std::string> words;
  for (std::size_t at = 0; at < text.size();) {
    while (at < text.size() && std::isspace(static_cast<unsigned char>(text[at])))
      ++at;
    const std::size_t start = at;
    while (at < text.size() && !std::isspace(static_cast<unsigned char>(text[at])))
      ++at;
    if (at > start)
      words.emplace_back(text.substr(start, at - start));
  }
  return words;
}

std::vector<std::string> lines(std::string_view text) {
  std::vector<std::string> all = split(text, '\n');
  if (!all.empty() && all.back().empty())
    all.pop_back();
  for (std::string& line : all) {
    if (!line.empty() && line.back() == '\r')
      line.pop_back();
  }
  return all;
}

std::string join(std::span<const std::string> pieces, std::string_view between) {
  return fmt::format("{}", fmt::join(pieces, between));
}

std::string some_of(const std::vector<std::string>& names) {
  if (names.size() <= 3)
    return join(names, ", ");
  return fmt::format("{}, {} and {} more", names[0], names[1], names.size() - 2);
}

std::string short_names(const std::vector<std::string>& sha256) {
  std::vector<std::string> names;
  for (const std::string& each : sha256)
    names.push_back(each.substr(0, 12));
  return join(names, "+");
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

std::optional<long> parse_integer(std::string_view text, long low, long high) {
  long value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || end != text.data() + text.size())
    return std::nullopt;
  if (value < low || value > high)
    return std::nullopt;
  return value;
}

namespace {

/// Takes the number before the first dot off `text`, without leading zeros: numbers of any length
/// compare by length, then by digits.
std::string_view next_number(std::string_view& text) {
  const std::size_t end = std::min(text.find_first_not_of("0123456789"), text.size());
  std::string_view number = text.substr(0, end);
  text =
      end > 0 && end < text.size() && text[end] == '.' ? text.substr(end + 1) : std::string_view();
  number.remove_prefix(std::min(number.find_first_not_of('0'), number.size()));
  return number;
}

/// The number that `text` begins with, 0 or more, and what stands behind it.
std::optional<double> number_before(std::string_view text, std::string_view& rest) {
  double value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || !std::isfinite(value) || value < 0)
    return std::nullopt;
  rest = text.substr(static_cast<std::size_t>(end - text.data()));
  return value;
}

/// `unit` is K, M, G, T or empty: that power of `base`.
std::optional<std::uint64_t> scaled(double value, std::string_view unit, int base) {
  constexpr std::string_view units = "KMGT";
  const std::size_t power = unit.empty() ? 0 : units.find(unit) + 1;
  if (unit.size() > 1 || (!unit.empty() && power == 0))
    return std::nullopt;
  const double scaled = value * std::pow(base, power);
  return scaled > 1e18 ? std::nullopt : std::optional(static_cast<std::uint64_t>(scaled));
}

}  // namespace

std::optional<std::uint64_t> parse_bytes(std::string_view text) {
  std::string_view unit;
  const std::optional<double> value = number_before(text, unit);
  const bool binary = unit.ends_with("iB");
  if (binary)
    unit.remove_suffix(2);
  else if (unit.ends_with('B'))
    unit.remove_suffix(1);
  if (!value || (binary && unit.empty()))
    return std::nullopt;
  return scaled(*value, unit, binary ? 1024 : 1000);
}

std::optional<std::uint64_t> parse_rate(std::string_view text) {
  std::string_view end;
  const std::optional<double> value = number_before(text, end);
  std::string unit = end.empty() ? "K" : std::string(end);
  unit[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(unit[0])));
  const std::string form = lower(unit.substr(1));
  if (!value || (!form.empty() && form != "b" && form != "ib"))
    return std::nullopt;
  const std::optional<std::uint64_t> rate =
      scaled(*value, unit.substr(0, 1), form == "b" ? 1000 : 1024);
  return rate && *value > 0 && *rate < 1024 ? std::nullopt : rate;
}

int compare_versions(std::string_view left, std::string_view right) {
  while (!left.empty() || !right.empty()) {
    const std::string_view a = next_number(left), b = next_number(right);
    if (a.size() != b.size())
      return a.size() < b.size() ? -1 : 1;
    if (a != b)
      return a < b ? -1 : 1;
  }
  return 0;
}

bool starts_with_any(std::string_view text, std::initializer_list<std::string_view> starts) {
  return std::any_of(starts.begin(), starts.end(),
                     [text](std::string_view start) { return text.starts_with(start); });
}

std::string major_minor(const std::string& version) {
  const std::vector<std::string> pieces = split(version, '.');
  return pieces.size() < 2 ? version : pieces[0] + "." + pieces[1];
}

namespace {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({substituted, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

std::optional<std::string> did_you_mean(std::string_view word,
                                        std::span<const std::string> candidates) {
  std::optional<std::string> best;
  std::size_t best_distance = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(lower(word), lower(candidate));
    if (distance < best_distance && distance < candidate.size()) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

std::string suggestion(std::string_view word, std::span<const std::string> candidates) {
  const std::optional<std::string> best = did_you_mean(word, candidates);
  return best ? fmt::format("did you mean '{}'?", *best) : std::string();
}

std::string shell_quote(std::string_view word) {
  constexpr std::string_view safe =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./-_";
  if (!word.empty() && word.find_first_not_of(safe) == std::string_view::npos) {
    return std::string(word);
  }
  std::string out = "'";
  for (char c : word) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      out += c;
    }
  }
  return out + "'";
}

std::string shell_path(std::string_view path) {
  return path.starts_with("~/") ? "\"$HOME\"/" + shell_quote(path.substr(2)) : shell_quote(path);
}

std::string count(std::size_t number, std::string_view noun) {
  return fmt::format("{} {}{}", number, noun, number == 1 ? "" : "s");
}

std::string human_bytes(std::uint64_t bytes) {
  if (bytes < 1000)
    return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes);
  for (const char* unit : {"kB", "MB", "GB"}) {
    value /= 1000;
    if (value < 999.95)
      return fmt::format("{:.1f} {}", value, unit);
  }
  return fmt::format("{:.1f} TB", value / 1000);
}

std::string utc_time(std::int64_t at) {
  constexpr std::int64_t year_9999 = 253402300799;
  return at <= 0 || at > year_9999 ? std::string()
                                   : fmt::format("{:%Y-%m-%d %H:%M:%S}", fmt::gmtime(at));
}

std::string human_seconds(double seconds) {
  if (seconds < 60)
    return fmt::format("{:.1f} s", seconds);
  const long whole = static_cast<long>(seconds);
  return fmt::format("{} min {:02} s", whole / 60, whole % 60);
}

bool glob_match(const std::string& pattern, const std::string& text) {
  return ::fnmatch(pattern.c_str(), text.c_str(), 0) == 0;
}

std::string render(std::string_view text, std::span<const Replacement> replacements) {
  std::string out(text);
  for (const Replacement& replacement : replacements) {
    const std::string mark = "@" + replacement.name + "@";
    std::size_t at = out.find(mark);
    if (at == std::string::npos)
      throw Error("a template has no place for " + mark);
    while (at != std::string::npos) {
      out.replace(at, mark.size(), replacement.value);
      at = out.find(mark, at + replacement.value.size());
    }
  }
  return out;
}

}  // namespace ds
