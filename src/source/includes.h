// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "source/source.h"

namespace ds {

/// Fills in SourceOp::torch_units from the texts of the sources and of those headers of the tree
/// that they include. Conditions are not evaluated; files that cannot be read include nothing.
void find_torch_units(SourceTree& tree);

}  // namespace ds
