// SPDX-License-Identifier: Apache-2.0
//
// Rules about what a wheel was built with beside the PyTorch of the host.
#include <fmt/format.h>

#include <algorithm>

#include "audit/rule.h"
#include "base/text.h"

namespace ds {
namespace {

/// DeepSpeed compares major and minor versions when it loads an op, and refuses others.
Finding judge_recorded(const Subject& subject, const InstallRecord& record) {
  const TorchFacts& torch = subject.host.torch;
  const std::string built = fmt::format("the ops are recorded for torch {}{}", record.torch,
                                        record.cuda.empty() ? "" : " with CUDA " + record.cuda);
  if (record.torch.empty())
    return finding(Severity::unknown,
                   "for which torch the ops were built is not in DeepSpeed's own record");
  if (torch.version.empty())
    return finding(Severity::unknown, built + ", and which torch this host has is not known");
  const bool torch_differs = major_minor(torch.version) != record.torch;
  const bool cuda_differs =
      !subject.host.gpus.empty() && !record.cuda.empty() && major_minor(torch.cuda) != record.cuda;
  if (torch_differs || cuda_differs) {
    return with_ways(
        finding(
            Severity::fail,
            fmt::format("{}, and this host has torch {}{}: DeepSpeed refuses to load them", built,
                        torch.version, torch.cuda.empty() ? "" : " with CUDA " + torch.cuda),
            fmt::format("build with torch {}, or install the recorded one, or {}", torch.version,
                        leave_out(subject))),
        {{"torch", record.torch}, {"torch-wheel", torch.version}});
  }
  return finding(Severity::ok, built + ", which is there");
}

/// DeepSpeed ignores compiled ops that are for another accelerator than it takes the host for.
Finding judge_accelerator(const Subject& subject, const InstallRecord& record) {
  const bool has_gpu = !subject.host.gpus.empty();
  const std::string taken_for = has_gpu ? "cuda" : "cpu";
  if (record.accelerator == taken_for) {
    return finding(Severity::ok, fmt::format("the ops are recorded for accelerator {}, which "
                                             "DeepSpeed takes this host for",
                                             taken_for));
  }
  return finding(
      has_gpu ? Severity::fail : Severity::warn,
      fmt::format(
          "the ops are recorded for accelerator '{}', and DeepSpeed takes this host for {}: "
          "it does not load them, and compiles its own at first use",
          record.accelerator, taken_for),
      has_gpu
          ? "build once more for hosts with GPUs, or " + leave_out(subject)
          : fmt::format("set DS_ACCELERATOR={} for processes on this host", record.accelerator));
}

}  // namespace

Findings deepspeed_record_rule(const Subject& subject) {
  Findings found;
  for (const Requirements& wheel : subject.wheels) {
    if (!wheel.deepspeed || wheel.deepspeed->ops.empty())
      continue;
    found.push_back(judge_recorded(subject, *wheel.deepspeed));
    found.push_back(judge_accelerator(subject, *wheel.deepspeed));
  }
  return found;
}

Findings cxx_abi_rule(const Subject& subject) {
  const std::optional<bool> host = subject.host.torch.cxx11_abi;
  Findings found;
  std::size_t good = 0;
  for (const Requirements& wheel : subject.wheels) {
    for (const LibraryNeeds& library : wheel.libraries) {
      if (!library.links_torch || library.cxx_strings.empty() || subject.host.torch.version.empty())
        continue;
      const bool cxx11 = library.cxx_strings == "cxx11";
      if (host && *host == cxx11) {
        ++good;
        continue;
      }
      const std::string uses =
          fmt::format("{} takes std::string of {} from PyTorch", label(library),
                      cxx11 ? "the C++11 ABI" : "the ABI before GCC 5");
      if (!host) {
        found.push_back(finding(Severity::unknown,
                                uses + ", and which one this host's has is not known", "",
                                label(library)));
        continue;
      }
      found.push_back(with_ways(
          finding(
              Severity::fail,
              fmt::format("{}, and torch {} of this host has the other", uses,
                          subject.host.torch.version),
              "take the wheel that is built for this torch, or build it, or " + leave_out(subject),
              label(library)),
          {{"torch-wheel", subject.host.torch.version}}));
    }
  }
  if (found.empty() && good > 0)
    return {finding(Severity::ok, "the C++ ABI is that of the host's torch")};
  return found;
}

Findings run_path_rule(const Subject& subject) {
  Findings found;
  for (const Requirements& wheel : subject.wheels) {
    for (const LibraryNeeds& library : wheel.libraries) {
      std::vector<std::string> absolute;
      for (const std::string& path : {library.runpath, library.rpath}) {
        for (const std::string& folder : split(path, ':')) {
          if (folder.starts_with('/'))
            absolute.push_back(folder);
        }
      }
      if (absolute.empty())
        continue;
      found.push_back(finding(
          Severity::warn,
          fmt::format("{} looks for its libraries in {}, a place of the machine that built it",
                      label(library), join(absolute, ", ")),
          "build it without a run path: whoever can write there on a host changes what is loaded",
          label(library)));
    }
  }
  return found;
}

}  // namespace ds
