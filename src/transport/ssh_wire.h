// SPDX-License-Identifier: Apache-2.0
//
// Numbers and strings as SSH writes them (RFC 4251, section 5).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ds {

/// Takes a number of 32 bits off the front.
inline std::optional<std::uint32_t> take_number(std::string_view& rest) {
  if (rest.size() < 4)
    return std::nullopt;
  std::uint32_t number = 0;
  for (std::size_t i = 0; i < 4; ++i)
    number = number << 8 | static_cast<unsigned char>(rest[i]);
  rest.remove_prefix(4);
  return number;
}

/// Takes a string (length, bytes) off the front.
inline std::optional<std::string_view> take_string(std::string_view& rest) {
  const std::optional<std::uint32_t> length = take_number(rest);
  if (!length || *length > rest.size())
    return std::nullopt;
  const std::string_view taken = rest.substr(0, *length);
  rest.remove_prefix(*length);
  return taken;
}

inline void put_number(std::string& into, std::size_t number) {
  for (int shift = 24; shift >= 0; shift -= 8)
    into += static_cast<char>(number >> shift & 0xff);
}

inline void put_string(std::string& into, std::string_view bytes) {
  put_number(into, bytes.size());
  into += bytes;
}

}  // namespace ds
