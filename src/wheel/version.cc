// SPDX-License-Identifier: Apache-2.0
//
// Versions as PEP 440 spells them; appendix B of the specification is the grammar.
#include <algorithm>
#include <initializer_list>
#include <vector>

#include "base/text.h"
#include "wheel/wheel_name.h"

namespace ds {
namespace {

constexpr std::size_t longest_version = 200;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_separator(char c) {
  return c == '-' || c == '_' || c == '.';
}

/// Numbers lose their leading zeros; an absent number is 0.
std::string plain_number(std::string_view digits) {
  const std::size_t first = digits.find_first_not_of('0');
  return first == std::string_view::npos ? "0" : std::string(digits.substr(first));
}

class VersionReader {
 public:
  explicit VersionReader(std::string_view text) : text_(text) {}

  std::optional<std::string> normalised() {
    take("v");
    std::string first = digits();
    if (!first.empty() && take("!")) {
      if (plain_number(first) != "0")
        out_ = plain_number(first) + "!";
      first = digits();
    }
    if (first.empty())
      return std::nullopt;
    out_ += plain_number(first);
    while (peek() == '.' && is_digit(peek(1))) {
      take(".");
      out_ += "." + plain_number(digits());
    }
    pre_release();
    post_release();
    if (!word({"dev"}).empty())
      out_ += ".dev" + number();
    if (take("+") && !local())
      return std::nullopt;
    if (at_ != text_.size())
      return std::nullopt;
    return out_;
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
    out_ += (early ? std::string(1, phase.front()) : "rc") + number();
  }

  void post_release() {
    if (peek() == '-' && is_digit(peek(1))) {
      out_ += ".post" + number();
    } else if (!word({"post", "rev", "r"}).empty()) {
      out_ += ".post" + number();
    }
  }

  bool local() {
    std::string rest(text_.substr(at_));
    at_ = text_.size();
    std::replace_if(rest.begin(), rest.end(), is_separator, '.');
    std::vector<std::string> pieces = split(rest, '.');
    for (std::string& piece : pieces) {
      const bool letters_and_digits = std::all_of(
          piece.begin(), piece.end(), [](char c) { return is_digit(c) || (c >= 'a' && c <= 'z'); });
      if (piece.empty() || !letters_and_digits)
        return false;
      if (std::all_of(piece.begin(), piece.end(), is_digit))
        piece = plain_number(piece);
    }
    out_ += "+" + join(pieces, ".");
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::string out_;
};

}  // namespace

std::optional<std::string> normalised_version(std::string_view version) {
  if (version.size() > longest_version)
    return std::nullopt;
  const std::string text = lower(version);
  return VersionReader(text).normalised();
}

}  // namespace ds
