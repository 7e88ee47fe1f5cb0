// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "artifact/artifact.h"
#include "base/error.h"
#include "base/text.h"
#include "support/toy_library.h"

namespace {

const char* const cxx_source =
    "#include <cstdlib>\n#include <iostream>\n#include <stdexcept>\n#include <string>\n"
    "void f(int n) { if (n > 3) throw std::runtime_error(std::to_string(n)); std::cout << n; }\n"
    "const char* home() { return std::getenv(\"HOME\"); }\n";

ds::LibraryNeeds needs_of(const std::filesystem::path& file) {
  return ds::inspect_library(ds::read_file(file), file.filename());
}

/// Highest number of a family among the needed versions, by readelf's text.
std::string readelf_highest(const std::string& text, const std::string& family) {
  std::string highest;
  bool in_needs = false;
  for (const std::string& line : ds::lines(text)) {
    if (line.starts_with("Version "))
      in_needs = line.starts_with("Version needs");
    const std::size_t at = line.find("Name: " + family + "_");
    if (!in_needs || at == std::string::npos || line.find("WEAK") != std::string::npos)
      continue;
    const std::string version = ds::split_words(line.substr(at + 7 + family.size()))[0];
    if (version.find_first_not_of("0123456789.") != std::string::npos)
      continue;
    if (ds::compare_versions(version, highest) > 0)
      highest = version;
  }
  return highest;
}

void check_refused(const std::string& bytes, const std::string& says) {
  try {
    ds::inspect_library(bytes, "lib.so");
    FAIL_CHECK("was read");
  } catch (const ds::Error& error) {
    CAPTURE(error.what());
    CHECK(error.what().find(says) != std::string::npos);
    CHECK(error.what().starts_with("lib.so: "));
    CHECK(error.status() == ds::ExitStatus::usage);
  }
}

}  // namespace

TEST_CASE("what a library needs agrees with readelf") {
  const ds::TempDir folder;
  const auto file = ds::toy_library(folder.path(), "libtoy.so", cxx_source,
                                    "-Wl,-soname,libtoy.so.1 -Wl,-rpath,'$ORIGIN/../lib'",
                                    "library needs agree with readelf");
  if (file.empty())
    return;
  const ds::LibraryNeeds needs = needs_of(file);
  CHECK(needs.soname == "libtoy.so.1");
  CHECK(needs.runpath == "$ORIGIN/../lib");
  CHECK(needs.path == "libtoy.so");
  CHECK(needs.gpu.units == 0);
  CHECK_FALSE(needs.links_torch);
  CHECK(std::count(needs.needed.begin(), needs.needed.end(), "libstdc++.so.6") == 1);

  if (!ds::needs("command -v readelf", "library needs agree with readelf", "no readelf"))
    return;
  const std::string quoted = ds::shell_quote(file.string());
  const std::string versions = ds::shell("LC_ALL=C readelf -VW " + quoted).output;
  CHECK(needs.glibc == readelf_highest(versions, "GLIBC"));
  CHECK(needs.glibcxx == readelf_highest(versions, "GLIBCXX"));
  CHECK(needs.cxxabi == readelf_highest(versions, "CXXABI"));
  CHECK_FALSE(needs.glibc.empty());
  CHECK_FALSE(needs.glibcxx.empty());
  std::vector<std::string> needed;
  for (const std::string& line : ds::lines(ds::shell("LC_ALL=C readelf -dW " + quoted).output)) {
    if (line.find("(NEEDED)") == std::string::npos)
      continue;
    const std::size_t open = line.find('[');
    needed.push_back(line.substr(open + 1, line.find(']') - open - 1));
  }
  CHECK(needs.needed == needed);
}

TEST_CASE("packed relative relocations need glibc 2.36") {
  const ds::TempDir folder;
  const auto file = ds::toy_library(folder.path(), "librelr.so",
                                    "#include <cstdio>\nint a; int* p = &a; int* q = &a;\n"
                                    "void f() { std::puts(\"x\"); }\n",
                                    "-Wl,-z,pack-relative-relocs", "packed relative relocations");
  if (file.empty())
    return;
  const std::string versions =
      ds::shell("LC_ALL=C readelf -VW " + ds::shell_quote(file.string())).output;
  if (versions.find("GLIBC_ABI_DT_RELR") == std::string::npos) {
    std::cout << "SKIPPED: packed relative relocations: the linker made none" << std::endl;
    return;
  }
  CHECK(ds::compare_versions(needs_of(file).glibc, "2.36") >= 0);
}

TEST_CASE("versions that are only wanted weakly do not count") {
  const ds::TempDir folder;
  const auto file =
      ds::toy_library(folder.path(), "libweak.so",
                      "extern \"C\" int getentropy(void*, unsigned long) __attribute__((weak));\n"
                      "extern \"C\" int f() { return getentropy ? getentropy(nullptr, 0) : 0; }\n",
                      "-nostdlib -nostartfiles -lc", "weak versions do not count");
  if (file.empty())
    return;
  const std::string versions =
      ds::shell("LC_ALL=C readelf -VW " + ds::shell_quote(file.string())).output;
  CAPTURE(versions);
  CHECK(needs_of(file).glibc == readelf_highest(versions, "GLIBC"));
}

