// SPDX-License-Identifier: Apache-2.0
//
// Folds what the libraries of a wheel need into what the wheel needs.
#include <algorithm>
#include <set>

#include "artifact/artifact.h"
#include "artifact/bytes.h"
#include "artifact/elf.h"
#include "artifact/fatbin.h"
#include "artifact/inspected.h"
#include "artifact/mapped_file.h"
#include "base/sha256.h"
#include "base/text.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

/// "x.so", "x.so.1": what a loader opens.
bool is_library_name(std::string_view path) {
  const std::string name = file_name(path);
  return name.ends_with(".so") || name.find(".so.") != std::string::npos;
}

/// ds_ops/<op>/lib<op>.so
std::string op_of(std::string_view path) {
  const std::vector<std::string> pieces = split(path, '/');
  const bool ours =
      pieces.size() == 3 && pieces[0] == "ds_ops" && pieces[2] == "lib" + pieces[1] + ".so";
  return ours ? pieces[1] : "";
}

/// The interpreter that imports a file of this name: "x.cpython-311-x86_64-linux-gnu.so" (PEP
/// 3149).
std::string python_of(std::string_view path) {
  const std::string name = file_name(path);
  if (name.ends_with(".abi3.so"))
    return "abi3";
  constexpr std::string_view mark = ".cpython-";
  const std::size_t at = name.find(mark);
  if (at == std::string::npos || !name.ends_with(".so"))
    return {};
  const std::string_view rest = std::string_view(name).substr(at + mark.size());
  const std::size_t digits = rest.find_first_not_of("0123456789");
  if (digits == 0 || digits == std::string_view::npos)
    return {};
  const bool free_threaded = rest.substr(digits).starts_with("t-");
  return "cp" + std::string(rest.substr(0, digits)) + (free_threaded ? "t" : "");
}

/// What the names of symbols tell; `needs` has its device code by now.
void take_symbols(const LibrarySymbols& symbols, LibraryNeeds& needs) {
  bool cxx11 = false, old = false, torch_cxx = false, torch_c = false, registers = false;
  for (const NeededSymbol& symbol : symbols.undefined) {
    const std::string_view name = symbol.name;
    needs.undefined += symbol.weak ? 0 : 1;
    if (!symbol.weak && symbol.version.empty())
      needs.outside.push_back(symbol.name);
    // Itanium C++ ABI: "Ss" abbreviates the std::string of before GCC 5.
    if (name.find("NSt7__cxx11") != std::string_view::npos)
      cxx11 = true;
    else if (name.starts_with("_Z") &&
             (name.ends_with("Ss") || name.starts_with("_ZNSs") || name.starts_with("_ZNKSs")))
      old = true;
    torch_cxx |= starts_with_any(name, {"_ZN3c10", "_ZNK3c10", "_ZN2at", "_ZNK2at", "_ZN5torch",
                                        "_ZNK5torch", "_ZTIN3c10", "_ZTVN3c10", "_ZTVN5torch"});
    torch_c |= starts_with_any(name, {"aoti_torch_", "torch_"});
    registers |= name == "__cudaRegisterFatBinary";
  }
  std::sort(needs.outside.begin(), needs.outside.end());
  needs.cxx_strings = cxx11 ? "cxx11" : old ? "old" : "";
  if (needs.links_torch)
    needs.torch_abi = torch_cxx ? "exact" : torch_c ? "stable" : "";
  const bool shared =
      std::any_of(needs.needed.begin(), needs.needed.end(),
                  [](const std::string& name) { return name.starts_with("libcudart.so"); });
  if (shared || needs.gpu.units > 0)
    needs.cuda_runtime = shared || registers ? "shared" : "static";
}

/// "12" of "libcudart.so.12", "libcudart-5a077122.so.12.0.107"; a cubin of CUDA 13 does not tell.
std::string runtime_major(const std::vector<std::string>& needed) {
  for (const std::string& name : needed) {
    constexpr std::string_view mark = ".so.";
    const std::size_t at = name.find(mark);
    if (!name.starts_with("libcudart") || at == std::string::npos)
      continue;
    const std::string rest = name.substr(at + mark.size());
    return rest.substr(0, rest.find_first_not_of("0123456789"));
  }
  return {};
}

