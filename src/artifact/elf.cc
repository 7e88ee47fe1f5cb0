// SPDX-License-Identifier: Apache-2.0
//
// ELF by libelf, which checks its own headers; what those headers point at is checked here.
#include "artifact/elf.h"

#include <fmt/format.h>
#include <gelf.h>
#include <libelf.h>

#include <algorithm>
#include <bit>
#include <climits>
#include <cstddef>
#include <map>
#include <memory>

#include "artifact/bytes.h"
#include "base/text.h"

namespace ds {
namespace {

constexpr std::size_t longest_name = 4096;
constexpr std::size_t most_names = 4096;
constexpr std::uint32_t wrapper_magic = 0x466243B1;
constexpr std::uint64_t wrapper_size = 24;
constexpr std::uint32_t isa_needed_property = 0xc0008002;

struct Section {
  Elf_Scn* handle = nullptr;
  GElf_Shdr header{};
  std::string name;
};

bool is_number(std::string_view version) {
  return !version.empty() && version.size() < 16 &&
         version.find_first_not_of("0123456789.") == std::string_view::npos;
}

void raise(std::string& highest, std::string_view version) {
  if (is_number(version) && (highest.empty() || compare_versions(version, highest) > 0)) {
    highest = version;
  }
}

std::string machine_name(int machine) {
  switch (machine) {
    case EM_X86_64:
      return "x86_64";
    case EM_AARCH64:
      return "aarch64";
    case EM_PPC64:
      return "ppc64le";
    case EM_RISCV:
      return "riscv64";
    default:
      return "machine-" + std::to_string(machine);
  }
}

class ElfReader {
 public:
  ElfReader(std::string_view bytes, const std::string& path, bool with_code)
      : bytes_(bytes, path), path_(path), with_code_(with_code) {
    if (!bytes.starts_with(ELFMAG))
      refuse_binary(path, "it is no ELF file");
    if (bytes.size() < EI_NIDENT || bytes[EI_CLASS] != ELFCLASS64 ||
        bytes[EI_DATA] != ELFDATA2LSB) {
      refuse_binary(path, "it is no 64-bit little-endian ELF file");
    }
    check(::elf_version(EV_CURRENT) != EV_NONE);
    // libelf writes to memory only through calls that are not made here.
    elf_.reset(::elf_memory(const_cast<char*>(bytes.data()), bytes.size()));
    check(elf_ != nullptr && ::elf_kind(elf_.get()) == ELF_K_ELF);
    read_sections();
  }

  ElfFile read() {
    GElf_Ehdr header;
    check(::gelf_getehdr(elf_.get(), &header) != nullptr);
    if (header.e_type != ET_DYN && header.e_type != ET_EXEC) {
      refuse_binary(path_, "it is neither a shared library nor a program");
    }
    file_.needs.path = path_;
    file_.needs.machine = machine_name(header.e_machine);
    bool dynamic = false;
    for (const Section& section : sections_) {
      if (section.header.sh_type == SHT_DYNAMIC) {
        dynamic = true;
        read_dynamic(section);
      } else if (section.header.sh_type == SHT_DYNSYM) {
        file_.symbols.symbols = content(section);
        file_.symbols.names = content(linked(section));
      } else if (section.header.sh_type == SHT_GNU_versym) {
        file_.symbols.versions = content(section);
      } else if (section.header.sh_type == SHT_GNU_verneed) {
        read_versions(section);
      } else if (section.header.sh_type == SHT_NOTE && header.e_machine == EM_X86_64) {
        read_notes(section);
      } else if (section.name == "__nv_relfatbin") {
        file_.device.relocatable = true;
      } else if (section.name == ".nv_fatbin") {
        file_.device.sections.push_back(
            {.bytes = content(section), .address = section.header.sh_addr});
      }
    }
    if (!dynamic)
      refuse_binary(path_, "it has no dynamic section; nothing can load it");
    if (!file_.device.sections.empty())
      read_wrappers();
    if (with_code_)
      read_code();
    return std::move(file_);
  }

 private:
  struct End {
    void operator()(::Elf* elf) const { ::elf_end(elf); }
  };

  void check(bool good) const {
    if (good)
      return;
    const char* why = ::elf_errmsg(-1);
    refuse_binary(path_, fmt::format("it is damaged: {}", why == nullptr ? "not readable" : why));
  }

