// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <string_view>

namespace ds {

/// A file's bytes where the kernel keeps them: only what is looked at is read. Whoever shortens the
/// file meanwhile ends this process, so this is for files of the caller's own.
class MappedFile {
 public:
  /// Error (usage) if it cannot be read or is no regular file.
  explicit MappedFile(const std::filesystem::path& file);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::string_view bytes() const { return {start_, size_}; }

 private:
  const char* start_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace ds
