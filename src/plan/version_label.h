// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "config/config.h"

namespace ds {

/// What a wheel is built for.
struct BuiltFor {
  std::string cuda;                ///< "13.0"; empty for CPU ops alone
  std::vector<std::string> archs;  ///< "80", "90a"
  int cpu_level = 1;
  std::string torch;  ///< that an op links: "2.9.0+cu128"; empty: none does
};

/// The wheel's version: the library's, and a local label (PEP 440) that says from which sources and
/// for what it was built: "0.1.0+g1a2b3c4d5.cu130.sm80.sm90.v3.torch2.9.0.cu128". UsageError for a
/// DS_BUILD_STRING that cannot be such a label.
std::string wheel_version(const OpLibrary& library,
                          const std::map<std::string, std::string>& environment,
                          const BuiltFor& built_for);

/// A foreign source, as far as a version tells it.
struct VersionedSource {
  std::string version;                      ///< its own: "0.19.8"
  std::string commit;                       ///< empty: none is known
  std::string digest;                       ///< of its content, in hex
  bool dirty = false;                       ///< the content is not that of the commit
  std::optional<std::string> build_string;  ///< its build.txt
};

/// The version of a wheel of such a source: "0.19.8+g1a2b3c4d5.cu130.sm80.v3.torch2.11", with
/// "s<digest>" where there is no commit. DS_BUILD_STRING, else build.txt, follows the source's
/// version as it does in DeepSpeed's setup.py (".dev20201022", "+label"), and then stands for the
/// commit; one of blanks leaves it out. UsageError for what cannot be a version.
std::string source_wheel_version(const VersionedSource& source,
                                 const std::map<std::string, std::string>& environment,
                                 const BuiltFor& built_for);

}  // namespace ds
