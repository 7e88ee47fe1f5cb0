// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <elf.h>

#include <cstring>
#include <random>

#include "artifact/artifact.h"
#include "artifact/fatbin.h"
#include "base/error.h"
#include "base/text.h"
#include "support/toy_library.h"

namespace {

constexpr std::uint64_t exact = 0x100000, family = 0x200000, lz4 = 0x2000, zstd = 0x8000;

template <typename Number>
void put(std::string& out, Number value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

/// One entry as fatbinary writes it.
std::string entry(std::uint16_t kind, std::uint32_t arch, std::uint64_t flags = 0,
                  const std::string& payload = "12345678", std::uint16_t major = 9) {
  std::string out;
  put<std::uint16_t>(out, kind);
  put<std::uint16_t>(out, 0x0101);
  put<std::uint32_t>(out, 64);
  put<std::uint64_t>(out, payload.size());
  put<std::uint32_t>(out, 0);
  put<std::uint32_t>(out, 0);
  put<std::uint16_t>(out, 0);
  put<std::uint16_t>(out, major);
  put<std::uint32_t>(out, arch);
  put<std::uint64_t>(out, 0);
  put<std::uint64_t>(out, flags | 0x11);
  put<std::uint64_t>(out, 0);
  put<std::uint64_t>(out, 0);
  return out + payload;
}

std::string sass(std::uint32_t arch, std::uint64_t flags = 0) {
  return entry(2, arch, flags);
}
std::string ptx(std::uint32_t arch, std::uint64_t flags = 0) {
  return entry(1, arch, flags);
}

std::string container(const std::string& entries) {
  std::string out;
  put<std::uint32_t>(out, 0xBA55ED50);
  put<std::uint16_t>(out, 1);
  put<std::uint16_t>(out, 16);
  put<std::uint64_t>(out, entries.size());
  return out + entries;
}

ds::GpuImages read(const std::string& section) {
  const ds::DeviceCode code{.sections = {{.bytes = section, .address = 0}}, .linked = {}};
  return ds::read_fatbin(code, "lib.so").images;
}

using Names = std::vector<std::string>;

const char* const kernel =
    "__global__ void NAME(float* p) { p[threadIdx.x] *= 2; }\n"
    "extern \"C\" void run_NAME(float* p) { NAME<<<1, 32>>>(p); }\n";

void write_kernel(const std::filesystem::path& folder, const std::string& name) {
  std::string text = kernel;
  for (std::size_t at = 0; (at = text.find("NAME")) != std::string::npos;) {
    text.replace(at, 4, name);
  }
  ds::write_file(folder / (name + ".cu"), text);
}

/// Runs a line of nvcc calls in `folder` and inspects what it made.
ds::Requirements built(const std::filesystem::path& folder, const std::string& line,
                       const std::string& library) {
  const ds::ShellResult made = ds::shell("cd " + ds::shell_quote(folder.string()) + " && " + line);
  INFO(made.output);
  REQUIRE(made.status == 0);
  return ds::inspect_file(folder / library);
}

bool has_nvcc(const std::string& test) {
  return ds::needs("command -v nvcc", test, "no nvcc") &&
         ds::needs("nvcc --list-gpu-code | grep -qx sm_90", test, "nvcc without sm_90");
}

}  // namespace

TEST_CASE("containers, entries and flags are read") {
  const ds::GpuImages gpu = read(container(sass(80) + sass(90, exact | zstd) + ptx(90, lz4)) +
                                 container(sass(80) + sass(100, family) + ptx(90) + entry(8, 70)));
  CHECK(gpu.units == 2);
  CHECK(gpu.sass == Names{"80", "90a", "100f"});
  CHECK(gpu.sass_all_units == Names{"80"});
  CHECK(gpu.ptx == std::vector<ds::PtxImage>{{"90", "9.0"}});
  CHECK(gpu.ptx_all_units == gpu.ptx);
  CHECK(gpu.compression == Names{"lz4", "none", "zstd"});
  CHECK(gpu.unit_kinds.size() == 2);
  CHECK(ds::image_for(gpu, "9.0") == ds::Image::ptx);
  CHECK(ds::image_for(gpu, "8.0") == ds::Image::sass);
  CHECK(ds::image_for(gpu, "7.0") == ds::Image::none);
}

TEST_CASE("padding between containers and units without images are passed over") {
  const ds::GpuImages gpu = read(container("") + std::string(24, '\0') + container(entry(8, 90)) +
                                 container(sass(80)) + std::string(5, '\0'));
  CHECK(gpu.units == 1);
  CHECK(gpu.sass_all_units == Names{"80"});
  CHECK(read("").units == 0);
}

TEST_CASE("the device linker's container counts only with relocatable code") {
  const std::string first = container(sass(80));
  const std::string section = first + container(sass(80) + ptx(90));
  ds::DeviceCode code{.sections = {{.bytes = section, .address = 0x1000}}, .linked = {0x1000}};
  CHECK(ds::read_fatbin(code, "x").images.units == 1);
  CHECK(ds::image_for(ds::read_fatbin(code, "x").images, "9.0") == ds::Image::ptx);
  code.relocatable = true;
  CHECK(ds::read_fatbin(code, "x").images.units == 2);
  CHECK(ds::image_for(ds::read_fatbin(code, "x").images, "9.0") == ds::Image::none);
}

TEST_CASE("the toolkit shows in a cubin's version or in its note") {
  const auto toolkit = [](const std::string& entries) {
    const std::string section = container(entries);
    const ds::DeviceCode code{.sections = {{.bytes = section, .address = 0}}, .linked = {}};
    return ds::read_fatbin(code, "x").toolkit;
  };
  std::string cubin = "\177ELF" + std::string(16, '\0');
  put<std::uint32_t>(cubin, 124);
  CHECK(toolkit(entry(2, 80, 0, cubin)) == "12.4");
  cubin[20] = 1;
  CHECK(toolkit(entry(2, 80, 0, cubin)).empty());
  const std::string note = "Cuda compilation tools, release 13.0, V13.0.88";
  Elf64_Ehdr header{};
  std::copy(cubin.begin(), cubin.end(), reinterpret_cast<char*>(&header));
  header.e_shoff = sizeof header;
  header.e_shnum = 2;
  Elf64_Shdr sections[2] = {};
  sections[1].sh_type = SHT_NOTE;
  sections[1].sh_offset = sizeof header + sizeof sections;
  sections[1].sh_size = note.size();
  cubin.assign(reinterpret_cast<const char*>(&header), sizeof header);
  cubin.append(reinterpret_cast<const char*>(sections), sizeof sections);
  cubin += note;
  CHECK(toolkit(entry(2, 80, 0, cubin)) == "13.0");
  CHECK(toolkit(entry(2, 80, 0, cubin) + entry(1, 80, 0, "", 8)) == "13.0");
  CHECK(toolkit(entry(1, 80, 0, "", 8)).empty());
  CHECK(toolkit(sass(80)).empty());
  // Text that is in no note may be of the program itself.
  CHECK(toolkit(entry(2, 80, 0, cubin.substr(0, sizeof header) + std::string(256, '\0') + note))
            .empty());
}

TEST_CASE("lying fatbins are refused") {
  const std::string good = container(sass(80));
  const auto patched = [&good](std::size_t at, std::uint64_t value, std::size_t size) {
    std::string bytes = good;
    std::memcpy(bytes.data() + at, &value, size);
    return bytes;
  };
  const std::string bad[] = {
      "garbage garbage garbage",  good.substr(0, good.size() - 1),
      good.substr(0, 12) + "x",   patched(4, 2, 2),         // container version
      patched(6, 0, 2),                                     // container header
      patched(6, 0xffff, 2),      patched(8, 1u << 30, 8),  // container size
      patched(8, ~0ull, 8),       patched(20, 0, 4),        // entry header
      patched(20, 63, 4),         patched(20, 0xffffffff, 4),
      patched(24, ~0ull, 8),  // payload
      patched(24, ~0ull - 63, 8), patched(24, 9, 8),
  };
  for (const std::string& section : bad)
    CHECK_THROWS_AS(read(section), ds::Error);
}

TEST_CASE("no damage to a fatbin crashes the reader") {
  std::string sound;
  for (std::uint32_t arch : {75, 80, 86, 90}) {
    sound += container(sass(arch) + sass(arch + 1, exact) + ptx(arch, zstd));
  }
  std::mt19937 random(20260103);
  for (int round = 0; round < 5000; ++round) {
    std::string bytes = sound;
    for (unsigned changes = 1 + random() % 3; changes > 0; --changes) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    if (random() % 8 == 0)
      bytes.resize(random() % bytes.size());
    try {
      read(bytes);
    } catch (const ds::Error& error) {
      CHECK(error.status() == ds::ExitStatus::usage);
    }
  }
}

TEST_CASE("the wrappers of a library tell the device linker's container") {
  const ds::TempDir folder;
  ds::write_file(folder.path() / "link.fatbin", container(sass(80)));
  ds::write_file(folder.path() / "unit.fatbin", container(sass(80) + ptx(90)));
  const auto file = ds::toy_library(folder.path(), "libdev.so",
                                    ".section .nv_fatbin,\"a\"\n.balign 8\n"
                                    "link: .incbin \"link.fatbin\"\n.balign 8\n"
                                    "unit: .incbin \"unit.fatbin\"\n"
                                    ".section .nvFatBinSegment,\"aw\"\n.balign 8\n"
                                    ".long 0x466243b1, 2\n.quad link, 0\n"
                                    ".long 0x466243b1, 1\n.quad unit, 0\n",
                                    "-nostdlib", "wrappers tell the device linker's container");
  if (file.empty())
    return;
  const ds::Requirements found = ds::inspect_file(file);
  CHECK(found.kind == "library");
  CHECK(found.cuda == "13.0");
  REQUIRE(found.libraries.size() == 1);
  CHECK(found.libraries[0].gpu.units == 1);
  CHECK(found.libraries[0].gpu.ptx_all_units.size() == 1);
}

TEST_CASE("units that nvcc compiled for different GPUs") {
  if (!has_nvcc("units that nvcc compiled for different GPUs"))
    return;
  const ds::TempDir folder;
  write_kernel(folder.path(), "ka");
  write_kernel(folder.path(), "kb");
  const ds::Requirements found = built(
      folder.path(),
      "nvcc -c -Xcompiler -fPIC -gencode arch=compute_80,code=sm_80"
      " -gencode arch=compute_90,code=[sm_90,compute_90] ka.cu -o ka.o && "
      "nvcc -c -Xcompiler -fPIC -gencode arch=compute_80,code=sm_80"
      " -gencode arch=compute_90a,code=sm_90a kb.cu -o kb.o && g++ -shared ka.o kb.o -o lib.so",
      "lib.so");
  REQUIRE(found.libraries.size() == 1);
  const ds::GpuImages& gpu = found.libraries[0].gpu;
  CHECK(gpu.units == 2);
  CHECK(gpu.sass == Names{"80", "90", "90a"});
  CHECK(gpu.sass_all_units == Names{"80"});
  REQUIRE(gpu.ptx.size() == 1);
  CHECK(gpu.ptx[0].arch == "90");
  CHECK(gpu.ptx_all_units.empty());
  CHECK(ds::image_for(gpu, "8.6") == ds::Image::sass);
  CHECK(ds::image_for(gpu, "9.0") == ds::Image::sass);
  CHECK(ds::image_for(gpu, "10.0") == ds::Image::none);
  const std::string release = ds::shell("nvcc --version").output;
  CHECK(release.find("release " + found.cuda + ",") != std::string::npos);
  if (!ds::needs("command -v cuobjdump", "images agree with cuobjdump", "no cuobjdump"))
    return;
  const std::string listed =
      ds::shell("cuobjdump --list-elf --list-ptx " + ds::shell_quote(found.file)).output;
  for (const char* image : {"sm_80.cubin", "sm_90", "sm_90.ptx"}) {
    CHECK(listed.find(image) != std::string::npos);
  }
}

TEST_CASE("a library that nvcc compiled, compressed and linked") {
  if (!has_nvcc("a library that nvcc compiled, compressed and linked"))
    return;
  const ds::TempDir folder;
  write_kernel(folder.path(), "ka");
  write_kernel(folder.path(), "kb");
  const ds::Requirements found =
      built(folder.path(),
            "nvcc -shared -cudart shared -Xcompiler -fPIC -Xfatbin -compress-all"
            " -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=compute_90"
            " ka.cu kb.cu -o lib.so",
            "lib.so");
  REQUIRE(found.libraries.size() == 1);
  const ds::GpuImages& gpu = found.libraries[0].gpu;
  CHECK(gpu.units == 2);
  CHECK(gpu.sass_all_units == Names{"80"});
  CHECK(gpu.ptx_all_units.size() == 1);
  CHECK(gpu.compression.size() == 1);
  CHECK(gpu.compression != Names{"none"});
  CHECK(ds::image_for(gpu, "9.0") == ds::Image::ptx);

  const std::string sound = ds::read_file(folder.path() / "lib.so");
  std::mt19937 random(20260104);
  for (int round = 0; round < 1000; ++round) {
    std::string bytes = sound;
    for (unsigned changes = 1 + random() % 8; changes > 0; --changes) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    try {
      ds::inspect_library(bytes, "lib.so");
    } catch (const ds::Error& error) {
      CHECK(error.status() == ds::ExitStatus::usage);
    }
  }
}
