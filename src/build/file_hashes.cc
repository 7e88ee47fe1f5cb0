// SPDX-License-Identifier: Apache-2.0
#include "build/file_hashes.h"

#include "base/error.h"
#include "base/sha256.h"

namespace ds {
namespace {

std::string hash_of(const std::filesystem::path& file) {
  try {
    return hex(sha256_file(file));
  } catch (const Error&) {
    return {};
  }
}

}  // namespace

const std::string& FileHashes::of(const std::filesystem::path& file) {
  const auto known = known_.find(file);
  if (known != known_.end())
    return known->second;
  return known_.emplace(file, hash_of(file)).first->second;
}

}  // namespace ds
