// SPDX-License-Identifier: Apache-2.0
//
// Which extensions of x86-64 the code of a library uses, by disassembly (Zydis).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "artifact/artifact.h"

namespace ds {

/// A section of machine code.
struct CodeSection {
  std::string_view bytes;
  std::uint64_t address = 0;
};

/// Where functions have their names.
struct FunctionTable {
  std::string_view symbols;  ///< .symtab, or .dynsym where that was stripped
  std::string_view names;    ///< its string table
};

/// Every section from its first byte to its last, for x86-64. Bytes that are no instruction are
/// passed over one at a time; data between functions can look like code, so what is found is a
/// hint, not a proof.
Instructions scan_instructions(const std::vector<CodeSection>& code, const FunctionTable& functions,
                               const std::string& path);

}  // namespace ds
