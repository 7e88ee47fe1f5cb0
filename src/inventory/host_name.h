// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace ds {

/// A name that is refused, and why: a name may end up in an ssh command line, a path or a report.
struct NameFault {
  std::string what;
  std::string fix;
};

/// What is wrong with a host name or address (no user@, IPv6 without brackets), or nothing.
std::optional<NameFault> host_name_fault(std::string_view name);

/// What is wrong with a login name, or nothing.
std::optional<NameFault> user_name_fault(std::string_view user);

/// "::1", "fe80::1%eth0".
bool is_ipv6(std::string_view text);

/// "[::1]" without its brackets; other text as it is.
std::string_view without_brackets(std::string_view text);

/// "[::1]" for "::1"; other text as it is.
std::string with_brackets(std::string_view text);

}  // namespace ds
