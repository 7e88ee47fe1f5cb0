// SPDX-License-Identifier: Apache-2.0
//
// Version specifiers, PEP 440: clauses with commas between, all of which must hold.
#include <algorithm>
#include <array>

#include "base/text.h"
#include "packaging/packaging.h"

namespace ds {
namespace {

PackageVersion without_local(PackageVersion version) {
  version.local.clear();
  return version;
}

/// "3.11.4" begins with "3.11", and "3" with "3.0".
bool begins_with(const PackageVersion& version, const std::string& epoch,
                 const std::vector<std::string>& release) {
  std::vector<std::string> padded = version.release;
  padded.resize(std::max(padded.size(), release.size()), "0");
  return version.epoch == epoch && std::equal(release.begin(), release.end(), padded.begin());
}

/// A pre-release of the bound itself is not below it.
bool is_below(const PackageVersion& version, PackageVersion bound) {
  if (!bound.is_prerelease())
    bound.dev = "0";
  return compare(version, bound) < 0;
}

/// Neither a post-release nor a local version of the bound itself is above it.
bool is_above(PackageVersion version, const PackageVersion& bound) {
  version.local.clear();
  if (version.post && !bound.post) {
    version.post.reset();
    version.dev.reset();
  }
  return compare(version, bound) > 0;
}

/// "==1.2.*": the text before ".*" is a release alone.
std::optional<bool> fits_prefix(std::string_view prefix, const PackageVersion& version) {
  const std::optional<PackageVersion> wanted = parse_version(prefix);
  if (!wanted || wanted->is_prerelease() || wanted->post || !wanted->local.empty())
    return std::nullopt;
  return begins_with(version, wanted->epoch, wanted->release);
}

std::optional<bool> fits_equal(std::string_view text, const PackageVersion& version) {
  if (text.ends_with(".*"))
    return fits_prefix(text.substr(0, text.size() - 2), version);
  const std::optional<PackageVersion> wanted = parse_version(text);
  if (!wanted)
    return std::nullopt;
  return compare(wanted->local.empty() ? without_local(version) : version, *wanted) == 0;
}

std::optional<bool> fits_order(std::string_view name, std::string_view text,
                               const PackageVersion& version) {
  const std::optional<PackageVersion> wanted = parse_version(text);
  if (!wanted || !wanted->local.empty())
    return std::nullopt;
  const std::weak_ordering order = compare(without_local(version), *wanted);
  if (name == "<=")
    return order <= 0;
  if (name == ">=")
    return order >= 0;
  if (name == "<")
    return is_below(version, *wanted);
  if (name == ">")
    return is_above(version, *wanted);
  if (wanted->release.size() < 2)
    return std::nullopt;
  std::vector<std::string> series = wanted->release;
  series.pop_back();
  return order >= 0 && begins_with(version, wanted->epoch, series);
}

std::optional<bool> clause_fits(std::string_view clause, std::string_view version) {
  static constexpr std::array operators = {"===", "~=", "==", "!=", "<=", ">=", "<", ">"};
  const auto found = std::find_if(operators.begin(), operators.end(), [&](const char* candidate) {
    return clause.starts_with(candidate);
  });
  if (found == operators.end())
    return std::nullopt;
  const std::string_view name = *found;
  const std::string_view wanted = trim(clause.substr(name.size()));
  if (wanted.empty() || wanted.find_first_of(" \t") != std::string_view::npos)
    return std::nullopt;
  const std::optional<PackageVersion> installed = parse_version(version);
  if (name == "===")
    return lower(wanted) == (installed ? installed->text() : lower(trim(version)));
  if (!installed)
    return std::nullopt;
  if (name == "==")
    return fits_equal(wanted, *installed);
  if (name == "!=") {
    const std::optional<bool> equal = fits_equal(wanted, *installed);
    return equal ? std::optional<bool>(!*equal) : std::nullopt;
  }
  return fits_order(name, wanted, *installed);
}

}  // namespace

std::optional<bool> version_fits(std::string_view specifiers, std::string_view version) {
  bool fits = true;
  for (const std::string& clause : split(specifiers, ',')) {
    if (trim(clause).empty())
      continue;
    const std::optional<bool> one = clause_fits(trim(clause), version);
    if (!one)
      return std::nullopt;
    fits = fits && *one;
  }
  return fits;
}

}  // namespace ds
