// SPDX-License-Identifier: Apache-2.0
//
// Numbers of hosts and times, as policies and flags say them.
#include <algorithm>

#include "base/text.h"
#include "config/config.h"
#include "config/values.h"

namespace ds {
namespace {

using std::chrono::seconds;

std::size_t hosts_of(Policy::Share share, std::size_t hosts) {
  const auto number = static_cast<std::size_t>(share.number);
  return share.percent ? hosts * number / 100 : std::min(number, hosts);
}

}  // namespace

std::optional<Policy::Share> parse_share(std::string_view text, int least) {
  const bool percent = text.ends_with('%');
  const std::string_view digits = text.substr(0, text.size() - (percent ? 1 : 0));
  const auto number = parse_integer(digits, least, percent ? 100 : most_policy_hosts);
  if (!number)
    return std::nullopt;
  return Policy::Share{static_cast<int>(*number), percent};
}

std::optional<seconds> parse_duration(std::string_view text) {
  if (text.empty())
    return std::nullopt;
  const char unit = text.back();
  const int factor = unit == 'h' ? 3600 : unit == 'm' ? 60 : 1;
  if (unit == 's' || unit == 'm' || unit == 'h')
    text.remove_suffix(1);
  const auto number = parse_integer(text, 1, longest_policy_time.count() / factor);
  return number ? std::optional(seconds(*number * factor)) : std::nullopt;
}

std::size_t Policy::most_in_flight(std::size_t hosts) const {
  return std::max<std::size_t>(hosts_of(max_in_flight, hosts), 1);
}

std::size_t Policy::most_unavailable(std::size_t hosts) const {
  return std::max<std::size_t>(hosts_of(max_unavailable, hosts), 1);
}

std::size_t Policy::most_failures(std::size_t hosts) const {
  return hosts_of(max_failures, hosts);
}

std::size_t Policy::most_shared_failures(std::size_t hosts) const {
  return hosts_of(shared_failures, hosts);
}

std::vector<std::size_t> Policy::wave_sizes(std::size_t hosts) const {
  std::vector<std::size_t> sizes;
  for (const Share& wave : waves)
    sizes.push_back(std::max<std::size_t>(hosts_of(wave, hosts), 1));
  return sizes;
}

std::size_t Policy::most_left_out(const Treatment& treatment, std::size_t hosts) const {
  return treatment.what == Treatment::What::leave_out ? hosts_of(treatment.most, hosts) : 0;
}

}  // namespace ds