  void read_sections() {
    std::size_t names = 0;
    check(::elf_getshdrstrndx(elf_.get(), &names) == 0);
    for (Elf_Scn* handle = nullptr; (handle = ::elf_nextscn(elf_.get(), handle)) != nullptr;) {
      Section section{.handle = handle, .header = {}, .name = {}};
      check(::gelf_getshdr(handle, &section.header) != nullptr);
      const char* name = ::elf_strptr(elf_.get(), names, section.header.sh_name);
      check(name != nullptr);
      section.name = std::string_view(name).substr(0, longest_name);
      sections_.push_back(std::move(section));
    }
    // libelf takes a table beyond the end of the file for no table.
    if (sections_.empty()) {
      refuse_binary(path_, bytes_.u64(offsetof(Elf64_Ehdr, e_shoff)) == 0
                               ? "its section headers were stripped"
                               : "it is damaged: it was cut short");
    }
  }

  /// The section that sh_link names.
  const Section& linked(const Section& section) const {
    // sections_ begins with the second: the first is no section.
    const std::size_t at = section.header.sh_link;
    if (at == 0 || at > sections_.size())
      refuse_binary(path_, "it is damaged: section " + clean_line(section.name));
    return sections_[at - 1];
  }

  std::string_view content(const Section& section) const {
    if (section.header.sh_type == SHT_NOBITS) {
      refuse_binary(path_, "its section " + clean_line(section.name) + " holds no bytes");
    }
    return bytes_.slice(section.header.sh_offset, section.header.sh_size);
  }

  /// libelf's view of a section, small enough for the `int` offsets of its calls.
  Elf_Data* data(const Section& section) const {
    content(section);
    Elf_Data* data = ::elf_getdata(section.handle, nullptr);
    check(data != nullptr);
    if (data->d_buf == nullptr || data->d_size > INT_MAX) {
      refuse_binary(path_, "it is damaged: section " + clean_line(section.name));
    }
    return data;
  }

  std::string text(const Section& table, std::uint64_t at) {
    const char* found = ::elf_strptr(elf_.get(), table.header.sh_link, at);
    check(found != nullptr);
    const std::string_view name(found);
    if (name.size() > longest_name || ++names_ > most_names) {
      refuse_binary(path_, "it is damaged: names without end");
    }
    return clean_line(name, longest_name);
  }

  void read_dynamic(const Section& section) {
    Elf_Data* entries = data(section);
    LibraryNeeds& needs = file_.needs;
    const std::size_t entry_count = entries->d_size / sizeof(Elf64_Dyn);
    for (std::size_t i = 0; i < entry_count; ++i) {
      GElf_Dyn entry;
      check(::gelf_getdyn(entries, static_cast<int>(i), &entry) != nullptr);
      if (entry.d_tag == DT_NULL)
        break;
      if (entry.d_tag == DT_NEEDED)
        needs.needed.push_back(text(section, entry.d_un.d_val));
      if (entry.d_tag == DT_SONAME)
        needs.soname = text(section, entry.d_un.d_val);
      if (entry.d_tag == DT_RUNPATH)
        needs.runpath = text(section, entry.d_un.d_val);
      if (entry.d_tag == DT_RPATH)
        needs.rpath = text(section, entry.d_un.d_val);
    }
  }

  /// Each record takes 16 bytes, so a section holds no more than size / 16 of them, however the
  /// offsets chain.
  void read_versions(const Section& section) {
    Elf_Data* versions = data(section);
    std::size_t budget = versions->d_size / sizeof(Elf64_Verneed);
    const auto step = [&](std::uint64_t at, std::uint64_t by) {
      if (at + by + sizeof(Elf64_Verneed) > versions->d_size || budget == 0) {
        refuse_binary(path_, "it is damaged: symbol versions without end");
      }
      --budget;
      return static_cast<int>(at + by);
    };
    if (versions->d_size == 0)
      return;
    for (int at = step(0, 0);;) {
      GElf_Verneed needed;
      check(::gelf_getverneed(versions, at, &needed) != nullptr);
      const std::string library = text(section, needed.vn_file);
      int version_at = at;
      std::uint64_t next = needed.vn_aux;
      for (int i = 0; i < needed.vn_cnt; ++i) {
        version_at = step(static_cast<std::uint64_t>(version_at), next);
        GElf_Vernaux version;
        check(::gelf_getvernaux(versions, version_at, &version) != nullptr);
        const std::string name = text(section, version.vna_name);
        file_.symbols.needed[version.vna_other] = {library, name};
        if ((version.vna_flags & VER_FLG_WEAK) == 0)
          take_version(name);
        else
          file_.needs.weak_versions.push_back(name);
        if (version.vna_next == 0)
          break;
        next = version.vna_next;
      }
      if (needed.vn_next == 0)
        return;
      at = step(static_cast<std::uint64_t>(at), needed.vn_next);
    }
  }

