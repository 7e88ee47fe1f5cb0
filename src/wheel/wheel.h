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

#include "base/fd.h"

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

enum class StreamPacking { none, zstd };

/// The contents of some files of a wheel, one after the other: what a host gets that lacks these.
struct WheelStream {
  std::vector<std::size_t> files;  ///< where in Wheel::entries, in the stream's order
  StreamPacking packing = StreamPacking::none;
  std::uint64_t bytes = 0;     ///< of the stream as it is sent
  std::string sha256;          ///< hex, of these bytes
  std::filesystem::path file;  ///< holds them, as long as `content` is open; in no folder
  Fd content;
};

/// Of those entries for which `wanted` is true. The order is that of the archive, so that this
/// reads it once and holds no file whole. The same wheel, files, packing and libzstd give the same
/// bytes: a stream that was cut can go on in another run. `folder` must have room for it. Error
/// (usage) if the wheel changed since it was opened.
WheelStream make_stream(const Wheel& wheel, const std::vector<bool>& wanted, StreamPacking packing,
                        const std::filesystem::path& folder);

}  // namespace ds
