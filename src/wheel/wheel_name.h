// SPDX-License-Identifier: Apache-2.0
//
// Names inside and outside of a wheel: file name components (binary distribution format), versions
// (PEP 440), paths of the archive.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace ds {

struct WheelName {
  std::string name, version, build, tag;
};

/// "ds_ops-0.1.0-py3-none-any.whl" taken apart; nothing if it is no wheel name.
std::optional<WheelName> parse_wheel_name(std::string_view file_name);

/// "1.0-RC1+Cu_130" -> "1.0rc1+cu.130"; nothing if it is no version.
std::optional<std::string> normalised_version(std::string_view version);

/// True for "py3-none-linux_x86_64": three components, each a set with dots between.
bool is_tag(std::string_view tag);

/// Why this path must not be unpacked ("it leaves the wheel"), or empty.
std::string path_problem(std::string_view path);

}  // namespace ds
