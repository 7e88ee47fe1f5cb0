// SPDX-License-Identifier: Apache-2.0
#include "support/fleet/fault.h"

#include <charconv>
#include <map>

namespace fleet {
namespace {

struct Word {
  Fault::Kind kind;
  long fallback;  ///< the number when none is given; -1: it must be given
};

const std::map<std::string, Word>& words() {
  using Kind = Fault::Kind;
  static const std::map<std::string, Word> words = {
      {"refuse", {Kind::refuse, 0}},   {"drop", {Kind::drop, 0}},
      {"never", {Kind::never, 0}},     {"banner", {Kind::banner, 0}},
      {"close", {Kind::close, 0}},     {"startups", {Kind::startups, 0}},
      {"penalty", {Kind::penalty, 0}}, {"reset", {Kind::reset, -1}},
      {"stall", {Kind::stall, -1}},    {"slow", {Kind::slow, -1}},
      {"rate", {Kind::rate, -1}},      {"hang", {Kind::hang, 0}},
      {"kill", {Kind::kill, 200}},
  };
  return words;
}

}  // namespace

std::optional<Fault> parse_fault(const std::string& text) {
  const size_t colon = text.find(':');
  const auto word = words().find(text.substr(0, colon));
  if (word == words().end())
    return std::nullopt;
  Fault fault{word->second.kind, word->second.fallback};
  if (colon != std::string::npos) {
    const char* begin = text.data() + colon + 1;
    const char* end = text.data() + text.size();
    fault.after_keys = fault.counts_bytes() && *begin == '+';
    const auto [rest, error] = std::from_chars(begin + fault.after_keys, end, fault.number);
    if (error != std::errc() || rest != end)
      return std::nullopt;
  }
  if (fault.number < 0 || (fault.kind == Fault::Kind::rate && fault.number == 0))
    return std::nullopt;
  return fault;
}

}  // namespace fleet