TEST_CASE("the CPU level comes from the property note") {
  const ds::TempDir folder;
  const std::string test = "the CPU level comes from the note";
  if (!ds::needs("test \"$(uname -m)\" = x86_64", test, "not an x86-64 machine"))
    return;
  if (!ds::needs("g++ -mneeded -x c++ -E /dev/null", test, "g++ without -mneeded"))
    return;
  const char* const source = "int f(int n) { return n; }\n";
  for (const auto& [march, level] : {std::pair("x86-64", 1), std::pair("x86-64-v2", 2),
                                     std::pair("x86-64-v3", 3), std::pair("x86-64-v4", 4)}) {
    const auto file = ds::toy_library(folder.path(), std::string("lib") + march + ".so", source,
                                      std::string("-mneeded -nostdlib -march=") + march, test);
    if (file.empty())
      return;
    CHECK(needs_of(file).cpu_level == level);
  }
  const auto bit =
      ds::toy_library(folder.path(), "libbit.so", source, "-nostdlib -Wl,-z,x86-64-v4", test);
  if (!bit.empty())
    CHECK(needs_of(bit).cpu_level == 4);
  const auto none = ds::toy_library(folder.path(), "libnone.so", source, "-nostdlib", test);
  if (!none.empty())
    CHECK(needs_of(none).cpu_level == 0);
}

TEST_CASE("torch, op and interpreter are told by names") {
  const ds::TempDir folder;
  const std::string test = "torch, op and interpreter are told by names";
  const auto c10 = ds::toy_library(folder.path(), "libc10.so", "int c;\n",
                                   "-nostdlib -Wl,-soname,libc10.so", test);
  if (c10.empty())
    return;
  const auto file =
      ds::toy_library(folder.path(), "libop.so", "extern int c; int f() { return c; }\n",
                      "-nostdlib -L. -l:libc10.so", test);
  if (file.empty())
    return;
  const std::string bytes = ds::read_file(file);
  CHECK(ds::inspect_library(bytes, "x.so").links_torch);
  CHECK(ds::inspect_library(bytes, "ds_ops/cpu_adam/libcpu_adam.so").op == "cpu_adam");
  CHECK(ds::inspect_library(bytes, "ds_ops/cpu_adam/libother.so").op.empty());
  CHECK(ds::inspect_library(bytes, "libcpu_adam.so").op.empty());
  const std::pair<const char*, const char*> names[] = {
      {"a/_C.cpython-311-x86_64-linux-gnu.so", "cp311"},
      {"a/_C.cpython-313t-x86_64-linux-gnu.so", "cp313t"},
      {"a/_C.abi3.so", "abi3"},
      {"a/_C.so", ""},
      {"a/_C.cpython-.so", ""},
      {"a.cpython-311-x/libx.so", ""},
  };
  for (const auto& [path, python] : names)
    CHECK(ds::inspect_library(bytes, path).python == python);
}

TEST_CASE("files that are no library are refused") {
  check_refused("", "it is no ELF file");
  check_refused("just text", "it is no ELF file");
  check_refused("\177ELF", "it is no 64-bit little-endian ELF file");
  check_refused("\177ELF" + std::string(12, '\1'), "it is no 64-bit little-endian ELF file");
  const ds::TempDir folder;
  const auto file = ds::toy_library(folder.path(), "libtoy.so", "int f() { return 1; }\n",
                                    "-nostdlib", "files that are no library are refused");
  if (file.empty())
    return;
  const std::string bytes = ds::read_file(file);
  check_refused(bytes.substr(0, 64), "damaged");
  check_refused(bytes.substr(0, bytes.size() / 2), "damaged");
  const auto object = ds::toy_library(folder.path(), "object.o", "int f() { return 1; }\n", "-c",
                                      "files that are no library are refused");
  if (!object.empty())
    check_refused(ds::read_file(object), "neither a shared library");
}

TEST_CASE("no damage to a library crashes the reader") {
  const ds::TempDir folder;
  const auto file = ds::toy_library(folder.path(), "libtoy.so", cxx_source, "-s -Wl,-rpath,/x",
                                    "no damage to a library crashes the reader");
  if (file.empty())
    return;
  const std::string sound = ds::read_file(file);
  std::uint64_t table = 0;
  std::memcpy(&table, sound.data() + 40, sizeof table);
  REQUIRE(table < sound.size());
  std::mt19937 random(20260102);
  int read = 0, refused = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string bytes = sound;
    for (unsigned changes = 1 + random() % 4; changes > 0; --changes) {
      std::size_t from = 0, to = bytes.size();
      if (random() % 4 == 0)
        to = 64;
      if (to != 64 && random() % 2 == 0)
        from = table;
      constexpr unsigned char nasty[] = {0, 1, 7, 0x7f, 0x80, 0xff};
      const std::size_t at = from + random() % (to - from);
      bytes[at] = static_cast<char>(random() % 2 == 0 ? nasty[random() % 6] : random());
    }
    if (random() % 16 == 0)
      bytes.resize(random() % bytes.size());
    try {
      ds::inspect_library(bytes, "lib.so");
      ++read;
    } catch (const ds::Error& error) {
      CHECK(error.status() == ds::ExitStatus::usage);
      ++refused;
    }
  }
  CHECK(read > 0);
  CHECK(refused > 0);
}
