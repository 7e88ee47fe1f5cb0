// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <string>

namespace ds {

/// SHA-256 of files, in hex; each file is read once, until it is forgotten.
class FileHashes {
 public:
  /// "" if the file is not there or cannot be read.
  const std::string& of(const std::filesystem::path& file);
  void forget(const std::filesystem::path& file) { known_.erase(file); }

 private:
  std::map<std::filesystem::path, std::string> known_;
};

}  // namespace ds
