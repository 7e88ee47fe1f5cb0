// SPDX-License-Identifier: Apache-2.0
//
// Folds what the libraries of a wheel need into what the wheel needs.
#include <algorithm>
#include <set>

#include "artifact/artifact.h"
#include "artifact/bytes.h"
#include "artifact/elf.h"
#include "artifact/fatbin.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/text.h"

namespace ds {
namespace {

constexpr std::size_t library_limit = std::size_t{16} << 30;

struct Inspected {
  LibraryNeeds needs;
  std::string toolkit;
};

std::string file_name(std::string_view path) {
  return std::string(path.substr(path.rfind('/') + 1));
}

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

Inspected inspect(std::string_view bytes, const std::string& path, const std::string& shown) {
  ElfFile elf = read_elf(bytes, shown);
  Fatbin fatbin = read_fatbin(elf.device, shown);
  Inspected inspected{.needs = std::move(elf.needs), .toolkit = std::move(fatbin.toolkit)};
  LibraryNeeds& needs = inspected.needs;
  needs.path = path;
  needs.op = op_of(path);
  needs.python = python_of(path);
  needs.links_torch =
      std::any_of(needs.needed.begin(), needs.needed.end(), [](const std::string& name) {
        return name.starts_with("libtorch") || name.starts_with("libc10");
      });
  needs.gpu = std::move(fatbin.images);
  return inspected;
}

void raise(std::string& highest, const std::string& version) {
  if (compare_versions(version, highest) > 0)
    highest = version;
}

void add(Requirements& sum, Inspected inspected) {
  const LibraryNeeds& needs = inspected.needs;
  raise(sum.glibc, needs.glibc);
  raise(sum.glibcxx, needs.glibcxx);
  raise(sum.cxxabi, needs.cxxabi);
  raise(sum.cuda, inspected.toolkit);
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

Requirements inspect_alone(const std::filesystem::path& file) {
  const std::string bytes = read_file(file, library_limit);
  const std::string path = file.string();
  if (!bytes.starts_with("\177ELF")) {
    throw Error(path + ": it is neither a wheel nor an ELF library",
                "name a file that ends in .whl, or a shared library", ExitStatus::usage);
  }
  Requirements sum;
  sum.file = path;
  sum.kind = "library";
  sum.sha256 = sha256_hex(bytes);
  sum.installed_bytes = bytes.size();
  sum.installed_files = 1;
  add(sum, inspect(bytes, path, path));
  sum_needed(sum);
  return sum;
}

}  // namespace

LibraryNeeds inspect_library(std::string_view bytes, const std::string& path) {
  return inspect(bytes, path, path).needs;
}

Requirements inspect_wheel(const Wheel& wheel) {
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
  for (const WheelEntry& entry : wheel.entries)
    sum.installed_bytes += entry.size;
  std::vector<OpRecord> records;
  read_wheel(wheel, [&](const WheelEntry& entry, std::string_view content) {
    if (entry.path == wheel.dist_info + "/" + record_name)
      records = read_op_records(content).value_or(std::vector<OpRecord>());
    if (!is_library_name(entry.path))
      return;
    add(sum, inspect(content, entry.path, sum.file + ": " + entry.path));
  });
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

Requirements inspect_file(const std::filesystem::path& file) {
  return file.extension() == ".whl" ? inspect_wheel(open_wheel(file)) : inspect_alone(file);
}

}  // namespace ds
