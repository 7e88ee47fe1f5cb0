// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "artifact/artifact.h"
#include "artifact/fatbin.h"
#include "artifact/instructions.h"
#include "artifact/symbols.h"

namespace ds {

struct ElfFile {
  LibraryNeeds needs;    ///< without what its name, symbols and device code say
  DeviceCode device;     ///< points into the bytes that were read, as does the next
  SymbolTables symbols;  ///< empty for a library without a dynamic symbol table
  std::vector<CodeSection> code;
  FunctionTable functions;
};

/// A 64-bit little-endian shared library or program. Error (usage) for everything else. Its code
/// and the names of its functions are looked for only with `with_code`.
ElfFile read_elf(std::string_view bytes, const std::string& path, bool with_code = false);

}  // namespace ds