void raise(std::string& highest, const std::string& version) {
  if (compare_versions(version, highest) > 0)
    highest = version;
}

Inspected inspect(std::string_view bytes, const std::string& path, const std::string& shown,
                  const Inspection& how) {
  ElfFile elf = read_elf(bytes, shown, how.scan_instructions);
  Fatbin fatbin = read_fatbin(elf.device, shown);
  const LibrarySymbols symbols = read_symbols(elf.symbols, shown);
  Inspected inspected{std::move(elf.needs)};
  LibraryNeeds& needs = inspected.needs;
  needs.path = path;
  needs.op = op_of(path);
  needs.python = python_of(path);
  needs.links_torch =
      std::any_of(needs.needed.begin(), needs.needed.end(), [](const std::string& name) {
        return name.starts_with("libtorch") || name.starts_with("libc10");
      });
  needs.gpu = std::move(fatbin.images);
  needs.cuda = std::move(fatbin.toolkit);
  if (how.scan_instructions) {
    needs.instructions = needs.machine == "x86_64"
                             ? scan_instructions(elf.code, elf.functions, shown)
                             : Instructions{false};
  }
  for (const PtxImage& ptx : needs.gpu.ptx)
    raise(needs.cuda, how.catalog->toolkit_of_ptx(ptx.isa));
  if (needs.cuda.empty() && needs.gpu.units > 0)
    needs.cuda = runtime_major(needs.needed);
  take_symbols(symbols, needs);
  for (const GivenSymbol& symbol : symbols.defined)
    inspected.gives.push_back(symbol.name);
  std::sort(inspected.gives.begin(), inspected.gives.end());
  return inspected;
}

void add(Requirements& sum, Inspected inspected) {
  const LibraryNeeds& needs = inspected.needs;
  raise(sum.glibc, needs.glibc);
  raise(sum.glibcxx, needs.glibcxx);
  raise(sum.cxxabi, needs.cxxabi);
  raise(sum.cuda, needs.cuda);
  sum.cpu_level = std::max(sum.cpu_level, needs.cpu_level);
  if (needs.links_torch)
    sum.torch = "any";
  sum.libraries.push_back(std::move(inspected.needs));
}

/// What no binary shows.
void take(const OpRecord& record, LibraryNeeds& library) {
  library.opens = record.host_needs;
  library.minimum_capability = record.minimum_capability;
  library.links_torch |= record.links_torch;
  library.torch = record.torch;
  library.torch_cxx11_abi = record.torch_cxx11_abi;
  library.toolkit = record.cuda;
  library.cuda_check_skipped = record.cuda_check_skipped;
}

void add_all(Requirements& sum, std::vector<Inspected> libraries) {
  resolve_within(libraries);
  for (Inspected& library : libraries)
    add(sum, std::move(library));
}

void sum_needed(Requirements& sum) {
  std::set<std::string> needed;
  for (const LibraryNeeds& library : sum.libraries) {
    needed.insert(library.needed.begin(), library.needed.end());
    needed.insert(library.opens.begin(), library.opens.end());
  }
  for (const LibraryNeeds& library : sum.libraries) {
    needed.erase(library.soname);
    needed.erase(file_name(library.path));
  }
  sum.needed.assign(needed.begin(), needed.end());
}

constexpr std::string_view elf_magic = "\177ELF";

Requirements inspect_alone(const fs::path& file, const Inspection& how) {
  const MappedFile content(file);
  const std::string path = file.string();
  if (!content.bytes().starts_with(elf_magic)) {
    throw Error(path + ": it is neither a wheel nor an ELF library",
                "name a file that ends in .whl, a shared library, or a folder of them",
                ExitStatus::usage);
  }
  Requirements sum;
  sum.file = path;
  sum.kind = "library";
  sum.sha256 = sha256_hex(content.bytes());
  sum.installed_bytes = content.bytes().size();
  sum.installed_files = 1;
  std::vector<Inspected> alone;
  alone.push_back(inspect(content.bytes(), path, path, how));
  add_all(sum, std::move(alone));
  sum_needed(sum);
  return sum;
}

