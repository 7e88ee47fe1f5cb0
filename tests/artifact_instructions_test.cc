// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>

#include "artifact/artifact.h"
#include "base/error.h"
#include "base/text.h"
#include "support/toy_library.h"

namespace {

using ds::Instructions;
using ds::InstructionSet;

/// A function for each level, one beyond the levels, and what every x86-64 CPU runs.
const char* const many_levels = R"(
#include <immintrin.h>
extern "C" {
int plain(unsigned a) { return __builtin_ctz(a); }
__attribute__((target("popcnt"))) int bits(unsigned long a) { return __builtin_popcountl(a); }
__attribute__((target("avx2,fma"))) void scale_avx2(float* a, __m256 by) {
  _mm256_storeu_ps(a, _mm256_fmadd_ps(_mm256_loadu_ps(a), by, by));
}
__attribute__((target("avx512f"))) void scale_avx512(float* a, __m512 by) {
  _mm512_storeu_ps(a, _mm512_mul_ps(_mm512_loadu_ps(a), by));
}
__attribute__((target("avx512f,avx512vl"))) void shift_avx512(long* a) {
  __m256i v = _mm256_loadu_si256((__m256i*)a);
  _mm256_storeu_si256((__m256i*)a, _mm256_srai_epi64(v, 3));
}
__attribute__((target("aes"))) __m128i round_aes(__m128i a) { return _mm_aesenc_si128(a, a); }
}
)";

const char* const asks = R"(
extern "C" int has_avx2() { return __builtin_cpu_supports("avx2"); }
)";

Instructions scan(const std::filesystem::path& file) {
  return ds::inspect_file(file, {.scan_instructions = true}).libraries.at(0).instructions.value();
}

const InstructionSet* find(const Instructions& instructions, const std::string& flag) {
  const auto found = std::find_if(instructions.sets.begin(), instructions.sets.end(),
                                  [&](const InstructionSet& set) { return set.flag == flag; });
  return found == instructions.sets.end() ? nullptr : &*found;
}

/// Empty, after saying why, where none can be made for x86-64.
std::filesystem::path library(const std::filesystem::path& folder, const char* source,
                              const std::string& test) {
  if (!ds::needs("test $(uname -m) = x86_64", test, "this is no x86-64 machine"))
    return {};
  return ds::toy_library(folder, "libtoy.so", source, "-O2", test);
}

}  // namespace

TEST_CASE("instructions: each level is told, with its function") {
  const std::string test = "instructions of each level";
  const ds::TempDir folder;
  const auto file = library(folder.path(), many_levels, test);
  if (file.empty())
    return;
  const Instructions found = scan(file);
  const auto check = [&](const char* flag, int level, const std::string& function) {
    CAPTURE(flag);
    const InstructionSet* set = find(found, flag);
    REQUIRE(set != nullptr);
    CHECK(set->level == level);
    CHECK(set->count > 0);
    CHECK(set->first.starts_with(function + "+0x"));
  };
  check("popcnt", 2, "bits");
  check("avx", 3, "scale_avx2");
  check("fma", 3, "scale_avx2");
  check("avx512f", 4, "scale_avx512");
  check("avx512vl", 4, "shift_avx512");
  check("aes", 0, "round_aes");
  CHECK(find(found, "bmi1") == nullptr);  // __builtin_ctz
  CHECK_FALSE(found.asks_cpu);
  CHECK(std::is_sorted(found.sets.begin(), found.sets.end(),
                       [](const auto& one, const auto& two) { return one.flag < two.flag; }));

  const std::string text = ds::inspect_text(ds::inspect_file(file, {.scan_instructions = true}));
  CHECK(text.find("code       x86-64-v4: avx512f ") != std::string::npos);
  CHECK(text.find("; the first avx512f in scale_avx512+0x") != std::string::npos);
  CHECK(text.find("code       no level: aes 1; the first aes in round_aes") != std::string::npos);
  CHECK(text.find("asks cpu   no\n") != std::string::npos);

  // A stripped library has the names of what it gives to others.
  REQUIRE(ds::shell("strip " + ds::shell_quote(file.string())).status == 0);
  CHECK(scan(file) == found);
}

