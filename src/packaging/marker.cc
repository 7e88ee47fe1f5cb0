// SPDX-License-Identifier: Apache-2.0
//
// Markers (PEP 508): comparisons with "and", "or" and brackets. What hangs on a value that is not
// known is not known, unless the other side decides.
#include "packaging/marker.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "packaging/packaging.h"

namespace ds {
namespace {

using Truth = std::optional<bool>;  ///< nothing: not known

constexpr int deepest = 100;

constexpr std::array variables = {
    "python_version",      "python_full_version",    "os_name",
    "sys_platform",        "platform_release",       "platform_system",
    "platform_version",    "platform_machine",       "platform_python_implementation",
    "implementation_name", "implementation_version", "extra"};

struct Operand {
  std::string variable;              ///< empty: a text in quotes
  std::optional<std::string> value;  ///< nothing: not known
};

std::optional<bool> compare_texts(const std::string& left, std::string_view name,
                                  const std::string& right) {
  if (name == "==" || name == "===")
    return left == right;
  if (name == "!=")
    return left != right;
  if (name == "in")
    return right.find(left) != std::string::npos;
  if (name == "not in")
    return right.find(left) == std::string::npos;
  return std::nullopt;  // an order of texts that are no versions is none
}

Truth evaluate(const Operand& left, const std::string& name, const Operand& right) {
  if (!left.value || !right.value)
    return std::nullopt;
  if (left.variable == "extra" || right.variable == "extra")
    return compare_texts(package_name(*left.value), name, package_name(*right.value));
  const bool one_version = right.value->find(',') == std::string::npos;
  if (one_version && name != "in" && name != "not in") {
    if (const Truth fits = version_fits(name + *right.value, *left.value))
      return fits;
  }
  return compare_texts(*left.value, name, *right.value);
}

/// Reads and evaluates at once; `sound` turns false where the text is no marker.
class MarkerReader {
 public:
  MarkerReader(std::string_view text, const MarkerValues& values) : rest_(text), values_(values) {}

  bool sound() const { return sound_; }

  Truth whole() {
    const Truth truth = any_of();
    skip_blanks();
    sound_ &= rest_.empty();
    return sound_ ? truth : std::nullopt;
  }

 private:
  Truth any_of() {
    Truth all = all_of();
    while (sound_ && take_word("or")) {
      const Truth next = all_of();
      if (all == true || next == true)
        all = true;
      else if (!all || !next)
        all = std::nullopt;
    }
    return all;
  }

  Truth all_of() {
    Truth all = one();
    while (sound_ && take_word("and")) {
      const Truth next = one();
      if (all == false || next == false)
        all = false;
      else if (!all || !next)
        all = std::nullopt;
    }
    return all;
  }

  Truth one() {
    skip_blanks();
    if (!rest_.starts_with('(')) {
      const Operand left = operand();
      const std::string name = comparison();
      return evaluate(left, name, operand());
    }
    rest_.remove_prefix(1);
    if (++depth_ > deepest)
      sound_ = false;
    const Truth inside = sound_ ? any_of() : std::nullopt;
    --depth_;
    skip_blanks();
    if (!rest_.starts_with(')'))
      sound_ = false;
    else
      rest_.remove_prefix(1);
    return inside;
  }

  Operand operand() {
    skip_blanks();
    if (rest_.starts_with('"') || rest_.starts_with('\'')) {
      const std::size_t end = rest_.find(rest_.front(), 1);
      if (end != std::string_view::npos) {
        const std::string text(rest_.substr(1, end - 1));
        rest_.remove_prefix(end + 1);
        return {{}, text};
      }
    }
    const std::string name(word());
    if (std::find(variables.begin(), variables.end(), name) == variables.end()) {
      sound_ = false;
      return {};
    }
    rest_.remove_prefix(name.size());
    const auto known = values_.find(name);
    return {name, known == values_.end() ? std::nullopt : std::optional(known->second)};
  }

  std::string comparison() {
    for (const char* name : {"===", "~=", "==", "!=", "<=", ">=", "<", ">"}) {
      skip_blanks();
      if (rest_.starts_with(name)) {
        rest_.remove_prefix(std::string_view(name).size());
        return name;
      }
    }
    if (take_word("in"))
      return "in";
    if (take_word("not") && take_word("in"))
      return "not in";
    sound_ = false;
    return {};
  }

  bool take_word(std::string_view wanted) {
    skip_blanks();
    if (word() != wanted)
      return false;
    rest_.remove_prefix(wanted.size());
    return true;
  }

  std::string_view word() const {
    const auto end = std::find_if_not(rest_.begin(), rest_.end(), [](char c) {
      return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
    });
    return rest_.substr(0, static_cast<std::size_t>(end - rest_.begin()));
  }

  void skip_blanks() {
    rest_.remove_prefix(std::min(rest_.find_first_not_of(" \t"), rest_.size()));
  }

  std::string_view rest_;
  const MarkerValues& values_;
  bool sound_ = true;
  int depth_ = 0;
};

}  // namespace

bool is_marker(std::string_view text) {
  const MarkerValues none;
  MarkerReader reader(text, none);
  reader.whole();
  return reader.sound();
}

std::optional<bool> marker_holds(std::string_view marker, const MarkerValues& values) {
  return MarkerReader(marker, values).whole();
}

}  // namespace ds