/// Regular files below it, by path; links are other names for what is there, or elsewhere.
std::vector<fs::path> files_below(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code failure;
  fs::recursive_directory_iterator at(folder, failure);
  for (; !failure && at != fs::recursive_directory_iterator(); at.increment(failure)) {
    if (at->symlink_status().type() == fs::file_type::regular)
      files.push_back(at->path());
  }
  if (failure) {
    throw Error("cannot read " + folder.string() + ": " + failure.message(), {}, ExitStatus::usage);
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// What is no ELF file for loading (a linker's script, an object file) is passed over.
Requirements inspect_folder(const fs::path& folder, const Inspection& how) {
  Requirements sum;
  sum.file = folder.string();
  sum.kind = "folder";
  std::vector<Inspected> libraries;
  for (const fs::path& file : files_below(folder)) {
    const MappedFile content(file);
    ++sum.installed_files;
    sum.installed_bytes += content.bytes().size();
    if (!is_library_name(file.string()) || !content.bytes().starts_with(elf_magic))
      continue;
    libraries.push_back(
        inspect(content.bytes(), fs::relative(file, folder).string(), file.string(), how));
  }
  if (libraries.empty()) {
    throw Error(folder.string() + ": no library lies in it", "name a folder with .so files",
                ExitStatus::usage);
  }
  add_all(sum, std::move(libraries));
  sum_needed(sum);
  return sum;
}

}  // namespace

std::string file_name(std::string_view path) {
  return std::string(path.substr(path.rfind('/') + 1));
}

LibraryNeeds inspect_library(std::string_view bytes, const std::string& path,
                             const Inspection& how) {
  return inspect(bytes, path, path, how).needs;
}

LibrarySymbols library_symbols(std::string_view bytes, const std::string& path) {
  return read_symbols(read_elf(bytes, path).symbols, path);
}

Requirements inspect_wheel(const Wheel& wheel, const Inspection& how) {
  Requirements sum;
  sum.file = wheel.file.string();
  sum.kind = "wheel";
  sum.sha256 = wheel.sha256;
  sum.name = wheel.name;
  sum.version = wheel.version;
  sum.python_tag = wheel.tag;
  sum.requires_python = wheel.requires_python;
  sum.requires_dist = wheel.requires_dist;
  sum.installed_files = wheel.entries.size();
  for (const WheelEntry& entry : wheel.entries) {
    sum.installed_bytes += entry.size;
    sum.files[entry.path] = entry.sha256;
  }
  std::vector<OpRecord> records;
  std::vector<Inspected> libraries;
  read_wheel(wheel, [&](const WheelEntry& entry, std::string_view content) {
    if (entry.path == wheel.dist_info + "/" + record_name)
      records = read_op_records(content).value_or(std::vector<OpRecord>());
    if (entry.path == install_record_path)
      sum.deepspeed = read_install_record(content);
    if (!is_library_name(entry.path))
      return;
    libraries.push_back(inspect(content, entry.path, sum.file + ": " + entry.path, how));
  });
  add_all(sum, std::move(libraries));
  for (LibraryNeeds& library : sum.libraries) {
    for (const OpRecord& record : records) {
      if (record.library == library.path)
        library.op = record.name;
      if (!library.op.empty() && library.op == record.name)
        take(record, library);
    }
  }
  std::sort(sum.libraries.begin(), sum.libraries.end(),
            [](const auto& left, const auto& right) { return left.path < right.path; });
  sum_needed(sum);
  return sum;
}

Requirements inspect_file(const std::filesystem::path& file, const Inspection& how) {
  if (file.extension() == ".whl")
    return inspect_wheel(open_wheel(file), how);
  std::error_code failure;
  return fs::is_directory(file, failure) ? inspect_folder(file, how) : inspect_alone(file, how);
}

}  // namespace ds
