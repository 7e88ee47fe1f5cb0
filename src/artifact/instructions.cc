// SPDX-License-Identifier: Apache-2.0
#include "artifact/instructions.h"

#include <Zydis/Zydis.h>
#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <map>

#include "artifact/bytes.h"
#include "base/text.h"

namespace ds {
namespace {

/// An extension as Zydis and as Linux name it, and the level of the x86-64 psABI ("Micro-
/// architecture levels") that has it; 0: none.
struct Extension {
  std::string_view zydis;
  const char* flag;  ///< of /proc/cpuinfo
  int level;
};

/// Those that programs ask for by name and that a compiler uses by itself when told to. What every
/// x86-64 CPU has, and what needs the operating system rather than the CPU, is none of them.
constexpr std::array extensions = {
    Extension{"CMPXCHG16B", "cx16", 2},
    Extension{"LAHF", "lahf_lm", 2},
    Extension{"POPCNT", "popcnt", 2},
    Extension{"SSE3", "pni", 2},
    Extension{"SSE3X87", "pni", 2},
    Extension{"SSSE3", "ssse3", 2},
    Extension{"SSSE3MMX", "ssse3", 2},
    Extension{"SSE4", "sse4_1", 2},
    Extension{"SSE42", "sse4_2", 2},
    Extension{"AVX", "avx", 3},
    Extension{"AVX2", "avx2", 3},
    Extension{"AVX2GATHER", "avx2", 3},
    Extension{"BMI1", "bmi1", 3},
    Extension{"BMI2", "bmi2", 3},
    Extension{"F16C", "f16c", 3},
    Extension{"FMA", "fma", 3},
    Extension{"LZCNT", "abm", 3},
    Extension{"MOVBE", "movbe", 3},
    Extension{"AVX512F", "avx512f", 4},
    Extension{"AVX512BW", "avx512bw", 4},
    Extension{"AVX512CD", "avx512cd", 4},
    Extension{"AVX512DQ", "avx512dq", 4},
    Extension{"AVX512_BF16", "avx512_bf16", 0},
    Extension{"AVX512_BITALG", "avx512_bitalg", 0},
    Extension{"AVX512_FP16", "avx512_fp16", 0},
    Extension{"AVX512_GFNI", "gfni", 0},
    Extension{"AVX512_IFMA", "avx512ifma", 0},
    Extension{"AVX512_VAES", "vaes", 0},
    Extension{"AVX512_VBMI", "avx512vbmi", 0},
    Extension{"AVX512_VBMI2", "avx512_vbmi2", 0},
    Extension{"AVX512_VNNI", "avx512_vnni", 0},
    Extension{"AVX512_VPCLMULQDQ", "vpclmulqdq", 0},
    Extension{"AVX512_VPOPCNTDQ", "avx512_vpopcntdq", 0},
    Extension{"AVX512_VP2INTERSECT", "avx512_vp2intersect", 0},
    Extension{"ADOX_ADCX", "adx", 0},
    Extension{"AES", "aes", 0},
    Extension{"AMX_BF16", "amx_bf16", 0},
    Extension{"AMX_INT8", "amx_int8", 0},
    Extension{"AMX_TILE", "amx_tile", 0},
    Extension{"AVXAES", "aes", 0},
    Extension{"AVX_GFNI", "gfni", 0},
    Extension{"AVX_VNNI", "avx_vnni", 0},
    Extension{"FMA4", "fma4", 0},
    Extension{"GFNI", "gfni", 0},
    Extension{"PCLMULQDQ", "pclmulqdq", 0},
    Extension{"RDRAND", "rdrand", 0},
    Extension{"RDSEED", "rdseed", 0},
    Extension{"SHA", "sha_ni", 0},
    Extension{"SSE4A", "sse4a", 0},
    Extension{"TBM", "tbm", 0},
    Extension{"VAES", "vaes", 0},
    Extension{"VPCLMULQDQ", "vpclmulqdq", 0},
    Extension{"XOP", "xop", 0},
};

constexpr Extension vector_length = {"", "avx512vl", 4};

/// "AVX512F" of "AVX512F_256". Instructions of AVX-512 for shorter vectors need AVX512VL too.
std::string_view without_length(std::string_view set, bool& shorter) {
  shorter = false;
  if (!set.starts_with("AVX512"))
    return set;
  for (const std::string_view end : {"_128", "_256", "_512", "_128N", "_SCALAR", "_KOP"}) {
    if (!set.ends_with(end))
      continue;
    shorter = end == "_128" || end == "_256";
    return set.substr(0, set.size() - end.size());
  }
  return set;
}

/// "scale+0x1c" for an address in the code of scale(), else the address.
std::string place_of(std::uint64_t address, const FunctionTable& functions,
                     const std::string& path) {
  const Bytes symbols(functions.symbols, path);
  for (std::uint64_t at = 0; at + sizeof(Elf64_Sym) <= symbols.size(); at += sizeof(Elf64_Sym)) {
    const std::uint64_t start = symbols.u64(at + offsetof(Elf64_Sym, st_value));
    const std::uint64_t size = symbols.u64(at + offsetof(Elf64_Sym, st_size));
    const char info = symbols.slice(at + offsetof(Elf64_Sym, st_info), 1)[0];
    const std::uint32_t name = symbols.u32(at + offsetof(Elf64_Sym, st_name));
    if (ELF64_ST_TYPE(info) != STT_FUNC || address < start || address - start >= size ||
        name >= functions.names.size())
      continue;
    const std::string_view rest = functions.names.substr(name);
    return fmt::format("{}+{:#x}", clean_line(rest.substr(0, rest.find('\0')), 200),
                       address - start);
  }
  return fmt::format("{:#x}", address);
}

struct Found {
  std::uint64_t count = 0, first = 0;
};

/// By ZydisISASet.
using FoundSets = std::array<Found, ZYDIS_ISA_SET_MAX_VALUE + 1>;

/// True if it asks the CPU what it can do (CPUID).
bool sweep(const CodeSection& section, FoundSets& found) {
  ZydisDecoder decoder;
  ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  bool asks = false;
  for (std::size_t at = 0; at < section.bytes.size();) {
    ZydisDecodedInstruction instruction;
    const ZyanStatus status = ZydisDecoderDecodeInstruction(
        &decoder, nullptr, section.bytes.data() + at, section.bytes.size() - at, &instruction);
    if (!ZYAN_SUCCESS(status)) {
      ++at;
      continue;
    }
    asks |= instruction.mnemonic == ZYDIS_MNEMONIC_CPUID;
    // Older CPUs run TZCNT as BSF, and compilers write it for every CPU.
    if (instruction.mnemonic != ZYDIS_MNEMONIC_TZCNT) {
      Found& one = found[static_cast<std::size_t>(instruction.meta.isa_set)];
      if (one.count++ == 0)
        one.first = section.address + at;
    }
    at += instruction.length;
  }
  return asks;
}

}  // namespace

Instructions scan_instructions(const std::vector<CodeSection>& code, const FunctionTable& functions,
                               const std::string& path) {
  FoundSets found;
  Instructions instructions;
  for (const CodeSection& section : code)
    instructions.asks_cpu |= sweep(section, found);
  std::map<std::string, std::pair<Found, int>> by_flag;
  const auto add = [&by_flag](const Extension& extension, const Found& more) {
    auto& [sum, level] = by_flag[extension.flag];
    level = extension.level;
    sum.first = sum.count == 0 ? more.first : std::min(sum.first, more.first);
    sum.count += more.count;
  };
  for (std::size_t set = 0; set < found.size(); ++set) {
    const char* name = ZydisISASetGetString(static_cast<ZydisISASet>(set));
    if (found[set].count == 0 || name == nullptr)
      continue;
    bool shorter = false;
    const std::string_view base = without_length(name, shorter);
    const auto extension = std::find_if(extensions.begin(), extensions.end(),
                                        [&](const Extension& one) { return one.zydis == base; });
    if (extension != extensions.end())
      add(*extension, found[set]);
    if (shorter)
      add(vector_length, found[set]);
  }
  for (const auto& [flag, counted] : by_flag) {
    const auto& [sum, level] = counted;
    instructions.sets.push_back({flag, level, sum.count, place_of(sum.first, functions, path)});
  }
  return instructions;
}

}  // namespace ds
