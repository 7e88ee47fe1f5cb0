// SPDX-License-Identifier: Apache-2.0
//
// What a policy, or a flag, says of hosts that a run would rather do without.
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "config/config.h"
#include "config/values.h"

namespace ds {
namespace {

using Treatment = Policy::Treatment;
using What = Treatment::What;

/// "leave-out", "leave-out=5%"
bool read_leave_out(std::string_view word, Treatment& into) {
  constexpr std::string_view name = "leave-out";
  if (!word.starts_with(name))
    return false;
  into.what = What::leave_out;
  if (word == name)
    return true;
  if (word[name.size()] != '=')
    return false;
  const auto most = parse_share(word.substr(name.size() + 1), 1);
  into.most = most.value_or(into.most);
  return most.has_value();
}

/// "wait=30m", "wait=30m,leave-out=5%"
bool read_wait(std::string_view word, Treatment& into) {
  constexpr std::string_view name = "wait=";
  if (!word.starts_with(name))
    return false;
  const std::size_t comma = word.find(',');
  const auto limit = parse_duration(word.substr(name.size(), comma - name.size()));
  if (!limit)
    return false;
  into.what = What::leave_out;
  into.wait = *limit;
  return comma == std::string_view::npos || read_leave_out(word.substr(comma + 1), into);
}

}  // namespace

const std::vector<TreatmentKey>& treatment_keys() {
  static const std::vector<TreatmentKey> keys = {
      {"unreachable", &Policy::unreachable, true, false,
       "hosts that give no answer or refuse the login: stop, leave-out[=N|N%], wait=TIME (stop)"},
      {"incompatible", &Policy::incompatible, false, false,
       "hosts that the audit refuses: stop, leave-out[=N|N%] (stop)"},
      {"busy", &Policy::busy, true, true,
       "hosts that a job has: proceed, stop, leave-out[=N|N%], wait=TIME (proceed)"},
      {"without_dead_man", &Policy::without_dead_man, false, true,
       "hosts that could not go back by themselves: stop, leave-out[=N|N%], proceed (stop)"}};
  return keys;
}

std::string TreatmentKey::flag() const {
  std::string flag = "--" + name;
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

std::optional<Treatment> parse_treatment(const TreatmentKey& key, std::string_view text) {
  Treatment treatment;
  if (text == "stop")
    return treatment;
  if (text == "proceed" && key.may_proceed) {
    treatment.what = What::proceed;
    return treatment;
  }
  if (read_leave_out(text, treatment) || (key.may_wait && read_wait(text, treatment)))
    return treatment;
  return std::nullopt;
}

std::string treatment_forms(const TreatmentKey& key) {
  std::string forms = "write stop, leave-out, leave-out=5 or leave-out=5%";
  if (key.may_wait)
    forms += ", wait=30m or wait=30m,leave-out=5%";
  return forms + (key.may_proceed ? ", or proceed" : "");
}

void apply_treatment(Policy& policy, const TreatmentKey& key, const std::string& text) {
  const auto treatment = parse_treatment(key, text);
  if (!treatment) {
    throw UsageError(
        fmt::format("{} is '{}', which it cannot be", key.flag(), clean_line(text, 80)),
        treatment_forms(key));
  }
  policy.*key.place = *treatment;
}

}  // namespace ds
