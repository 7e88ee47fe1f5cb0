// SPDX-License-Identifier: Apache-2.0
//
// The dynamic symbols of a library: what it takes from others, and what it gives to them (System V
// gABI, "Symbol Table"; LSB, "Symbol Versioning").
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "artifact/artifact.h"

namespace ds {

/// A version that a library needs of another.
struct NeededVersion {
  std::string library, name;  ///< "libc.so.6", "GLIBC_2.34"
};

/// Sections as they lie in the file.
struct SymbolTables {
  std::string_view symbols;                       ///< .dynsym
  std::string_view names;                         ///< its string table
  std::string_view versions;                      ///< .gnu.version, one number for each symbol
  std::map<std::uint16_t, NeededVersion> needed;  ///< by that number
};

/// Error (usage) for tables that are damaged.
LibrarySymbols read_symbols(const SymbolTables& tables, const std::string& path);

}  // namespace ds
