// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "base/file.h"
#include "support/shell.h"
#include "wheel/wheel.h"

namespace ds {

/// Bytes that pack to half, and are the same for one seed.
inline std::string seeded_bytes(unsigned seed, std::size_t size) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  for (char& byte : bytes)
    byte = static_cast<char>(random() & 15);
  return bytes;
}

/// A wheel of the package demo with an "op" of `size` seeded bytes for each name.
inline Wheel seeded_wheel(const TempDir& folder, const std::string& version,
                          const std::map<std::string, unsigned>& ops, std::size_t size) {
  WheelSpec spec;
  spec.name = "demo";
  spec.version = version;
  spec.tag = "py3-none-linux_x86_64";
  spec.summary = "a package for tests";
  spec.files = {{"demo/__init__.py", "def self_test():\n    pass\n", {}, false}};
  for (const auto& [name, seed] : ops)
    spec.files.push_back({"demo/" + name + ".so", seeded_bytes(seed, size), {}, true});
  return open_wheel(write_wheel(spec, folder.path()));
}

/// For each entry of the wheel, whether its path ends with one of these.
inline std::vector<bool> only(const Wheel& wheel, const std::vector<std::string>& endings) {
  std::vector<bool> wanted;
  for (const WheelEntry& entry : wheel.entries) {
    wanted.push_back(
        std::any_of(endings.begin(), endings.end(),
                    [&entry](const std::string& ending) { return entry.path.ends_with(ending); }));
  }
  return wanted;
}

/// How a wheel travels to the hosts of these tests, which are this machine.
inline StreamPacking packing_here() {
  static const bool zstd = shell("command -v zstd").status == 0;
  return zstd ? StreamPacking::zstd : StreamPacking::none;
}

inline WheelStream stream_of(const Wheel& wheel, const std::vector<bool>& wanted,
                             StreamPacking packing = packing_here()) {
  return make_stream(wheel, wanted, packing, std::filesystem::temp_directory_path());
}

/// What brings those files whose paths end so.
inline WheelStream stream_with(const Wheel& wheel, const std::vector<std::string>& endings) {
  return stream_of(wheel, only(wheel, endings));
}

inline WheelStream stream_of(const Wheel& wheel, StreamPacking packing = packing_here()) {
  return stream_of(wheel, std::vector<bool>(wheel.entries.size(), true), packing);
}

}  // namespace ds