  void take_version(std::string_view version) {
    LibraryNeeds& needs = file_.needs;
    const auto family = [&](std::string_view prefix, std::string& highest) {
      if (version.starts_with(prefix))
        raise(highest, version.substr(prefix.size()));
    };
    family("GLIBC_", needs.glibc);
    family("GLIBCXX_", needs.glibcxx);
    family("CXXABI_", needs.cxxabi);
    family("GCC_", needs.gcc);
    if (version == "GLIBC_ABI_DT_RELR")
      raise(needs.glibc, "2.36");
  }

  /// Sections that lie over each other are no compiler's, and could be read for hours.
  void read_code() {
    file_.functions = {file_.symbols.symbols, file_.symbols.names};
    std::uint64_t size = 0;
    for (const Section& section : sections_) {
      if (section.header.sh_type == SHT_SYMTAB) {
        file_.functions = {content(section), content(linked(section))};
      } else if (section.header.sh_type == SHT_PROGBITS &&
                 (section.header.sh_flags & SHF_EXECINSTR) != 0) {
        file_.code.push_back({content(section), section.header.sh_addr});
        size += section.header.sh_size;
        if (size > bytes_.size())
          refuse_binary(path_, "it is damaged: its sections lie over each other");
      }
    }
  }

  /// x86-64 psABI: property 0xc0008002 of the GNU property note has a bit per level.
  void read_notes(const Section& section) {
    const Bytes notes(content(section), path_);
    const auto aligned = [](std::uint64_t size) { return (size + 7) & ~std::uint64_t{7}; };
    if (section.name != ".note.gnu.property")
      return;
    for (std::uint64_t at = 0; at + 16 <= notes.size();) {
      const std::uint64_t name_size = notes.u32(at), size = notes.u32(at + 4);
      const std::uint32_t type = notes.u32(at + 8);
      const std::uint64_t start = at + 12 + ((name_size + 3) & ~std::uint64_t{3});
      if (type == NT_GNU_PROPERTY_TYPE_0)
        read_properties(Bytes(notes.slice(start, size), path_));
      at = start + aligned(size);
    }
  }

  void read_properties(const Bytes& properties) {
    for (std::uint64_t at = 0; at + 8 <= properties.size();) {
      const std::uint64_t size = properties.u32(at + 4);
      if (properties.u32(at) == isa_needed_property && size >= 4) {
        // One bit for each level: the loader refuses those that it does not know yet.
        const int level = std::bit_width(properties.u32(at + 8));
        file_.needs.cpu_level = std::max(file_.needs.cpu_level, level);
      }
      at += 8 + ((size + 7) & ~std::uint64_t{7});
    }
  }

  /// Wrappers {magic, version, container, ...}: version 2 is the device linker's. The pointer is
  /// filled in at load time; its value stands in the relocation, with some linkers in place too.
  void read_wrappers() {
    std::map<std::uint64_t, std::uint64_t> pointers;
    for (const Section& section : sections_) {
      if (section.name != ".nvFatBinSegment")
        continue;
      const Bytes wrappers(content(section), path_);
      for (std::uint64_t at = 0; at + wrapper_size <= wrappers.size(); at += wrapper_size) {
        if (wrappers.u32(at) != wrapper_magic || wrappers.u32(at + 4) != 2)
          continue;
        pointers[section.header.sh_addr + at + 8] = wrappers.u64(at + 8);
      }
    }
    if (pointers.empty())
      return;
    for (const Section& section : sections_) {
      if (section.header.sh_type == SHT_RELA)
        apply_relocations(section, pointers);
    }
    for (const auto& [slot, address] : pointers)
      file_.device.linked.insert(address);
  }

  void apply_relocations(const Section& section, std::map<std::uint64_t, std::uint64_t>& pointers) {
    const Bytes relocations(content(section), path_);
    for (std::uint64_t at = 0; at + sizeof(Elf64_Rela) <= relocations.size();
         at += sizeof(Elf64_Rela)) {
      const auto slot = pointers.find(relocations.u64(at));
      if (slot == pointers.end())
        continue;
      const bool without_symbol = ELF64_R_SYM(relocations.u64(at + 8)) == 0;
      if (without_symbol)
        slot->second = relocations.u64(at + 16);
    }
  }

  const Bytes bytes_;
  const std::string& path_;
  const bool with_code_;
  std::unique_ptr<::Elf, End> elf_;
  std::vector<Section> sections_;
  std::size_t names_ = 0;
  ElfFile file_;
};

}  // namespace

ElfFile read_elf(std::string_view bytes, const std::string& path, bool with_code) {
  return ElfReader(bytes, path, with_code).read();
}

}  // namespace ds
