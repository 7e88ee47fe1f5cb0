// SPDX-License-Identifier: Apache-2.0
//
// Rules that look at a host beside the others: one odd host breaks a collective job.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "audit/rule.h"
#include "base/text.h"

namespace ds {
namespace {

/// "8 x NVIDIA H100, 2 x NVIDIA A100"
std::string gpus_of(const HostFacts& host) {
  std::map<std::string, std::size_t> models;
  for (const Gpu& gpu : host.gpus)
    ++models[gpu.name];
  std::vector<std::string> texts;
  for (const auto& [name, number] : models)
    texts.push_back(fmt::format("{} x {}", number, name.empty() ? "a GPU" : name));
  return join(texts, ", ");
}

/// That of the package beside PyTorch; a build of PyTorch with its own does not show.
std::string nccl_of(const HostFacts& host) {
  for (const char* name : {"nvidia-nccl-cu13", "nvidia-nccl-cu12", "nvidia-nccl-cu11"}) {
    const auto version = host.distributions ? host.distributions->find(name) : std::nullopt;
    if (version)
      return *version;
  }
  return {};
}

struct Property {
  const char *name, *verb;
  std::string (*value)(const HostFacts&);  ///< empty: not known, or not there
};

constexpr std::array properties = {
    Property{"GPUs", "are", gpus_of},
    Property{"NVIDIA driver", "is", driver_of},
    Property{"torch", "is", [](const HostFacts& host) { return host.torch.version; }},
    Property{"NCCL", "is", nccl_of},
    Property{"Python", "is", [](const HostFacts& host) { return host.python.version; }},
    Property{"kernel", "is", [](const HostFacts& host) { return host.kernel; }},
};

}  // namespace

std::string driver_of(const HostFacts& host) {
  return host.driver.empty() && !host.gpus.empty() ? host.gpus.front().driver : host.driver;
}

FleetSummary summarise(const Fleet& fleet) {
  FleetSummary summary;
  for (const HostFacts& host : fleet.hosts) {
    summary.machines.emplace(machine_key(host), &host);
    summary.targets.emplace(target_key(host), &host);
    note_shared(host, summary);
    for (const Gpu& gpu : host.gpus) {
      if (is_capability(gpu.compute_capability))
        summary.capabilities.insert(gpu.compute_capability);
    }
    if (host.state != HostFacts::State::reached)
      continue;
    for (const Property& property : properties) {
      const std::string value = property.value(host);
      if (!value.empty())
        ++summary.values[property.name][value];
    }
  }
  return summary;
}

Findings uniformity_rule(const Subject& subject) {
  Findings found;
  std::vector<std::string> alike;
  for (const Property& property : properties) {
    const std::string value = property.value(subject.host);
    const auto known = subject.summary.values.find(property.name);
    if (value.empty() || known == subject.summary.values.end())
      continue;
    const auto& values = known->second;
    const auto most = std::max_element(
        values.begin(), values.end(),
        [](const auto& left, const auto& right) { return left.second < right.second; });
    const bool several = std::any_of(values.begin(), values.end(), [&](const auto& other) {
      return other.first != most->first && other.second == most->second;
    });
    if (!several && value == most->first) {
      alike.emplace_back(property.name);
      continue;
    }
    const std::string others = several
                                   ? "other hosts have others"
                                   : fmt::format("{} {} {}", count(most->second, "host"),
                                                 most->second == 1 ? "has" : "have", most->first);
    found.push_back(
        finding(Severity::warn,
                fmt::format("its {} {} {}, and {}", property.name, property.verb, value, others),
                "make them alike: a job over all of these hosts meets both"));
  }
  if (!found.empty() || subject.fleet.hosts.size() < 2)
    return found;
  if (alike.empty())
    return {finding(Severity::unknown, "whether it is like the other hosts is not known")};
  return {finding(Severity::ok, join(alike, ", ") + " are like those of the other hosts")};
}

Findings slots_rule(const Subject& subject) {
  const auto wanted = subject.options.slots.find(subject.host.host);
  if (wanted == subject.options.slots.end() || subject.host.gpus.empty())
    return {};
  const std::size_t has = subject.host.gpus.size();
  const auto slots = static_cast<std::size_t>(std::max(wanted->second, 0));
  if (slots == has)
    return {finding(Severity::ok, count(slots, "slot") + ", as many as GPUs")};
  return {finding(
      Severity::warn,
      fmt::format("the hostfile gives it {}, and it has {}", count(slots, "slot"),
                  count(has, "GPU")),
      slots > has
          ? fmt::format("write slots={}, or look why GPUs are missing: dmesg, nvidia-smi", has)
          : fmt::format("write slots={}, if jobs are meant to use all of them", has))};
}

Findings gpu_mode_rule(const Subject& subject) {
  std::size_t mig = 0, no_ecc = 0;
  std::int64_t parts = 0;
  bool known = true;
  for (const Gpu& gpu : subject.host.gpus) {
    known &= !gpu.mig.empty() && !gpu.ecc.empty();
    mig += gpu.mig == "Enabled" ? 1 : 0;
    parts += gpu.mig_devices;
    no_ecc += gpu.ecc == "Disabled" ? 1 : 0;
  }
  Findings found;
  const std::size_t all = subject.host.gpus.size();
  if (mig > 0) {
    found.push_back(finding(Severity::warn,
                            fmt::format("{} of its {} {} split by MIG{}: a process sees one part",
                                        mig, count(all, "GPU"), mig == 1 ? "is" : "are",
                                        parts == 0 ? "" : fmt::format(" into {}", parts)),
                            "nvidia-smi -mig 0, if jobs are meant to have whole GPUs"));
  }
  if (no_ecc > 0) {
    found.push_back(
        finding(Severity::warn,
                fmt::format("{} of its {} {} without ECC: a flipped bit stays unnoticed", no_ecc,
                            count(all, "GPU"), no_ecc == 1 ? "runs" : "run"),
                "nvidia-smi -e 1, and reboot"));
  }
  if (!found.empty() || all == 0)
    return found;
  if (!known)
    return {finding(Severity::unknown,
                    "whether its GPUs are split by MIG or run without ECC is not known")};
  return {finding(Severity::ok, "no GPU is split by MIG or runs without ECC")};
}

}  // namespace ds
