// SPDX-License-Identifier: Apache-2.0
#include "artifact/fatbin.h"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <iterator>

#include "artifact/bytes.h"
#include "base/text.h"

namespace ds {
namespace {

constexpr std::uint32_t container_magic = 0xBA55ED50;
constexpr std::uint64_t container_header = 16;
constexpr std::uint64_t entry_header = 64;

enum Kind : std::uint16_t { kind_ptx = 1, kind_sass = 2, kind_lto = 8 };
enum Flag : std::uint64_t {
  flag_lz4 = 0x2000,
  flag_zstd = 0x8000,
  flag_exact = 0x100000,   // 'a'
  flag_family = 0x200000,  // 'f'
};

/// "13.0" of "Cuda compilation tools, release 13.0, V13.0.88"
std::string release_in(std::string_view note) {
  constexpr std::string_view release = "Cuda compilation tools, release ";
  const std::size_t at = note.find(release);
  if (at == std::string_view::npos)
    return {};
  std::string_view rest = note.substr(at + release.size(), 8);
  rest = rest.substr(0, rest.find_first_not_of("0123456789."));
  return rest.empty() || rest.back() == '.' ? "" : std::string(rest);
}

/// The toolkit that made a cubin. Up to CUDA 12 the ELF header's e_version tells it (124: 12.4);
/// later ones have a note with the compiler's version text. The code itself is not read.
std::string toolkit_of_cubin(std::string_view cubin, const std::string& path) {
  constexpr std::string_view elf_magic = "\177ELF";
  if (!cubin.starts_with(elf_magic))
    return {};
  const Bytes bytes(cubin, path);
  const std::uint32_t version = bytes.u32(20);
  if (version >= 110 && version < 130)
    return fmt::format("{}.{}", version / 10, version % 10);
  if (bytes.size() < sizeof(Elf64_Ehdr))
    return {};
  const std::uint64_t table = bytes.u64(offsetof(Elf64_Ehdr, e_shoff));
  const std::uint64_t count = bytes.u16(offsetof(Elf64_Ehdr, e_shnum));
  for (std::uint64_t at = 0; at < count && table < bytes.size(); ++at) {
    const std::uint64_t header = table + at * sizeof(Elf64_Shdr);
    if (bytes.u32(header + offsetof(Elf64_Shdr, sh_type)) != SHT_NOTE)
      continue;
    const std::string found =
        release_in(bytes.slice(bytes.u64(header + offsetof(Elf64_Shdr, sh_offset)),
                               bytes.u64(header + offsetof(Elf64_Shdr, sh_size))));
    if (!found.empty())
      return found;
  }
  return {};
}

/// "80" < "90" < "90a" < "100": by number, then by suffix.
bool arch_before(const std::string& left, const std::string& right) {
  const int order = compare_versions(left, right);
  return order != 0 ? order < 0 : left < right;
}

bool ptx_before(const PtxImage& left, const PtxImage& right) {
  if (left.arch != right.arch)
    return arch_before(left.arch, right.arch);
  const int order = compare_versions(left.isa, right.isa);
  return order != 0 ? order < 0 : left.isa < right.isa;
}

std::string newer(const std::string& left, const std::string& right) {
  return compare_versions(left, right) < 0 ? right : left;
}

/// What two sorted lists share.
template <typename Value, typename Less>
std::vector<Value> common(const std::vector<Value>& left, const std::vector<Value>& right,
                          Less less) {
  std::vector<Value> out;
  std::set_intersection(left.begin(), left.end(), right.begin(), right.end(),
                        std::back_inserter(out), less);
  return out;
}

template <typename Value, typename Less>
void sort_unique(std::vector<Value>& values, Less less) {
  std::sort(values.begin(), values.end(), less);
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

class FatbinReader {
 public:
  explicit FatbinReader(const std::string& path) : path_(path) {}

  void section(const FatbinSection& section, const DeviceCode& code) {
    const Bytes bytes(section.bytes, path_);
    std::uint64_t at = 0;
    while (at < bytes.size()) {
      if (section.bytes[at] == '\0') {  // padding: a container's magic begins with another byte
        ++at;
        continue;
      }
      if (bytes.u32(at) != container_magic || bytes.u16(at + 4) != 1 ||
          bytes.u16(at + 6) < container_header) {
        refuse_binary(path_, fmt::format("its .nv_fatbin is damaged at offset {}", at));
      }
      const std::uint64_t header = bytes.u16(at + 6);
      const std::uint64_t size = bytes.u64(at + 8);
      const bool link_only = !code.relocatable && code.linked.contains(section.address + at);
      bytes.slice(at, header);
      const std::string_view entries = bytes.slice(at + header, size);
      if (!link_only)
        unit(Bytes(entries, path_));
      at += header + size;
    }
  }

  Fatbin finish() {
    Fatbin fatbin{.images = {}, .toolkit = toolkit_};
    GpuImages& images = fatbin.images;
    images.units = units_;
    images.unit_kinds.assign(kinds_.begin(), kinds_.end());
    images.compression.assign(compression_.begin(), compression_.end());
    images.bytes = bytes_;
    images.lto = lto_;
    sort_unique(images.lto, arch_before);
    for (const UnitImages& unit : kinds_) {
      const bool first = &unit == &*kinds_.begin();
      images.sass.insert(images.sass.end(), unit.sass.begin(), unit.sass.end());
      images.ptx.insert(images.ptx.end(), unit.ptx.begin(), unit.ptx.end());
      images.sass_all_units =
          first ? unit.sass : common(images.sass_all_units, unit.sass, arch_before);
      images.ptx_all_units = first ? unit.ptx : common(images.ptx_all_units, unit.ptx, ptx_before);
    }
    sort_unique(images.sass, arch_before);
    sort_unique(images.ptx, ptx_before);
    return fatbin;
  }

 private:
  void unit(const Bytes& bytes) {
    UnitImages images;
    std::uint64_t at = 0;
    while (at < bytes.size()) {
      const std::uint64_t header = bytes.u32(at + 4);
      const std::uint64_t size = bytes.u64(at + 8);
      if (header < entry_header) {
        refuse_binary(path_, fmt::format("its .nv_fatbin has an entry header of {} bytes", header));
      }
      bytes.slice(at, header);
      const std::string_view payload = bytes.slice(at + header, size);
      entry(bytes, at, payload, images);
      at += header + size;
    }
    if (images.sass.empty() && images.ptx.empty())
      return;
    ++units_;
    sort_unique(images.sass, arch_before);
    sort_unique(images.ptx, ptx_before);
    kinds_.insert(std::move(images));
  }

  void entry(const Bytes& bytes, std::uint64_t at, std::string_view payload, UnitImages& images) {
    const std::uint16_t kind = bytes.u16(at);
    if (kind != kind_ptx && kind != kind_sass && kind != kind_lto)
      return;
    const std::uint64_t flags = bytes.u64(at + 40);
    std::string arch = std::to_string(bytes.u32(at + 28));
    if ((flags & flag_exact) != 0)
      arch += 'a';
    if ((flags & flag_family) != 0)
      arch += 'f';
    const char* compression = "none";
    if ((flags & flag_lz4) != 0)
      compression = "lz4";
    if ((flags & flag_zstd) != 0)
      compression = "zstd";
    compression_.insert(compression);
    bytes_[(kind == kind_sass  ? "sm_"
            : kind == kind_ptx ? "compute_"
                               : "lto_") +
           arch] += payload.size();
    if (kind == kind_lto) {
      lto_.push_back(std::move(arch));
    } else if (kind == kind_sass) {
      images.sass.push_back(std::move(arch));
      toolkit_ = newer(toolkit_, toolkit_of_cubin(payload, path_));
    } else {
      images.ptx.push_back({.arch = std::move(arch),
                            .isa = fmt::format("{}.{}", bytes.u16(at + 26), bytes.u16(at + 24))});
    }
  }

  const std::string& path_;
  std::set<UnitImages> kinds_;
  std::set<std::string> compression_;
  std::map<std::string, std::uint64_t> bytes_;
  std::vector<std::string> lto_;
  std::string toolkit_;
  int units_ = 0;
};

}  // namespace

Fatbin read_fatbin(const DeviceCode& code, const std::string& path) {
  FatbinReader reader(path);
  for (const FatbinSection& section : code.sections)
    reader.section(section, code);
  return reader.finish();
}

}  // namespace ds