TEST_CASE("instructions: as many as objdump shows") {
  const std::string test = "instructions as many as objdump shows";
  const ds::TempDir folder;
  if (!ds::needs("command -v objdump", test, "no objdump"))
    return;
  const auto file = library(folder.path(), many_levels, test);
  if (file.empty())
    return;
  const Instructions found = scan(file);
  const auto lines_with = [&](const std::string& pattern) {
    const std::string text =
        ds::shell("objdump -d --no-show-raw-insn " + ds::shell_quote(file.string()) +
                  " | grep -cE '" + pattern + "'")
            .output;
    return std::stoul(text);
  };
  CHECK(find(found, "avx512f")->count == lines_with("zmm|vpsraq"));
  CHECK(find(found, "avx512vl")->count == lines_with("vpsraq"));
  CHECK(find(found, "fma")->count == lines_with("vfn?madd"));
  CHECK(find(found, "popcnt")->count == lines_with("popcnt"));
  CHECK(find(found, "aes")->count == lines_with("aesenc"));
}

TEST_CASE("instructions: a library that asks the CPU is told") {
  const std::string test = "instructions of a library that asks the CPU";
  const ds::TempDir folder;
  const auto file = library(folder.path(), asks, test);
  if (file.empty())
    return;
  CHECK(scan(file).asks_cpu);
  CHECK(ds::inspect_json(ds::inspect_file(file, {.scan_instructions = true}))
            .find(R"("instructions":{"asks_cpu":true,"sets":[)") != std::string::npos);
  // They are read where that is asked for alone, and of x86-64 alone.
  CHECK_FALSE(ds::inspect_file(file).libraries.at(0).instructions);
  std::string bytes = ds::read_file(file);
  bytes[18] = static_cast<char>(183);  // e_machine: EM_AARCH64
  ds::write_file(file, bytes);
  const ds::Requirements other = ds::inspect_file(file, {.scan_instructions = true});
  CHECK_FALSE(other.libraries.at(0).instructions.value().read);
  CHECK(ds::inspect_text(other).find("code       not scanned: it is not for x86-64") !=
        std::string::npos);
  CHECK(ds::inspect_json(other).find(R"("instructions":null)") != std::string::npos);
}

TEST_CASE("instructions: sections that lie over each other are not read again and again") {
  const std::string test = "sections over each other";
  const ds::TempDir folder;
  const auto file = library(folder.path(), many_levels, test);
  if (file.empty())
    return;
  // Each section header is 64 bytes: type at 4, flags at 8, offset at 24, size at 32.
  std::string bytes = ds::read_file(file);
  const auto number = [&bytes](std::size_t at, std::size_t size) {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data() + at, size);
    return value;
  };
  const std::size_t table = number(0x28, 8), count = number(0x3c, 2);
  const std::uint64_t none = 0, whole = bytes.size();
  std::size_t changed = 0;
  for (std::size_t at = 1; at < count; ++at) {
    const std::size_t header = table + 64 * at;
    if (number(header + 4, 4) != 1 || (number(header + 8, 8) & 4) == 0)
      continue;
    std::memcpy(bytes.data() + header + 24, &none, 8);
    std::memcpy(bytes.data() + header + 32, &whole, 8);
    ++changed;
  }
  REQUIRE(changed > 1);
  CHECK_NOTHROW(ds::inspect_library(bytes, "lib.so"));
  try {
    ds::inspect_library(bytes, "lib.so", {.scan_instructions = true});
    FAIL_CHECK("was read");
  } catch (const ds::Error& error) {
    CHECK(error.what() == "lib.so: it is damaged: its sections lie over each other");
  }
}
