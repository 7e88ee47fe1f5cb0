// SPDX-License-Identifier: Apache-2.0
//
// What a binary really needs, read from its own bits: ELF symbol versions and DT_NEEDED (libelf),
// the images of its fatbins, CPU level, Python tag. Nothing is ever run or loaded.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "wheel/wheel.h"

namespace ds {

struct PtxImage {
  std::string arch;  ///< "90", "100f"
  std::string isa;   ///< "9.0"
  bool operator==(const PtxImage&) const = default;
  auto operator<=>(const PtxImage&) const = default;
};

/// What one translation unit offers a GPU.
struct UnitImages {
  std::vector<std::string> sass;
  std::vector<PtxImage> ptx;
  bool operator==(const UnitImages&) const = default;
  auto operator<=>(const UnitImages&) const = default;
};

/// The fatbin images of one library. A unit is one translation unit's container.
struct GpuImages {
  int units = 0;
  std::vector<std::string> sass;            ///< in at least one unit: "80", "90a"
  std::vector<std::string> sass_all_units;  ///< in every unit
  std::vector<PtxImage> ptx;                ///< in at least one unit
  std::vector<PtxImage> ptx_all_units;
  std::vector<UnitImages> unit_kinds;  ///< the distinct sets that units have; empty: all have
                                       ///< sass_all_units and ptx_all_units
  std::vector<std::string> lto;  ///< code that is compiled at run time, by a library's own linker
  std::vector<std::string> compression;        ///< "none", "lz4", "zstd"
  std::map<std::string, std::uint64_t> bytes;  ///< of all images: "sm_80", "compute_90" (PTX)
  bool operator==(const GpuImages&) const = default;
};

/// A dynamic symbol that another library has to have.
struct NeededSymbol {
  std::string name;              ///< mangled
  std::string library, version;  ///< "libc.so.6", "GLIBC_2.34"; empty: any library, no version
  bool weak = false;             ///< the library loads without it
  bool operator==(const NeededSymbol&) const = default;
};

/// One that a library gives to others.
struct GivenSymbol {
  std::string name;
  bool weak = false;
  bool operator==(const GivenSymbol&) const = default;
};

/// In the order of the symbol table. Names are as they stand in the file: foreign text.
struct LibrarySymbols {
  std::vector<NeededSymbol> undefined;
  std::vector<GivenSymbol> defined;
};

/// An extension of the x86-64 instruction set that a library's code uses.
struct InstructionSet {
  std::string flag;         ///< of /proc/cpuinfo: "avx512f"
  int level = 0;            ///< of the x86-64 psABI that has it: 2..4; 0: none has
  std::uint64_t count = 0;  ///< instructions
  std::string first;        ///< the one at the lowest address: "scale+0x1c", or "0x11f0"
  bool operator==(const InstructionSet&) const = default;
};

/// What a disassembly finds. Whether a CPU ever comes to an instruction, it cannot tell.
struct Instructions {
  bool read = true;                       ///< false: the library is not for x86-64
  std::vector<InstructionSet> sets = {};  ///< beyond x86-64-v1, by flag
  bool asks_cpu = false;  ///< it holds CPUID: it may choose among its code while it runs
  bool operator==(const Instructions&) const = default;
};

struct LibraryNeeds {
  std::string path;                    ///< inside the wheel, or the file's
  std::string op;                      ///< ds_ops/<op>/lib<op>.so, or as the wheel's record says
  std::string machine;                 ///< "x86_64"
  std::string glibc, glibcxx, cxxabi;  ///< highest version needed; empty: none
  std::string gcc;                     ///< of libgcc_s.so.1, the same: "3.4"
  std::vector<std::string> weak_versions;  ///< that it uses where they are: "GLIBC_2.38"
  std::vector<std::string> needed;         ///< DT_NEEDED
  std::vector<std::string> opens;          ///< sonames that it loads while it runs: its op says so
  std::string soname;
  std::string runpath, rpath;  ///< DT_RUNPATH, DT_RPATH: the loader ignores the second beside the
                               ///< first
  std::size_t undefined = 0;   ///< symbols that it needs of others, weak ones apart
  /// Those of them that have no version and that no library of the wheel gives it, sorted: what
  /// PyTorch, Python and the driver must have.
  std::vector<std::string> outside;
  std::string cxx_strings;  ///< which std::string it takes from others: "cxx11", "old", "" neither
  std::string torch_abi;    ///< "exact": PyTorch's C++ interface; "stable": its C shim alone; ""
  std::string cuda;  ///< toolkit of its device code as far as it shows: "13.0", or "12" where
                     ///< the run time that it is linked with is all that tells; ""
  std::string cuda_runtime;                  ///< "shared", "static"; "" without device code
  int cpu_level = 0;                         ///< from GNU_PROPERTY_X86_ISA_1_NEEDED; 0: not stated
  std::optional<Instructions> instructions;  ///< if they were scanned
  std::string python;                        ///< "cp311", "abi3" from the file name; empty: any
  bool links_torch = false;
  std::string minimum_capability;       ///< its op says so: "7.0"; empty: none
  std::string torch;                    ///< that it was built with, as its op says; else empty
  std::optional<bool> torch_cxx11_abi;  ///< of that torch
  std::string toolkit;                  ///< CUDA that it was built with, as its op says; else empty
  bool cuda_check_skipped = false;      ///< built under DS_SKIP_CUDA_CHECK=1
  GpuImages gpu;                        ///< units == 0: no device code
  bool operator==(const LibraryNeeds&) const = default;
};

/// What DeepSpeed believes of its own compiled ops: it compiles them anew where accelerator, torch
/// or CUDA of a host (major and minor) are others.
struct InstallRecord {
  std::string version, accelerator;  ///< "0.19.8+...", "cuda"
  std::string torch, cuda;           ///< "2.11", "13.0"; empty: none is recorded
  std::vector<std::string> ops;      ///< that are in the wheel, sorted
  bool operator==(const InstallRecord&) const = default;
};

struct Requirements {
  std::string file, kind;     ///< kind: "wheel", "library", "folder"
  std::string sha256;         ///< of the file; empty for a folder
  std::string name, version;  ///< of the wheel's distribution
  std::string python_tag;     ///< of the wheel: "py3-none-linux_x86_64"
  std::string requires_python;
  std::vector<std::string> requires_dist;  ///< of its METADATA, as they stand there: PEP 508
  std::string glibc, glibcxx, cxxabi;      ///< the maximum over the libraries
  int cpu_level = 0;
  std::vector<std::string> needed;  ///< union of `needed` and `opens` of the libraries, sorted,
                                    ///< without the wheel's own
  std::string torch;                ///< "" or "any"
  std::string cuda;  ///< toolkit of the newest PTX or cubin, as far as it shows: "13.0"
  std::uint64_t installed_bytes = 0;  ///< sum of the sizes of the wheel's files
  std::uint64_t installed_files = 0;
  std::map<std::string, std::string> files;  ///< of a wheel: path -> sha256
  std::vector<LibraryNeeds> libraries;
  std::optional<InstallRecord> deepspeed;  ///< of a DeepSpeed wheel
  bool operator==(const Requirements&) const = default;
};

/// One of its libraries has code for GPUs.
bool has_device_code(const Requirements& requirements);

/// What an op says of itself in a wheel that we made, as no binary shows it.
struct OpRecord {
  std::string name;
  std::string self_test;                ///< "module:function", or empty
  std::vector<std::string> host_needs;  ///< sonames that it loads while it runs
  std::string minimum_capability = {};  ///< "7.0", or empty
  bool links_torch = false;
  std::string torch = {};  ///< version that it was built with
  std::optional<bool> torch_cxx11_abi = {};
  std::string cuda = {};  ///< toolkit: "13.0"
  bool cuda_check_skipped = false;
  std::string library = {};  ///< its path in the wheel; empty: ds_ops/<name>/lib<name>.so
  std::string module = {};   ///< that Python imports it as; empty for an op of ours
  std::string builder = {};  ///< class of DeepSpeed's that loads it; empty: a plain import does
  std::int64_t self_test_gpu_memory = 0;  ///< MiB that it takes; 0: not said
  bool operator==(const OpRecord&) const = default;
};

/// Where a wheel of ours keeps them, below its .dist-info.
inline constexpr const char* record_name = "ds_deploy/requirements.json";

/// The ops of such a record. Whoever made the wheel wrote it: what has not the form of a name, a
/// self-test or a soname is left out; nothing if it is no record at all.
std::optional<std::vector<OpRecord>> read_op_records(std::string_view text);

/// The file deepspeed/git_version_info_installed.py; nothing if it is no record. Its text is read,
/// never run.
std::optional<InstallRecord> read_install_record(std::string_view text);
inline constexpr const char* install_record_path = "deepspeed/git_version_info_installed.py";

struct Inspection {
  const Catalog* catalog = &builtin_catalog();
  bool scan_instructions = false;  ///< seconds for hundreds of MB
};

/// Reads one ELF file. Error (usage) for anything damaged or hostile; never reads out of bounds.
LibraryNeeds inspect_library(std::string_view bytes, const std::string& path,
                             const Inspection& how = {});

/// Its dynamic symbols; the same errors.
LibrarySymbols library_symbols(std::string_view bytes, const std::string& path);

/// A wheel, an ELF file, or a folder with some below it. Error (usage) if it is none of these.
Requirements inspect_file(const std::filesystem::path& file, const Inspection& how = {});
Requirements inspect_wheel(const Wheel& wheel, const Inspection& how = {});

/// {"schema":"ds-deploy.inspect/1",...} on one line.
std::string inspect_json(const Requirements& requirements);
std::string inspect_text(const Requirements& requirements);

/// All of it but the hashes of its files, on one line; and read again, from a host too: nothing if
/// it is no such text. {"schema":"ds-deploy.needs/1",...}
std::string requirements_json(const Requirements& requirements);
std::optional<Requirements> read_requirements(std::string_view text);

/// What the second has otherwise than the first: properties, libraries, files.
std::string diff_text(const Requirements& before, const Requirements& after);
/// {"schema":"ds-deploy.diff/1",...} on one line.
std::string diff_json(const Requirements& before, const Requirements& after);

/// What a GPU of this compute capability ("9.0") runs from: SASS of the same major with minor not
/// above, 'a' exactly, 'f' the family; else PTX not above. The worst over the units: ptx if one of
/// them has to be compiled by the driver, none if one of them has nothing. Units for 'a' or 'f'
/// alone do not count beside others.
enum class Image { sass, ptx, none };
Image image_for(const GpuImages& images, const std::string& compute_capability,
                const Catalog& catalog = builtin_catalog());

}  // namespace ds
