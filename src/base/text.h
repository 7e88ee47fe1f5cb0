// SPDX-License-Identifier: Apache-2.0
//
// Text without a subject: splitting, quoting, cleaning, counting.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ds {

/// The one place where foreign text becomes harmless. Whatever a host, a compiler or a file says
/// passes here before it meets a terminal, HTML, JUnit or a log: control characters, C1 bytes,
/// invalid UTF-8 and bidirectional overrides become `\xNN` or U+FFFD; newline and tab stay.
/// At most `limit` bytes are kept; then "... (N more bytes)" is added.
std::string clean(std::string_view text, std::size_t limit = 64 * 1024);

/// clean() on one line: newlines and tabs become a space, ends are trimmed.
std::string clean_line(std::string_view text, std::size_t limit = 400);

std::string_view trim(std::string_view text);
std::vector<std::string> split(std::string_view text, char separator);  ///< keeps empty pieces
std::vector<std::string> split_words(std::string_view text);            ///< at runs of blanks
std::vector<std::string> lines(std::string_view text);                  ///< CRLF counts as LF
std::string join(std::span<const std::string> pieces, std::string_view between);
/// "n1, n2 and 5 more"
std::string some_of(const std::vector<std::string>& names);
/// SHA-256 of releases as people read them: "0123456789ab", several: "+"; none: "".
std::string short_names(const std::vector<std::string>& sha256);
std::string lower(std::string_view text);

/// A whole decimal number in [low, high], or nothing.
std::optional<long> parse_integer(std::string_view text, long low, long high);

/// "500M", "16G", "1.5GiB", "0": bytes; K, M, G, T are powers of 1000, with "iB" of 1024.
std::optional<std::uint64_t> parse_bytes(std::string_view text);
/// "500", "20M", "1.5g", "10MB", "0": bytes in a second, as rsync --bwlimit has them: KiB, or with
/// K, M, G, T powers of 1024, with "B" behind them of 1000. Nothing also for less than 1 KiB but 0.
std::optional<std::uint64_t> parse_rate(std::string_view text);

/// Compares dotted version numbers piece by piece as numbers: "2.9" < "2.17". Pieces that are
/// absent count as 0, text after the first character that is no digit or dot is ignored.
int compare_versions(std::string_view left, std::string_view right);

bool starts_with_any(std::string_view text, std::initializer_list<std::string_view> starts);

/// "2.11" of "2.11.0+cu130"; a version without a dot as it is.
std::string major_minor(const std::string& version);

/// The candidate nearest to `word` by edit distance, if near enough to be a slip of the finger.
std::optional<std::string> did_you_mean(std::string_view word,
                                        std::span<const std::string> candidates);

/// "did you mean 'x'?" or nothing.
std::string suggestion(std::string_view word, std::span<const std::string> candidates);

/// One word of a POSIX shell command.
std::string shell_quote(std::string_view word);

/// shell_quote() of a path on a host, whose leading `~/` stands for the login's home folder there.
std::string shell_path(std::string_view path);

/// "1 host", "3 hosts".
std::string count(std::size_t number, std::string_view noun);
std::string human_bytes(std::uint64_t bytes);  ///< "41.2 MB", powers of 1000
std::string human_seconds(double seconds);     ///< "0.4 s", "2 min 05 s"
/// Seconds since 1970 as "2026-11-24 03:15:00", UTC; empty for what is no time up to the year 9999:
/// clocks of hosts may say anything.
std::string utc_time(std::int64_t at);

/// Matches `*`, `?` and `[...]` as fnmatch(3) does.
bool glob_match(const std::string& pattern, const std::string& text);

/// Fills `@NAME@` in a template. A name that is missing or never used is an Error: templates and
/// their callers cannot drift apart.
struct Replacement {
  std::string name;
  std::string value;
};
std::string render(std::string_view text, std::span<const Replacement> replacements);

/// A text of the folder templates/, embedded at build time. Unknown names are an Error.
std::string_view template_text(std::string_view name);

}  // namespace ds
