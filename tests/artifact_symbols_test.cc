// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>

#include "artifact/artifact.h"
#include "base/error.h"
#include "base/file.h"
#include "support/toy_library.h"

using namespace ds;

namespace {

constexpr const char* source =
    "#include <cstdlib>\n#include <string>\n"
    "extern \"C\" int of_another(int);\n"
    "extern \"C\" int maybe(int) __attribute__((weak));\n"
    "int taken(const std::string& text);\n"
    "static int hidden_one() { return std::atoi(\"1\"); }\n"
    "__attribute__((visibility(\"hidden\"))) int hidden_two() { return hidden_one(); }\n"
    "extern \"C\" int given(int n) {\n"
    "  return of_another(n) + (maybe ? maybe(n) : 0) + taken(std::string(n, 'x')) + hidden_two();\n"
    "}\n";

const NeededSymbol* needed(const LibrarySymbols& symbols, const std::string& name) {
  const auto found = std::find_if(symbols.undefined.begin(), symbols.undefined.end(),
                                  [&](const auto& symbol) { return symbol.name == name; });
  return found == symbols.undefined.end() ? nullptr : &*found;
}

bool gives(const LibrarySymbols& symbols, const std::string& name) {
  return std::any_of(symbols.defined.begin(), symbols.defined.end(),
                     [&](const auto& symbol) { return symbol.name == name; });
}

}  // namespace

TEST_CASE("what a library takes and gives") {
  const TempDir folder;
  const std::string bytes =
      read_file(toy_library(folder.path(), "libtoy.so", source, "-Wl,-rpath,/opt/lib", "symbols"));
  const LibrarySymbols symbols = library_symbols(bytes, "libtoy.so");
  REQUIRE(needed(symbols, "of_another") != nullptr);
  CHECK_FALSE(needed(symbols, "of_another")->weak);
  CHECK(needed(symbols, "of_another")->version.empty());
  REQUIRE(needed(symbols, "maybe") != nullptr);
  CHECK(needed(symbols, "maybe")->weak);
  CHECK(gives(symbols, "given"));
  CHECK_FALSE(gives(symbols, "_Z10hidden_twov"));
  const bool versioned = std::any_of(
      symbols.undefined.begin(), symbols.undefined.end(), [](const NeededSymbol& symbol) {
        return symbol.library == "libc.so.6" && symbol.version.starts_with("GLIBC_2.");
      });
  CHECK(versioned);
  const LibraryNeeds needs = inspect_library(bytes, "libtoy.so");
  CHECK(needs.cxx_strings == "cxx11");
  CHECK(needs.undefined >= 2);
  CHECK(needs.undefined < symbols.undefined.size());
  CHECK(needs.cuda_runtime.empty());
}

TEST_CASE("strings of before GCC 5 are told apart, RPATH and RUNPATH too") {
  const TempDir folder;
  const auto needs_of = [&](const std::string& flags) {
    return inspect_library(
        read_file(toy_library(folder.path(), "libtoy.so", source, flags, "strings")), "libtoy.so");
  };
  CHECK(needs_of("-D_GLIBCXX_USE_CXX11_ABI=0").cxx_strings == "old");
  const LibraryNeeds old = needs_of("-Wl,--disable-new-dtags,-rpath,/opt/lib");
  CHECK(old.rpath == "/opt/lib");
  CHECK(old.runpath.empty());
  const LibraryNeeds young = needs_of("-Wl,--enable-new-dtags,-rpath,/opt/lib");
  CHECK(young.runpath == "/opt/lib");
  CHECK(young.rpath.empty());
}

TEST_CASE("DeepSpeed's own record is read, not run") {
  const auto record = read_install_record(
      "version='0.19.8+abc'\ngit_hash='x'\n"
      "installed_ops={'async_io': 1, 'fused_adam': False, 'cpu_adam': True}\n"
      "accelerator_name='cuda'\n"
      "torch_info={'version': '2.11', 'bf16_support': True, 'cuda_version': '13.0', "
      "'hip_version': '0.0'}\n");
  REQUIRE(record);
  CHECK(*record == InstallRecord{"0.19.8+abc", "cuda", "2.11", "13.0", {"async_io", "cpu_adam"}});
  CHECK(read_install_record("installed_ops={}\ntorch_info={'version': '0.0'}\n") ==
        InstallRecord{});
  for (const char* text : {"", "version='1'", "import os\nos.system('x')\n"})
    CHECK_FALSE(read_install_record(text));
  // Damaged text gives what stands before the damage.
  CHECK(read_install_record("installed_ops={'a': 1, 'b")->ops == std::vector<std::string>{"a"});
}

TEST_CASE("two libraries, and a folder") {
  const TempDir folder;
  namespace fs = std::filesystem;
  const fs::path first = folder.path() / "first", second = folder.path() / "second";
  fs::create_directories(first / "sub");
  fs::create_directories(second);
  toy_library(first / "sub", "libtoy.so", source, "", "folder");
  write_file(first / "note.txt", "x");
  fs::create_symlink("libtoy.so", first / "sub" / "libtoy.so.1");
  const Requirements found = inspect_file(first);
  CHECK(found.kind == "folder");
  CHECK(found.installed_files == 3);
  REQUIRE(found.libraries.size() == 1);
  CHECK(found.libraries[0].path == "sub/libtoy.so");
  CHECK(diff_text(found, found).ends_with("no difference\n"));
  fs::create_directories(second / "sub");
  toy_library(second / "sub", "libtoy.so", source, "-Wl,-soname,libtoy.so.2", "diff");
  const std::string text = diff_text(found, inspect_file(second));
  CHECK_MESSAGE(text.find("sub/libtoy.so\n  soname                    none -> libtoy.so.2\n") !=
                    std::string::npos,
                text);
  CHECK_THROWS_AS(inspect_file(folder.path() / "first" / "note.txt"), Error);
  fs::create_directories(folder.path() / "empty");
  CHECK_THROWS_AS(inspect_file(folder.path() / "empty"), Error);
}
