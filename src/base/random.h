// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace ds {

/// 128 random bits of the kernel as 32 hex digits: the nonce that frames a host's answer, so that
/// nothing a login shell prints can be taken for it.
std::string random_nonce();

/// An even chance for each of 0 .. limit - 1; 0 for a limit of 0. Not for secrets.
unsigned random_below(unsigned limit);

}  // namespace ds
