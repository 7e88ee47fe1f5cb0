// SPDX-License-Identifier: Apache-2.0
//
// The ops of a wheel as compat judges them.
#include <algorithm>

#include "audit/rule.h"
#include "base/text.h"

namespace ds {
namespace {

bool needs_torch_cuda(const LibraryNeeds& library) {
  const bool by_name =
      std::any_of(library.needed.begin(), library.needed.end(), [](const std::string& name) {
        return name.starts_with("libtorch_cuda") || name.starts_with("libc10_cuda");
      });
  return by_name || (!library.torch.empty() && library.gpu.units > 0);
}

/// What would end a failure of the rule torch; others say it in their fix.
std::vector<Change> ways_of(const OpVerdict& verdict, const OpRules& op, const HostFacts& host) {
  std::vector<Change> ways;
  if (verdict.rule != "torch" || verdict.severity != Severity::fail)
    return ways;
  if (!op.torch.empty())
    ways.push_back({"torch", op.torch});
  if (!op.torch.empty() && !host.torch.version.empty())
    ways.push_back({"torch-wheel", host.torch.version});
  return ways;
}

/// Ops of which the same is said.
struct Alike {
  std::vector<std::string> ops;
  std::string rest;  ///< of the sentence that begins with the op's name
  Finding finding;
};

void add(std::vector<Alike>& all, const std::string& op, const OpVerdict& verdict,
         const std::vector<Change>& ways) {
  const bool begins = verdict.because.starts_with(op + " ");
  const std::string rest = begins ? verdict.because.substr(op.size() + 1) : "";
  for (Alike& one : all) {
    if (begins && one.rest == rest && one.finding.severity == verdict.severity &&
        one.finding.fix == verdict.fix) {
      one.ops.push_back(op);
      return;
    }
  }
  all.push_back(
      {{op}, rest, with_ways(finding(verdict.severity, verdict.because, verdict.fix, op), ways)});
}

/// "a, b are built with", of "a is built with".
Finding finding_of(const Alike& alike) {
  Finding all = alike.finding;
  if (alike.ops.size() == 1)
    return all;
  const std::size_t end = std::min(alike.rest.find(' '), alike.rest.size());
  const std::string verb = alike.rest.substr(0, end);
  const std::string plural = verb == "is" ? "are" : verb.substr(0, verb.size() - 1);
  all.because = join(alike.ops, ", ") + " " + plural + alike.rest.substr(end);
  all.op.clear();
  return all;
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
  std::vector<Alike> all;
  for (const Requirements& wheel : subject.wheels) {
    for (const LibraryNeeds& library : wheel.libraries) {
      const OpRules op = rules_of(library);
      for (OpVerdict& verdict : judge(op, subject.host)) {
        if (verdict.rule != rule)
          continue;
        std::vector<Change> ways = ways_of(verdict, op, subject.host);
        if (!verdict.library.empty()) {
          const std::string get = how_to_get(subject, verdict.library);
          verdict.fix = get + in_loader_path;
          ways = {{"library", get}};
        }
        if (verdict.severity == Severity::fail)
          verdict.fix += ", or " + leave_out(subject);
        add(all, op.name, verdict, ways);
      }
    }
  }
  Findings found;
  for (const Alike& alike : all)
    found.push_back(finding_of(alike));
  return found;
}

}  // namespace ds
