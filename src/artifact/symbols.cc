// SPDX-License-Identifier: Apache-2.0
#include "artifact/symbols.h"

#include <elf.h>

#include <algorithm>
#include <cstddef>

#include "artifact/bytes.h"
#include "base/text.h"

namespace ds {
namespace {

constexpr std::size_t longest_name = 65536;

class SymbolReader {
 public:
  SymbolReader(const SymbolTables& tables, const std::string& path)
      : tables_(tables),
        symbols_(tables.symbols, path),
        versions_(tables.versions, path),
        path_(path) {}

  LibrarySymbols read() {
    LibrarySymbols found;
    const std::uint64_t count = symbols_.size() / sizeof(Elf64_Sym);
    for (std::uint64_t at = 1; at < count; ++at) {
      const std::uint64_t place = at * sizeof(Elf64_Sym);
      const std::string_view info = symbols_.slice(place + offsetof(Elf64_Sym, st_info), 2);
      const unsigned binding = static_cast<unsigned char>(info[0]) >> 4;
      const unsigned visibility = static_cast<unsigned char>(info[1]) & 3;
      if (binding == STB_LOCAL)
        continue;
      const std::string_view name = name_at(symbols_.u32(place + offsetof(Elf64_Sym, st_name)));
      if (name.empty())
        continue;
      if (symbols_.u16(place + offsetof(Elf64_Sym, st_shndx)) == SHN_UNDEF)
        found.undefined.push_back(needed(name, at, binding == STB_WEAK));
      else if (visibility == STV_DEFAULT || visibility == STV_PROTECTED)
        found.defined.push_back({std::string(name), binding == STB_WEAK});
    }
    return found;
  }

 private:
  std::string_view name_at(std::uint64_t at) const {
    if (at >= tables_.names.size())
      refuse_binary(path_, "it is damaged: a symbol's name lies outside of its table");
    const std::string_view rest = tables_.names.substr(at, longest_name);
    const std::size_t end = rest.find('\0');
    if (end == std::string_view::npos)
      refuse_binary(path_, "it is damaged: a symbol's name has no end");
    return rest.substr(0, end);
  }

  NeededSymbol needed(std::string_view name, std::uint64_t at, bool weak) const {
    NeededSymbol symbol;
    symbol.name = name;
    symbol.weak = weak;
    constexpr std::uint16_t hidden = 0x8000;
    if (2 * at + 2 > versions_.size())
      return symbol;
    const auto found =
        tables_.needed.find(static_cast<std::uint16_t>(versions_.u16(2 * at) & ~hidden));
    if (found != tables_.needed.end()) {
      symbol.library = found->second.library;
      symbol.version = found->second.name;
    }
    return symbol;
  }

  const SymbolTables& tables_;
  const Bytes symbols_, versions_;
  const std::string& path_;
};

}  // namespace

LibrarySymbols read_symbols(const SymbolTables& tables, const std::string& path) {
  return SymbolReader(tables, path).read();
}

}  // namespace ds
