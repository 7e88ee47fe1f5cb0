// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "base/error.h"

namespace ds {

[[noreturn]] inline void refuse_binary(const std::string& path, const std::string& why) {
  throw Error(path + ": " + why, "build or fetch the file again", ExitStatus::usage);
}

/// Little-endian numbers out of foreign bytes. A place outside of them is an Error (usage).
class Bytes {
 public:
  Bytes(std::string_view bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  std::uint64_t size() const { return bytes_.size(); }
  std::uint16_t u16(std::uint64_t at) const { return number<std::uint16_t>(at); }
  std::uint32_t u32(std::uint64_t at) const { return number<std::uint32_t>(at); }
  std::uint64_t u64(std::uint64_t at) const { return number<std::uint64_t>(at); }

  std::string_view slice(std::uint64_t at, std::uint64_t length) const {
    if (at > bytes_.size() || length > bytes_.size() - at) {
      refuse_binary(path_, "it is damaged: something lies outside of the file");
    }
    return bytes_.substr(at, length);
  }

 private:
  template <typename Number>
  Number number(std::uint64_t at) const {
    static_assert(std::endian::native == std::endian::little);
    Number value = 0;
    std::memcpy(&value, slice(at, sizeof value).data(), sizeof value);
    return value;
  }

  std::string_view bytes_;
  const std::string& path_;
};

}  // namespace ds
