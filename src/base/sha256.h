// SPDX-License-Identifier: Apache-2.0
//
// SHA-256 (FIPS 180-4) by OpenSSL's EVP, and its two spellings: hex, and the unpadded URL-safe
// base64 of RECORD files (binary distribution format specification).
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace ds {

using Digest = std::array<std::uint8_t, 32>;

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  void update(std::string_view bytes);
  Digest so_far() const;
  Digest finish();  ///< call once

 private:
  struct State;
  std::unique_ptr<State> state_;
};

Digest sha256(std::string_view bytes);
Digest sha256_file(const std::filesystem::path& file);  ///< Error if it cannot be read
/// Of the first N bytes of `file`, for each N of `sizes` that is not more than it has.
std::map<std::uint64_t, Digest> sha256_beginnings(const std::filesystem::path& file,
                                                  const std::set<std::uint64_t>& sizes);
/// Of the first `size` bytes of `file`, of the next, and so on; the last part may be shorter.
std::vector<Digest> sha256_parts(const std::filesystem::path& file, std::uint64_t size);
std::string hex(const Digest& digest);
std::string hex(std::string_view bytes);
std::string base64url(const Digest& digest);  ///< without '='
std::string sha256_hex(std::string_view bytes);

}  // namespace ds
