// SPDX-License-Identifier: Apache-2.0
//
// Reads our YAML files. Today: op manifests (op.yaml, see ds-deploy-op(5)).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace ds {

/// One op, as its manifest says. Paths are as written: relative to the op's folder.
struct Op {
  enum class Kind { cpu, cuda };
  std::string name;
  std::string summary;
  Kind kind = Kind::cpu;
  std::string build_variable;  ///< DS_BUILD_...
  std::vector<std::string> sources;
  std::vector<std::string> include;
  std::vector<std::string> flags;       ///< for the C++ compiler
  std::vector<std::string> nvcc_flags;  ///< for nvcc
  std::vector<std::string> link_flags;
  std::vector<std::string> libraries;      ///< -l names
  std::string minimum_compute_capability;  ///< "7.0"; empty for cpu ops
  bool links_torch = false;
  std::vector<std::string> host_needs;  ///< sonames that must be on a host
  std::string self_test;                ///< "module:function"
  std::filesystem::path folder;         ///< absolute
  bool operator==(const Op&) const = default;
};

/// The op library: every folder of `root` that holds an op.yaml, sorted by name.
struct OpLibrary {
  std::filesystem::path root;  ///< absolute
  std::string version;         ///< root/VERSION
  std::string source_digest;   ///< sha256 over paths and contents of all files below root but tests
  std::vector<std::filesystem::path>
      files;           ///< what source_digest covers, relative to root, sorted
  std::string commit;  ///< filled in by the caller: git commit, or empty
  bool dirty = false;  ///< filled in by the caller: files differ from the commit
  std::vector<Op> ops;
};

/// Reads one manifest. Every problem of the file is in the InputError (unknown keys, wrong types,
/// missing keys, sources that do not exist), with line and column.
Op parse_op(const std::string& text, const std::filesystem::path& file);

/// Reads a whole library. InputError with the problems of all manifests, Error (usage) if there is
/// no op or no VERSION.
OpLibrary load_ops(const std::filesystem::path& root);

}  // namespace ds
