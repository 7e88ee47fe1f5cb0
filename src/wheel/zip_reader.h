// SPDX-License-Identifier: Apache-2.0
//
// Hands out the regular files of a zip archive and refuses everything that must not be unpacked.
// Errors (usage) name file, entry, reason and what to do.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace ds {

class ZipReader {
 public:
  using Sink = std::function<void(std::string_view block)>;

  explicit ZipReader(const std::filesystem::path& file);
  ~ZipReader();

  std::uint64_t bytes() const;  ///< of the archive
  std::string sha256() const;   ///< hex, of the archive

  bool next();  ///< to the next file; folders are passed over; false at the end
  const std::string& path() const;
  int mode() const;             ///< 0755 where the archive has any x bit, else 0644
  void read(const Sink& sink);  ///< the content of the file, in order

 private:
  class Archive;
  std::unique_ptr<Archive> archive_;
};

}  // namespace ds
