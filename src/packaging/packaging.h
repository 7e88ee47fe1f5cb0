// SPDX-License-Identifier: Apache-2.0
//
// Names, versions and requirements as Python's packages write them: PEP 503 (names), PEP 440
// (versions and specifiers), PEP 508 (requirements and markers). Pure.
#pragma once

#include <compare>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ds {

/// "Ds.Ops_x" -> "ds-ops-x": equal for one distribution.
std::string package_name(std::string_view name);

/// A version, taken apart. Numbers are texts without leading zeros: they may be of any length.
struct PackageVersion {
  std::string epoch = "0";
  std::vector<std::string> release;
  std::string phase, pre;  ///< "a", "b" or "rc", and its number; empty: none
  std::optional<std::string> post, dev;
  std::vector<std::string> local;

  bool is_prerelease() const { return !phase.empty() || dev.has_value(); }
  std::string text() const;  ///< normalised: "1.0rc1.post2.dev3+cu.130"
};

/// Nothing if it is no version.
std::optional<PackageVersion> parse_version(std::string_view text);

/// The order of PEP 440: 1.0.dev1 < 1.0a1 < 1.0 == 1.0.0 < 1.0+x < 1.0.post1 < 1!0.1.
std::weak_ordering compare(const PackageVersion& left, const PackageVersion& right);

/// Does ">=3.8,<4" hold for what is installed? So a pre-release counts as what it is. Nothing if
/// either cannot be read.
std::optional<bool> version_fits(std::string_view specifiers, std::string_view version);

/// What markers are held against: "python_version" -> "3.11". A name that is absent is not known.
using MarkerValues = std::map<std::string, std::string>;

/// "requests[socks]>=2,<3; python_version < '3.9'", taken apart.
struct PackageRequirement {
  std::string name;  ///< as package_name() gives it
  std::vector<std::string> extras;
  std::string specifiers;  ///< ">=2,<3"; empty: any version
  std::string url;         ///< of "name @ url"
  std::string marker;      ///< as it stands there; empty: it always applies

  std::string text() const;  ///< without the marker, as pip takes it: "requests[socks]>=2,<3"
};

/// Nothing if it is no requirement; its marker has been read once and is sound.
std::optional<PackageRequirement> parse_requirement(std::string_view text);

/// Does a marker hold? Nothing if it cannot be read, or if it hangs on a value that is not known.
std::optional<bool> marker_holds(std::string_view marker, const MarkerValues& values);

}  // namespace ds
