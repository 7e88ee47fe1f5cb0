// SPDX-License-Identifier: Apache-2.0
//
// Writes wheels (libzip) and reads any wheel (libarchive). Format: "Binary distribution format",
// packaging.python.org; PEP 427, PEP 440 local versions.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace ds {

struct WheelFile {
  std::string path;     ///< inside the wheel, '/' separated
  std::string content;  ///< used when `source` is empty
  std::filesystem::path source;
  bool executable = false;  ///< 0755, else 0644
};

struct WheelSpec {
  std::string name;     ///< "ds_ops"
  std::string version;  ///< "0.1.0+g1a2b3c4d5.cpu", already normalised
  std::string tag;      ///< "py3-none-linux_x86_64"
  std::string summary;
  std::string metadata;              ///< METADATA of this project, whose Version becomes `version`;
                                     ///< empty: ours, with `summary`
  std::vector<WheelFile> files;      ///< without dist-info
  std::vector<WheelFile> data;       ///< paths relative to the .data folder: "scripts/run"
  std::vector<WheelFile> dist_info;  ///< extra files of .dist-info, paths relative to it
};

/// Writes `<folder>/<name>-<version>-<tag>.whl` with METADATA, WHEEL, RECORD and, unless
/// `dist_info` has one, top_level.txt. Same spec, same bytes, whatever TZ, umask or input order
/// (SOURCE_DATE_EPOCH is respected). A file with the same bytes that is there already is left
/// untouched. Appears by rename. Returns the path.
std::filesystem::path write_wheel(const WheelSpec& spec, const std::filesystem::path& folder);

struct WheelEntry {
  std::string path;
  std::uint64_t size = 0;
  int mode = 0644;     ///< 0755 where the archive has any x bit
  std::string sha256;  ///< hex, of the content as it is in the archive
  bool operator==(const WheelEntry&) const = default;
};

/// A wheel that was read whole once and found sound.
struct Wheel {
  std::filesystem::path file;
  std::string sha256;  ///< hex, of the file
  std::uint64_t bytes = 0;
  std::string name, version;               ///< from the file name
  std::string tag;                         ///< "py3-none-linux_x86_64"
  std::string requires_python;             ///< METADATA, or empty
  std::vector<std::string> requires_dist;  ///< METADATA: "einops", "hjson>=3; extra == 'dev'"
  std::string dist_info;                   ///< "ds_ops-0.1.0.dist-info"
  std::vector<WheelEntry> entries;         ///< sorted by path
};

/// Error (key_refused when RECORD and content differ, else usage) for a file that is no wheel, is
/// damaged, has names that climb, repeat or link, or does not match its own RECORD.
Wheel open_wheel(const std::filesystem::path& file);

/// "Ds.Ops" -> "ds_ops", as in file names: equal for one distribution.
std::string normalised_name(std::string_view name);

/// Calls `visit(entry, content)` for each file of the wheel, one at a time.
void read_wheel(const Wheel& wheel,
                const std::function<void(const WheelEntry&, std::string_view)>& visit);

}  // namespace ds
