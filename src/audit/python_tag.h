// SPDX-License-Identifier: Apache-2.0
//
// Compatibility tags of wheels (PEP 425), as far as they decide whether an interpreter can load a
// wheel.
#pragma once

#include <string>

#include "facts/facts.h"

namespace ds {

/// "cp311", "cp313t"; empty if the version is not known.
std::string python_tag_of(const PythonFacts& python);

/// Does "cp311-cp311", "py3-none" or "cp39-abi3" (sets with dots between) fit this interpreter? The
/// platform is not looked at.
bool tag_fits(const std::string& tag, const PythonFacts& python);

}  // namespace ds
