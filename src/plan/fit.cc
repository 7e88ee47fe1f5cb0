// SPDX-License-Identifier: Apache-2.0
#include "plan/fit.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/text.h"
#include "plan/arch_list.h"

namespace ds {
namespace {

/// Sentences with the hosts that they are true of, in the order in which they came up.
class Sentences {
 public:
  void add(const std::string& sentence, const std::string& host) {
    for (auto& [known, hosts] : said_) {
      if (known == sentence) {
        hosts.push_back(host);
        return;
      }
    }
    said_.push_back({sentence, {host}});
  }
  std::vector<std::string> texts() const {
    std::vector<std::string> texts;
    for (const auto& [sentence, hosts] : said_)
      texts.push_back(some_of(hosts) + ": " + sentence);
    return texts;
  }

 private:
  std::vector<std::pair<std::string, std::vector<std::string>>> said_;
};

std::string abi_text(const TorchFacts& torch) {
  if (!torch.cxx11_abi)
    return torch.version;
  return fmt::format("{} (C++ ABI {})", torch.version, *torch.cxx11_abi ? 1 : 0);
}

bool same_build(const TorchFacts& left, const TorchFacts& right) {
  const bool abi_differs = left.cxx11_abi && right.cxx11_abi && *left.cxx11_abi != *right.cxx11_abi;
  return left.version == right.version && !abi_differs;
}

std::vector<const HostFacts*> reached(const Fleet& fleet) {
  std::vector<const HostFacts*> hosts;
  for (const HostFacts& host : fleet.hosts) {
    if (host.state == HostFacts::State::reached)
      hosts.push_back(&host);
  }
  return hosts;
}

}  // namespace

OpRules rules_of(const Op& op) {
  OpRules rules;
  rules.name = op.name;
  rules.gpu = op.kind == Op::Kind::cuda;
  rules.minimum_compute_capability = op.minimum_compute_capability;
  rules.host_needs = op.host_needs;
  rules.links_torch = op.links_torch;
  rules.links_torch_cuda = op.links_torch && rules.gpu;
  return rules;
}

Fit fit(const OpRules& op, const Fleet& fleet, const HostFacts& builder) {
  Sentences obstacles, notes;
  bool one_can = false;
  std::vector<const HostFacts*> hosts = reached(fleet);
  const bool none_answered = hosts.empty();
  if (none_answered)
    hosts.push_back(&builder);
  for (const HostFacts* host : hosts) {
    bool fails = false;
    for (const OpVerdict& verdict : judge(op, *host)) {
      if (none_answered && verdict.rule != "torch")
        continue;
      const std::string fix = verdict.fix.empty() ? "" : "; " + verdict.fix;
      if (verdict.severity == Severity::fail) {
        fails = true;
        obstacles.add(verdict.because + fix, host->host);
        notes.add(verdict.because, host->host);
      } else if (verdict.severity == Severity::warn && verdict.rule != "gpu") {
        notes.add(verdict.because + fix, host->host);
      }
    }
    one_can |= !fails;
  }
  if (one_can)
    return {"", notes.texts()};
  return {join(obstacles.texts(), "; "), {}};
}

TorchChoice choose_torch(const Fleet& fleet, const HostFacts& builder) {
  std::vector<std::pair<TorchFacts, std::vector<std::string>>> kinds;
  for (const HostFacts* host : reached(fleet)) {
    if (host->torch.version.empty())
      continue;
    const auto known = std::find_if(kinds.begin(), kinds.end(), [&](const auto& kind) {
      return same_build(kind.first, host->torch);
    });
    if (known == kinds.end())
      kinds.push_back({host->torch, {host->host}});
    else
      known->second.push_back(host->host);
  }
  const TorchFacts& here = builder.torch;
  if (kinds.size() > 1) {
    std::vector<std::string> texts;
    for (const auto& [torch, hosts] : kinds)
      texts.push_back(fmt::format("{} on {}", abi_text(torch), some_of(hosts)));
    return {{},
            fmt::format("it links one PyTorch exactly, and the hosts have torch {}; install "
                        "the same on all of them, or choose hosts with --limit",
                        join(texts, ", "))};
  }
  if (kinds.empty() && here.version.empty()) {
    return {{},
            "it needs PyTorch's headers, and no torch is known, neither of a host nor of the "
            "build machine; name its environment with --python"};
  }
  if (kinds.empty() || same_build(kinds.front().first, here))
    return {here, ""};
  const std::string& wanted = kinds.front().first.version;
  return {{},
          fmt::format("it needs PyTorch's headers on the build machine: the hosts have torch "
                      "{}, and the build machine has {}; install torch {} here, in the "
                      "environment that --python names",
                      abi_text(kinds.front().first),
                      here.version.empty() ? "none" : "torch " + abi_text(here), wanted)};
}

}  // namespace ds
