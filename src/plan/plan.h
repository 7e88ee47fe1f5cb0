// SPDX-License-Identifier: Apache-2.0
//
// Decides what is compiled, for which GPUs, and why. Pure: ops and facts in, jobs out.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "compat/compat.h"
#include "config/config.h"
#include "facts/facts.h"
#include "process/process.h"

namespace ds {

struct SourceTree;

struct Job {
  /// A `precompile` job only makes those that need it faster: it runs if at least `least` of them
  /// do, is no input of theirs and lies in no store, and what it made is removed when the build
  /// ends.
  enum class Kind { compile, link, precompile };
  Kind kind = Kind::compile;
  std::string op;
  std::string name;                           ///< "c++ cpu_adam/adam.cc", what progress shows
  Command command;                            ///< @OUT@, @DEP@, @KEEP@, @FOLDER@, @BUILD@
                                              ///< and @THREADS@ as build() knows them; an
                                              ///< empty cwd is the build folder
  std::vector<std::filesystem::path> inputs;  ///< known beforehand, relative to the cwd; headers
                                              ///< come from the depfile
  std::filesystem::path output;               ///< relative to the build folder, unique to the job
  std::vector<std::size_t> needs;             ///< indices of jobs that must be done before
  std::size_t least = 2;                      ///< of a precompile job
  int threads = 1;  ///< slots that it can use at one time, if it has to be told: @THREADS@
  std::string because;
};

struct PlannedOp {
  std::string name;
  Op::Kind kind = Op::Kind::cpu;
  std::vector<std::string> archs;     ///< "80", "90a"; empty for cpu ops
  std::filesystem::path library;      ///< output of its link job
  OpRules rules = {};                 ///< what it asks of a host, for the wheel's record
  std::string path = {};              ///< of the library inside the wheel
  std::vector<std::string> ptx = {};  ///< "90": that GPUs newer than these can run from
};

/// A CUDA toolkit of the build machine, and why it compiles the ops or not.
struct PlannedToolkit {
  std::string path, version;
  bool chosen = false;
  std::string because;
};

struct LeftOutOp {
  std::string name;
  std::string because;
  bool asked_for = false;  ///< DS_BUILD_<OP>=1: leaving it out is exit 9
};

/// One file of the wheel that is not compiled.
struct PlannedFile {
  std::filesystem::path source;
  std::string path;  ///< inside the wheel
};

struct BuildPlan {
  std::string package = "ds_ops";
  std::string version;  ///< with the local label
  std::string tag = "py3-none-linux_x86_64";
  std::vector<Job> jobs;  ///< needs come first
  std::vector<PlannedOp> ops;
  std::vector<LeftOutOp> left_out;
  std::vector<PlannedFile> files;  ///< Python faces
  std::vector<std::string> archs;  ///< "80", "90a", sorted; the union over the hosts
  std::string archs_because;
  std::string compiler, nvcc;  ///< "g++ 12.2.0 (/usr/bin/g++)", or empty
  std::vector<PlannedToolkit> toolkits;
  int cpu_level = 1;               ///< x86-64 micro-architecture level of the host code
  std::string cuda;                ///< "13.0" if any cuda op is built
  std::vector<std::string> notes;  ///< warnings of the plan
};

/// For which of the hosts' GPUs there is SASS: for each one's own architecture; for the lowest of
/// each major version, on which all of it run; or for the lowest of all, whose PTX the drivers
/// compile for the others when it is loaded first.
enum class ArchPolicy { exact, cover, ptx };

struct PlanOptions {
  std::map<std::string, std::string> environment;  ///< DS_BUILD_*, TORCH_CUDA_ARCH_LIST, CXX, ...
  ArchPolicy arch_policy = ArchPolicy::exact;      ///< where TORCH_CUDA_ARCH_LIST does not say
  std::string launcher = {};                       ///< ccache, sccache or distcc, or empty
  int cpu_level = 0;                               ///< 1..4; 0: what all hosts share
  bool debug_info = false;                         ///< of a foreign tree's ops: keep -g
  bool pch = true;                                 ///< torch's header is precompiled for them
  const Catalog* catalog = &builtin_catalog();
};

/// `builder` is the build machine, asked with the same probe. Error (build_failed) if no compiler
/// is there, an op asked for by name cannot be built, or nothing is left to build; UsageError for a
/// variable that cannot be read (TORCH_CUDA_ARCH_LIST=8.x, DS_BUILD_OPS=true).
BuildPlan make_plan(const OpLibrary& library, const Fleet& fleet, const HostFacts& builder,
                    const PlanOptions& options);

/// The same from a foreign tree: each translation unit a job, with the words that torch's own setup
/// would give to it, without those that are of the build machine. Ops are built with the torch and
/// for the Python of the interpreter that was asked. Error (build_failed) also where that is a stub
/// or no host has this Python.
BuildPlan make_source_plan(const SourceTree& tree, const Fleet& fleet, const HostFacts& builder,
                           const PlanOptions& options);

/// Hosts that one wheel of a foreign tree can serve: they have the same Python and the same torch.
struct TargetGroup {
  std::string python;              ///< "3.11", "3.13t"; empty: none says
  std::string torch;               ///< "2.11.0+cu130"; empty: none has one, as far as is known
  std::vector<std::string> hosts;  ///< names
};

/// In the fleet's order. What did not say enough (no torch, not reached) is with those of its
/// Python, else with the first; a fleet that says nothing is one group.
std::vector<TargetGroup> target_groups(const Fleet& fleet);

/// True if an interpreter of the build machine, as `builder` tells it, is like those of the group.
bool serves(const HostFacts& builder, const TargetGroup& group);

/// The facts of its hosts.
Fleet fleet_of(const TargetGroup& group, const Fleet& fleet);
std::string to_string(const TargetGroup& group);  ///< "Python 3.11 with torch 2.11.0+cu130"

/// The jobs of several plans, to be run together. What two of them make alike is made once.
BuildPlan one_graph(const std::vector<const BuildPlan*>& plans);

/// The tree's flags of one op beside ours, and why each that differs does; or why the op is not
/// built. UsageError if the tree has no such op.
std::string explain_flags(const SourceTree& tree, const std::string& op, const Fleet& fleet,
                          const HostFacts& builder, const PlanOptions& options);

/// What a wheel is built for.
struct BuiltFor {
  std::string cuda;                ///< "13.0"; empty for CPU ops alone
  std::vector<std::string> archs;  ///< "80", "90a"
  int cpu_level = 1;
  std::string torch;                  ///< that an op links: "2.9.0+cu128"; empty: none does
  std::vector<std::string> ops = {};  ///< names, where the version is to tell their choice
};

/// A foreign source, as far as a version tells it.
struct VersionedSource {
  std::string version;                      ///< its own: "0.19.8"
  std::string commit;                       ///< empty: none is known
  std::string digest;                       ///< of its content, in hex
  bool dirty = false;                       ///< the content is not that of the commit
  std::optional<std::string> build_string;  ///< its build.txt
};

/// The version of a wheel of such a source: "0.19.8+g1a2b3c4d5.cu130.sm80.v3.torch2.11.o1a2b3c",
/// with "s<digest>" where there is no commit; the last piece stands for the ops. DS_BUILD_STRING,
/// else build.txt, follows the source's version as it does in DeepSpeed's setup.py (".dev20201022",
/// "+label"), and then stands for the commit; one of blanks leaves it out. UsageError for what
/// cannot be a version.
std::string source_wheel_version(const VersionedSource& source,
                                 const std::map<std::string, std::string>& environment,
                                 const BuiltFor& built_for);

/// ccache, sccache, distcc, icecc, wherever they lie: they run the compiler that follows.
bool is_launcher(const std::string& program);

/// "8.0;9.0a+PTX", names such as "Ampere", separators `;`, `,` and blanks, as PyTorch reads them:
/// gives "80", "90a", and for +PTX also "90a+PTX". UsageError for anything else.
std::vector<std::string> parse_arch_list(const std::string& text);

}  // namespace ds
