// SPDX-License-Identifier: Apache-2.0
//
// Versions as PEP 440 spells and orders them; appendix B of the specification is the grammar.
#include <algorithm>
#include <initializer_list>

#include "base/text.h"
#include "packaging/packaging.h"

namespace ds {
namespace {

constexpr std::size_t longest_version = 200;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_separator(char c) {
  return c == '-' || c == '_' || c == '.';
}
bool is_number(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_digit);
}

/// Numbers lose their leading zeros; an absent number is 0.
std::string plain_number(std::string_view digits) {
  const std::size_t first = digits.find_first_not_of('0');
  return first == std::string_view::npos ? "0" : std::string(digits.substr(first));
}

class VersionReader {
 public:
  explicit VersionReader(std::string_view text) : text_(text) {}

  std::optional<PackageVersion> read() {
    take("v");
    std::string first = digits();
    if (!first.empty() && take("!")) {
      version_.epoch = plain_number(first);
      first = digits();
    }
    if (first.empty())
      return std::nullopt;
    version_.release.push_back(plain_number(first));
    while (peek() == '.' && is_digit(peek(1))) {
      take(".");
      version_.release.push_back(plain_number(digits()));
    }
    pre_release();
    post_release();
    if (!word({"dev"}).empty())
      version_.dev = number();
    if (take("+") && !local())
      return std::nullopt;
    if (at_ != text_.size())
      return std::nullopt;
    return version_;
  }

 private:
  char peek(std::size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }

  bool take(std::string_view what) {
    if (!text_.substr(at_).starts_with(what))
      return false;
    at_ += what.size();
    return true;
  }

  std::string digits() {
    const std::size_t start = at_;
    while (is_digit(peek()))
      ++at_;
    return std::string(text_.substr(start, at_ - start));
  }

  /// One of `words`, a separator may stand before it; empty and nothing taken if none is there.
  std::string_view word(std::initializer_list<std::string_view> words) {
    const std::size_t start = at_;
    if (is_separator(peek()))
      ++at_;
    for (const std::string_view candidate : words) {
      if (take(candidate))
        return candidate;
    }
    at_ = start;
    return {};
  }

  std::string number() {
    if (is_separator(peek()) && is_digit(peek(1)))
      ++at_;
    return plain_number(digits());
  }

  void pre_release() {
    const std::string_view phase = word({"alpha", "a", "beta", "b", "preview", "pre", "rc", "c"});
    if (phase.empty())
      return;
    const bool early = phase.front() == 'a' || phase.front() == 'b';
    version_.phase = early ? std::string(1, phase.front()) : "rc";
    version_.pre = number();
  }

  void post_release() {
    if (peek() == '-' && is_digit(peek(1))) {
      version_.post = number();
    } else if (!word({"post", "rev", "r"}).empty()) {
      version_.post = number();
    }
  }

  bool local() {
    std::string rest(text_.substr(at_));
    at_ = text_.size();
    std::replace_if(rest.begin(), rest.end(), is_separator, '.');
    for (std::string& piece : split(rest, '.')) {
      const bool letters_and_digits = std::all_of(
          piece.begin(), piece.end(), [](char c) { return is_digit(c) || (c >= 'a' && c <= 'z'); });
      if (piece.empty() || !letters_and_digits)
        return false;
      version_.local.push_back(is_number(piece) ? plain_number(piece) : piece);
    }
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  PackageVersion version_;
};

std::weak_ordering by_number(std::string_view left, std::string_view right) {
  return left.size() != right.size() ? left.size() <=> right.size() : left <=> right;
}

std::weak_ordering by_release(const std::vector<std::string>& left,
                              const std::vector<std::string>& right) {
  static const std::string zero = "0";
  for (std::size_t i = 0; i < std::max(left.size(), right.size()); ++i) {
    const std::weak_ordering order = by_number(i < left.size() ? left[i] : zero,  //
                                               i < right.size() ? right[i] : zero);
    if (order != 0)
      return order;
  }
  return std::weak_ordering::equivalent;
}

/// Where a version without a part stands against those with it.
enum class Absent { first, last };

std::weak_ordering by_part(const std::optional<std::string>& left,
                           const std::optional<std::string>& right, Absent absent) {
  if (left && right)
    return by_number(*left, *right);
  if (left.has_value() == right.has_value())
    return std::weak_ordering::equivalent;
  return left.has_value() == (absent == Absent::first) ? std::weak_ordering::greater
                                                       : std::weak_ordering::less;
}

/// 1.0.dev1 comes before 1.0a1, which comes before 1.0 and 1.0.post1.
int phase_rank(const PackageVersion& version) {
  if (!version.phase.empty())
    return version.phase == "a" ? 1 : version.phase == "b" ? 2 : 3;
  return version.dev && !version.post ? 0 : 4;
}

/// Numbers come after words, and what is longer after its own beginning.
std::weak_ordering by_local(const std::vector<std::string>& left,
                            const std::vector<std::string>& right) {
  for (std::size_t i = 0; i < std::min(left.size(), right.size()); ++i) {
    const bool number = is_number(left[i]);
    if (number != is_number(right[i]))
      return number ? std::weak_ordering::greater : std::weak_ordering::less;
    const std::weak_ordering order =
        number ? by_number(left[i], right[i]) : std::weak_ordering(left[i] <=> right[i]);
    if (order != 0)
      return order;
  }
  return left.size() <=> right.size();
}

}  // namespace

std::string PackageVersion::text() const {
  std::string text = epoch == "0" ? "" : epoch + "!";
  text += join(release, ".");
  if (!phase.empty())
    text += phase + pre;
  if (post)
    text += ".post" + *post;
  if (dev)
    text += ".dev" + *dev;
  return local.empty() ? text : text + "+" + join(local, ".");
}

std::optional<PackageVersion> parse_version(std::string_view text) {
  const std::string_view trimmed = trim(text);
  if (trimmed.size() > longest_version)
    return std::nullopt;
  const std::string plain = lower(trimmed);
  return VersionReader(plain).read();
}

std::weak_ordering compare(const PackageVersion& left, const PackageVersion& right) {
  const std::weak_ordering parts[] = {by_number(left.epoch, right.epoch),
                                      by_release(left.release, right.release),
                                      phase_rank(left) <=> phase_rank(right),
                                      by_number(left.pre, right.pre),
                                      by_part(left.post, right.post, Absent::first),
                                      by_part(left.dev, right.dev, Absent::last),
                                      by_local(left.local, right.local)};
  for (const std::weak_ordering order : parts) {
    if (order != 0)
      return order;
  }
  return std::weak_ordering::equivalent;
}

std::string package_name(std::string_view name) {
  std::string plain;
  for (const char c : lower(name)) {
    if (!is_separator(c))
      plain += c;
    else if (!plain.ends_with('-'))
      plain += '-';
  }
  return plain;
}

}  // namespace ds
