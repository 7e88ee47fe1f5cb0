// SPDX-License-Identifier: Apache-2.0
//
// The ops of a wheel as compat judges them.
#include <algorithm>

#include "audit/rule.h"

namespace ds {
namespace {

bool needs_torch_cuda(const LibraryNeeds& library) {
  const bool by_name =
      std::any_of(library.needed.begin(), library.needed.end(), [](const std::string& name) {
        return name.starts_with("libtorch_cuda") || name.starts_with("libc10_cuda");
      });
  return by_name || (!library.torch.empty() && library.gpu.units > 0);
}

}  // namespace

OpRules rules_of(const LibraryNeeds& library) {
  OpRules op;
  op.name = label(library);
  op.gpu = library.gpu.units > 0;
  op.minimum_compute_capability = library.minimum_capability;
  op.host_needs = library.opens;
  op.links_torch = library.links_torch;
  op.links_torch_cuda = library.links_torch && needs_torch_cuda(library);
  op.torch_stable = library.torch_abi == "stable";
  op.torch = library.torch;
  op.cxx11_abi = library.torch_cxx11_abi;
  op.cuda = library.toolkit;
  op.skip_cuda_check = library.cuda_check_skipped;
  return op;
}

Findings op_findings(const Subject& subject, const std::string& rule) {
  Findings found;
  for (const Requirements& wheel : subject.wheels) {
    for (const LibraryNeeds& library : wheel.libraries) {
      const OpRules op = rules_of(library);
      for (const OpVerdict& verdict : judge(op, subject.host)) {
        if (verdict.rule != rule)
          continue;
        const std::string fix = verdict.severity == Severity::fail
                                    ? verdict.fix + ", or " + leave_out(subject)
                                    : verdict.fix;
        found.push_back(finding(verdict.severity, verdict.because, fix, op.name));
      }
    }
  }
  return found;
}

}  // namespace ds
