// SPDX-License-Identifier: Apache-2.0
#include "inventory/host_name.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace ds {
namespace {

constexpr std::size_t longest_name = 253;  // RFC 1035, as text

bool is_word_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

std::string shown(std::string_view text) {
  return clean_line(text, 80);
}

/// The first character that is not allowed, whole if it is UTF-8, in quotes.
std::string first_bad(std::string_view text, bool (*allowed)(char)) {
  const auto bad = std::find_if_not(text.begin(), text.end(), allowed);
  if (bad == text.end())
    return {};
  auto end = bad + 1;
  while (end != text.end() && (static_cast<unsigned char>(*end) & 0xC0) == 0x80)
    ++end;
  return "'" + shown(std::string_view(bad, end)) + "'";
}

NameFault colon_fault(std::string_view name) {
  const std::size_t colon = name.rfind(':');
  const std::string host(name.substr(0, colon)), port(name.substr(colon + 1));
  if (name.front() != '[' && name.find(':') != colon) {
    return {fmt::format("'{}' is no IPv6 address", shown(name)), "correct it, or use a host name"};
  }
  return {fmt::format("'{}' has a port in its name", shown(name)),
          fmt::format("write {} and, after slots=, port={}", shown(host), shown(port))};
}

}  // namespace

bool is_ipv6(std::string_view text) {
  const std::size_t percent = text.find('%');
  if (percent != std::string_view::npos) {
    const std::string_view zone = text.substr(percent + 1);
    if (zone.empty() || !std::all_of(zone.begin(), zone.end(), is_word_char))
      return false;
  }
  in6_addr address;
  return ::inet_pton(AF_INET6, std::string(text.substr(0, percent)).c_str(), &address) == 1;
}

std::string_view without_brackets(std::string_view text) {
  const bool bracketed = text.size() > 2 && text.front() == '[' && text.back() == ']';
  return bracketed && is_ipv6(text.substr(1, text.size() - 2)) ? text.substr(1, text.size() - 2)
                                                               : text;
}

std::string with_brackets(std::string_view text) {
  return is_ipv6(text) ? "[" + std::string(text) + "]" : std::string(text);
}

std::optional<NameFault> host_name_fault(std::string_view name) {
  if (name.empty())
    return NameFault{"the host name is empty", "write a name before slots="};
  if (is_ipv6(name))
    return std::nullopt;
  if (name.front() == '-') {
    return NameFault{
        fmt::format("'{}' is no host name: it begins with '-', as options do", shown(name)),
        "give the host another name and its address as addr="};
  }
  if (name.size() > longest_name) {
    return NameFault{fmt::format("'{}' is no host name: it has {} characters, {} at most",
                                 shown(name), name.size(), longest_name),
                     "use a shorter name"};
  }
  if (name.find(':') != std::string_view::npos)
    return colon_fault(name);
  const std::string bad = first_bad(name, is_word_char);
  if (bad.empty())
    return std::nullopt;
  const bool range = bad == "'['";
  return NameFault{fmt::format("'{}' is no host name: {} is not allowed in one", shown(name), bad),
                   range ? "a hostfile has no ranges: write one line for each host"
                         : "use letters, digits, '.', '_' and '-'"};
}

std::optional<NameFault> user_name_fault(std::string_view user) {
  const auto allowed = [](char c) { return is_word_char(c) || c == '@' || c == '+' || c == '$'; };
  if (user.empty())
    return NameFault{"the user name is empty", "write it as user@name or user="};
  const std::string bad = first_bad(user, allowed);
  if (user.front() == '-' || !bad.empty()) {
    return NameFault{fmt::format("'{}' is no user name: {}", shown(user),
                                 bad.empty() ? "it begins with '-', as options do"
                                             : bad + " is not allowed in one"),
                     "use letters, digits, '.', '_', '-' and '@'"};
  }
  return std::nullopt;
}

}  // namespace ds
