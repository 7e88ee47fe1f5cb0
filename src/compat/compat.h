// SPDX-License-Identifier: Apache-2.0
//
// When is an op compatible with a host. One answer for build, jit and audit: the rules of op.yaml
// (kind, minimum_compute_capability, host_needs, links_torch) against what the host said. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "facts/facts.h"

namespace ds {

enum class Severity { ok, warn, fail, unknown };
std::string to_string(Severity severity);

/// What an op asks of a host: from its manifest, or from the record and the binary in a wheel.
struct OpRules {
  std::string name;
  bool gpu = false;                        ///< it has device code
  std::string minimum_compute_capability;  ///< "7.0", or empty
  std::vector<std::string> host_needs;     ///< sonames that it opens while it runs
  bool links_torch = false;
  bool links_torch_cuda = false;  ///< PyTorch's CUDA libraries too
  bool torch_stable = false;      ///< it calls PyTorch's C shim alone, which newer ones keep
  std::string torch;              ///< version that it is built with; empty: not known
  std::optional<bool> cxx11_abi;  ///< of that torch
  std::string cuda;               ///< toolkit that it is built with, "13.0"; empty: none, not known
  bool skip_cuda_check = false;   ///< DS_SKIP_CUDA_CHECK=1
};

/// What one rule says. `because` and `fix` are whole clauses, and `because` names the op.
/// What helps besides the package of a library that is missing.
inline constexpr const char* in_loader_path =
    ", or put its folder into LD_LIBRARY_PATH (env-script=)";

struct OpVerdict {
  std::string rule;  ///< "gpu", "minimum-capability", "needed-libraries", "torch"
  Severity severity = Severity::ok;
  std::string because, fix;
  std::string library = {};  ///< that is missing
};

/// For a host that was reached. A rule that does not concern the op or has nothing to say is
/// silent; on a host without a GPU an op with device code is judged by `gpu` and `torch` alone.
std::vector<OpVerdict> judge(const OpRules& op, const HostFacts& host);

/// What judge says of ops with device code where the host's GPUs are none or not known.
std::optional<OpVerdict> judge_gpu(const std::vector<std::string>& ops, const HostFacts& host);

/// True if the host's loader finds it, or if it is in the process once `import torch` ran.
bool host_has_library(const std::string& soname, const HostFacts& host);

/// Parts of the C and C++ run time: their versions are judged, not their names.
bool is_runtime_library(const std::string& soname);

/// "12" of "12.4".
std::string major_of(const std::string& version);

}  // namespace ds
