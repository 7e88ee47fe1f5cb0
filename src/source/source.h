// SPDX-License-Identifier: Apache-2.0
//
// Reads other people's sources of ops: a DeepSpeed tree, or a project whose setup.py builds torch
// extensions. The tree's own builders are asked, in the target interpreter, by the texts of
// templates/ (read_source.py and those before it). No plan is made here: what a builder says about
// this machine (-march=native, -gencode, --threads, paths of CUDA) is handed on as it is.
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace ds {

/// One op, as its builder says. Flags are in the builder's order, without what torch adds; those
/// that depend on GPUs are for compute capability 8.0 alone.
struct SourceOp {
  std::string name;
  std::string builder;               ///< its class; empty for an extension of a setup.py
  std::string build_variable;        ///< DS_BUILD_...
  std::string module;                ///< dotted: where Python imports the library from
  std::vector<std::string> sources;  ///< relative to the tree
  std::vector<std::string> include;  ///< relative to the tree, or absolute outside of it
  std::vector<std::string> defines;  ///< "NAME" or "NAME=VALUE", for all compilers
  std::vector<std::string> cxx_flags, nvcc_flags, link_flags;
  std::vector<std::string> libraries;      ///< -l names
  std::vector<std::string> library_dirs;   ///< of this machine
  bool cuda = false;                       ///< it has device code
  bool links_cuda = false;                 ///< torch's CUDA libraries too, with or without such
  std::string minimum_compute_capability;  ///< "7.0"; empty: any
  bool compatible = false;                 ///< sources and module can be relied on
  std::string because;                     ///< why not
  std::vector<std::string> needs;          ///< ops whose library has to be loaded before
  std::vector<std::string> warnings;       ///< the builder's
  std::string said;                        ///< the end of what it printed, if it is not compatible
  std::vector<std::string> torch_units;  ///< sources that include torch/extension.h, by their text
  bool operator==(const SourceOp&) const = default;
};

/// What torch's own setup adds to every op, from that torch.
struct TorchAdditions {
  std::vector<std::string> include, library_dirs, libraries;
  std::string problem;  ///< why torch could not say it
  bool operator==(const TorchAdditions&) const = default;
};

struct SourceTorch {
  std::string version;    ///< "2.11.0+cu130"
  std::string cuda;       ///< "13.0"; empty for a build without CUDA
  std::string cuda_home;  ///< of the toolkit that torch finds; empty without one
  std::string toolkit;    ///< its nvcc's release, "13.0"
  bool stub = false;      ///< there was no torch: the values below are empty
  TorchAdditions cpp, cuda_extension;
  std::vector<std::string> nvcc_flags;     ///< before those of the op
  std::map<std::string, std::string> abi;  ///< "_GLIBCXX_USE_CXX11_ABI": "True", as torch._C says
  bool operator==(const SourceTorch&) const = default;
};

struct SourcePython {
  std::string version, executable, include, ext_suffix, soabi;
  bool operator==(const SourcePython&) const = default;
};

struct SourceTree {
  enum class Kind { deepspeed, setup };
  Kind kind = Kind::deepspeed;
  std::filesystem::path root;               ///< absolute
  std::string name;                         ///< of the distribution, "deepspeed"
  std::string version;                      ///< as version.txt or setup.py says it
  std::optional<std::string> build_string;  ///< build.txt, which setup.py appends
  std::string digest;                       ///< source_digest(), where the caller asked for it
  std::string git_hash, git_branch;         ///< of a checkout
  bool dirty = false;                       ///< tracked files differ from the commit
  std::string problem;  ///< of the tree as a whole; its ops were asked one by one
  SourcePython python;
  SourceTorch torch;
  std::vector<SourceOp> ops;  ///< in the tree's order; names are unique, modules of compatible too
  bool operator==(const SourceTree&) const = default;
};

/// Versions for an interpreter without torch, whose place a stub takes.
struct TorchStub {
  std::string version = "2.6.0";
  std::string cuda = "12.4";  ///< empty: without CUDA
};

struct SourceOptions {
  std::filesystem::path cache;           ///< where archives are unpacked
  std::vector<std::string> environment;  ///< "CUDA_HOME=...", added to ours
  std::optional<TorchStub> stub;         ///< without it, no torch is an Error
  std::chrono::seconds limit{300};       ///< for all ops
  std::chrono::seconds op_limit{60};     ///< for one
};

/// `path`: a checkout, an unpacked or a packed sdist (.tar.gz, .zip). Runs code of the tree as this
/// user, with a time limit for each op; what is wrong with one op is in that op. Error (usage) for
/// a path that is no source of ops, or an archive that must not be unpacked; Error (build_failed)
/// if the interpreter cannot ask it: no torch, no setuptools, no answer.
SourceTree read_source(const std::filesystem::path& path, const std::string& python,
                       const SourceOptions& options);

/// Of the paths, kinds and contents of the tree's files, in hex; what a build leaves there does not
/// count. Error (usage) for a file that cannot be read.
std::string source_digest(const std::filesystem::path& tree);

/// "cp311-cp311-linux_x86_64": of a wheel with libraries for this Python, by its SOABI (PEP 425).
/// Error (build_failed) for what is no CPython.
std::string wheel_tag(const SourcePython& python);

/// Where Python imports a module from that is a library: "a.b" -> "a/b.cpython-311-...so".
std::string module_path(const std::string& module, const SourcePython& python);

/// A file that goes into a wheel as it is.
struct PackageFile {
  std::string path;  ///< '/' separated
  std::filesystem::path source;
  bool executable = false;
  bool operator==(const PackageFile&) const = default;
};

/// What the tree's own setup.py puts into a wheel when it compiles no op.
struct SourcePackage {
  std::string name, version;           ///< as its METADATA says
  std::string metadata;                ///< whole
  std::vector<PackageFile> files;      ///< from the wheel's root
  std::vector<PackageFile> data;       ///< below its .data folder: "scripts/ds"
  std::vector<PackageFile> dist_info;  ///< without METADATA, WHEEL, RECORD: "entry_points.txt"
  std::string record;                  ///< JSON: what build_record_path assigns; empty without it
};

struct PackageOptions {
  std::filesystem::path cache;           ///< where packages are kept
  std::vector<std::string> environment;  ///< "CUDA_HOME=...", added to ours
  std::string accelerator = "cuda";      ///< or "cpu": for which requirements differ
  std::chrono::seconds limit{600};
};

/// Runs the tree's setup.py in a copy of the tree, unless it did so before for this tree, Python
/// and torch. Error (usage) for a tree that cannot be copied; Error (build_failed) if there are no
/// setuptools, or if setup.py fails or makes what is no wheel.
SourcePackage read_package(const SourceTree& tree, const std::string& python,
                           const PackageOptions& options);

/// Where DeepSpeed looks for which ops are installed, and for which torch.
inline constexpr const char* build_record_path = "deepspeed/git_version_info_installed.py";

/// The compiled ops of a wheel.
struct InstalledOps {
  std::string version;             ///< of the wheel
  std::string accelerator;         ///< what DeepSpeed takes the hosts for: "cuda", "cpu"
  std::vector<std::string> names;  ///< of the ops
  bool bf16 = false;               ///< every GPU that it is built for has it
};

/// The file build_record_path of a wheel with these ops, in the form that this tree's setup.py
/// gives it; empty for a tree without.
std::string build_record(const SourceTree& tree, const SourcePackage& package,
                         const InstalledOps& installed);

}  // namespace ds
