// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/text.h"
#include "compat/compat.h"

namespace ds {
namespace {

using Verdicts = std::vector<OpVerdict>;

std::string nvidia_note(const HostFacts& host) {
  for (const std::string& note : host.notes) {
    if (note.find("nvidia-smi") != std::string::npos)
      return note;
  }
  return {};
}

/// GPUs below the minimum do not run the op; others of the host may.
void judge_minimum(const OpRules& op, const HostFacts& host, Verdicts& verdicts) {
  const std::string& minimum = op.minimum_compute_capability;
  if (!op.gpu || minimum.empty())
    return;
  std::set<std::string> below;
  bool all = true;
  for (const Gpu& gpu : host.gpus) {
    const bool known = is_capability(gpu.compute_capability);
    if (known && compare_versions(gpu.compute_capability, minimum) < 0) {
      below.insert(gpu.compute_capability +
                   (gpu.name.empty() ? "" : " (" + clean_line(gpu.name, 80) + ")"));
    } else {
      all = false;
    }
  }
  if (below.empty())
    return;
  const std::string gpus = join(std::vector<std::string>(below.begin(), below.end()), ", ");
  verdicts.push_back(
      {"minimum-capability", all ? Severity::fail : Severity::warn,
       fmt::format("{} needs compute capability {}, and {} of this host has {}", op.name, minimum,
                   all ? "no GPU" : "a GPU", all ? "it: " + gpus : gpus),
       all ? fmt::format("build without {}", op.name) : ""});
}

void judge_host_needs(const OpRules& op, const HostFacts& host, Verdicts& verdicts) {
  for (const std::string& soname : op.host_needs) {
    if (is_runtime_library(soname) || host_has_library(soname, host))
      continue;
    if (host.libraries.empty()) {
      verdicts.push_back({"needed-libraries", Severity::unknown,
                          fmt::format("{} opens {}, and which libraries this host has is not known",
                                      op.name, soname),
                          ""});
      continue;
    }
    verdicts.push_back(
        {"needed-libraries", Severity::fail,
         fmt::format("{} opens {}, which this host's loader does not know", op.name, soname),
         fmt::format("install the package that has {}{}", soname, in_loader_path), soname});
  }
}

/// A torch that is there against the one that the op is built with.
OpVerdict judge_versions(const OpRules& op, const TorchFacts& torch) {
  const std::string rule = "torch";
  if (op.torch.empty() && op.torch_stable) {
    // "LibTorch Stable ABI" (PyTorch documentation): it begins with 2.9.
    const bool old = compare_versions(torch.version, "2.9") < 0;
    return {rule, old ? Severity::fail : Severity::ok,
            fmt::format("{} uses PyTorch's stable ABI, which begins with torch 2.9; torch {} is "
                        "there",
                        op.name, torch.version),
            old ? "install torch 2.9 or later there" : ""};
  }
  if (op.torch.empty()) {
    return {rule, Severity::unknown,
            fmt::format("{} links PyTorch; torch {} is there, but whether it is the version and "
                        "C++ ABI that it was built with is not known",
                        op.name, torch.version),
            "build with the host's torch"};
  }
  if (op.torch != torch.version) {
    return {rule, Severity::fail,
            fmt::format("{} is built with torch {}, and this host has torch {}", op.name, op.torch,
                        torch.version),
            fmt::format("install torch {} there, or build with torch {}", op.torch, torch.version)};
  }
  if (op.cxx11_abi && torch.cxx11_abi && *op.cxx11_abi != *torch.cxx11_abi) {
    return {rule, Severity::fail,
            fmt::format("{} is built with the C++ ABI {} of torch {}, and this host's has {}",
                        op.name, *op.cxx11_abi ? 1 : 0, op.torch, *torch.cxx11_abi ? 1 : 0),
            "install the same build of torch on the build machine and on the host"};
  }
  const bool cuda_differs =
      op.links_torch_cuda && !op.cuda.empty() && major_of(op.cuda) != major_of(torch.cuda);
  if (cuda_differs) {
    return {rule, op.skip_cuda_check ? Severity::warn : Severity::fail,
            fmt::format("{} is built with CUDA {}, and torch {} of this host with CUDA {}", op.name,
                        op.cuda, torch.version, torch.cuda),
            op.skip_cuda_check
                ? "DS_SKIP_CUDA_CHECK=1 took it all the same"
                : fmt::format("set CUDA_HOME to a CUDA {} toolkit, install a torch that is built "
                              "with CUDA {}, or set DS_SKIP_CUDA_CHECK=1 to build all the same",
                              torch.cuda, op.cuda)};
  }
  return {rule, Severity::ok,
          fmt::format("{} is built with torch {}, which is there", op.name, op.torch), ""};
}

void judge_torch(const OpRules& op, const HostFacts& host, Verdicts& verdicts) {
  if (!op.links_torch)
    return;
  if (host.python.executable.empty()) {
    verdicts.push_back(
        {"torch", Severity::unknown,
         fmt::format("{} links PyTorch, and whether this host has it is not known", op.name), ""});
  } else if (host.torch.version.empty()) {
    verdicts.push_back(
        {"torch", Severity::fail,
         fmt::format("{} links PyTorch, and {} has none", op.name, host.python.prefix),
         op.torch.empty() ? "install the torch that it was built with"
                          : "install torch " + op.torch});
  } else if (op.links_torch_cuda && host.torch.cuda.empty()) {
    verdicts.push_back({"torch", Severity::fail,
                        fmt::format("{} links PyTorch's CUDA libraries, and torch {} has none",
                                    op.name, host.torch.version),
                        "install a torch with CUDA"});
  } else {
    verdicts.push_back(judge_versions(op, host.torch));
  }
}

}  // namespace

std::string major_of(const std::string& version) {
  return version.substr(0, version.find('.'));
}

std::string to_string(Severity severity) {
  switch (severity) {
    case Severity::ok:
      return "ok";
    case Severity::warn:
      return "warn";
    case Severity::fail:
      return "fail";
    case Severity::unknown:
      return "unknown";
  }
  return "unknown";
}

std::optional<OpVerdict> judge_gpu(const std::vector<std::string>& ops, const HostFacts& host) {
  if (ops.empty() || !host.gpus.empty())
    return std::nullopt;
  const std::string note = nvidia_note(host);
  if (!note.empty() || !host.driver.empty()) {
    return OpVerdict{"gpu", Severity::unknown,
                     "which GPUs this host has is not known: " +
                         (note.empty() ? "the NVIDIA driver is loaded, but lists no GPU" : note),
                     "run nvidia-smi there"};
  }
  return OpVerdict{"gpu", Severity::warn,
                   join(ops, ", ") + " cannot run here, because this host has no GPU",
                   "nothing, if this host is meant to have none"};
}

Verdicts judge(const OpRules& op, const HostFacts& host) {
  Verdicts verdicts;
  const std::vector<std::string> device =
      op.gpu ? std::vector<std::string>{op.name} : std::vector<std::string>();
  if (const std::optional<OpVerdict> without = judge_gpu(device, host)) {
    verdicts.push_back(*without);
  } else {
    judge_minimum(op, host, verdicts);
    judge_host_needs(op, host, verdicts);
  }
  judge_torch(op, host, verdicts);
  return verdicts;
}

}  // namespace ds
