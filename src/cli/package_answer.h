// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "transport/transport.h"

namespace ds {

/// What `python -m ds_ops --json` said on a host; clean, each text one line.
struct PackageAnswer {
  struct Op {
    std::string name, state, message;
    bool operator==(const Op&) const = default;
  };
  bool installed = false;  ///< it answered, and the answer has its form
  std::string problem;     ///< why there is no answer, where the package is not simply absent
  std::string version;
  std::vector<Op> ops;
  bool operator==(const PackageAnswer&) const = default;
};

/// A host can say anything here, and login shells print noise around it: only an object whose ops
/// are a list of objects with texts counts.
PackageAnswer read_package_answer(const ExecResult& result);

}  // namespace ds
