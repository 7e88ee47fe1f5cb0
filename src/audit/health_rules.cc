// SPDX-License-Identifier: Apache-2.0
//
// Rules about the GPUs themselves: whole or damaged, free or in use.
#include <fmt/format.h>

#include <algorithm>

#include "audit/rule.h"
#include "base/text.h"

namespace ds {
namespace {

std::string names_of(const std::vector<int>& gpus) {
  std::vector<std::string> numbers;
  for (const int index : gpus)
    numbers.push_back(std::to_string(index));
  return (gpus.size() == 1 ? "GPU " : "GPUs ") + join(numbers, ", ");
}

void judge_lost(const Subject& subject, Findings& found) {
  const HostFacts& host = subject.host;
  const std::string fix = "look at dmesg and reboot it, or " + leave_out(subject);
  if (!host.nvidia.lost.empty()) {
    found.push_back(finding(
        Severity::fail,
        fmt::format("the driver cannot open {} of this host", join(host.nvidia.lost, ", ")), fix));
    return;
  }
  const auto listed = static_cast<int>(host.gpus.size());
  if (host.gpus_on_bus <= listed || listed == 0)
    return;
  found.push_back(
      finding(Severity::warn,
              fmt::format("{} are on its PCI bus, and the driver lists {}",
                          count(static_cast<std::size_t>(host.gpus_on_bus), "NVIDIA GPU"), listed),
              fix + ", unless a container or a scheduler gives this login some of them only"));
}

void judge_remapping(const Subject& subject, Findings& found) {
  std::vector<int> failed, pending;
  for (const Gpu& gpu : subject.host.gpus) {
    if (gpu.remapping == "failed")
      failed.push_back(gpu.index);
    if (gpu.remapping == "pending")
      pending.push_back(gpu.index);
  }
  if (!failed.empty()) {
    found.push_back(
        finding(Severity::fail,
                fmt::format("{} of this host could not replace damaged memory", names_of(failed)),
                "have it replaced, and " + leave_out(subject)));
  }
  if (!pending.empty()) {
    found.push_back(
        finding(Severity::warn,
                fmt::format("{} of this host will replace damaged memory at its next reset",
                            names_of(pending)),
                "nvidia-smi --gpu-reset, while nothing uses it"));
  }
}

void judge_xids(const Subject& subject, Findings& found) {
  const std::vector<Catalog::Xid>& known = subject.options.catalog->xids;
  for (const Xid& xid : subject.host.xids.value_or(std::vector<Xid>())) {
    const auto meaning = std::find_if(known.begin(), known.end(), [&xid](const Catalog::Xid& one) {
      return one.number == xid.number;
    });
    if (meaning == known.end())
      continue;
    found.push_back(finding(
        Severity::warn,
        fmt::format("its kernel's log has Xid {} of the GPU at {}, {}: {}", xid.number, xid.gpu,
                    count(static_cast<std::size_t>(std::max<std::int64_t>(xid.times, 1)), "time"),
                    meaning->meaning),
        "run 'dcgmi diag -r 3' there before a job does"));
  }
}

}  // namespace

Findings gpu_health_rule(const Subject& subject) {
  const HostFacts& host = subject.host;
  Findings found;
  judge_lost(subject, found);
  judge_remapping(subject, found);
  judge_xids(subject, found);
  if (!found.empty() || host.gpus.empty())
    return found;
  const bool asked = std::any_of(host.gpus.begin(), host.gpus.end(), [](const Gpu& gpu) {
    return !gpu.remapping.empty() || gpu.processes;
  });
  if (asked && host.xids)
    return {finding(Severity::ok, "neither the driver nor the kernel's log tells of damage")};
  if (asked)
    return {
        finding(Severity::ok, "the driver tells of no damage; the kernel's log could not be read")};
  if (host.xids)
    return {
        finding(Severity::ok,
                "the kernel's log tells of no damage; the driver's library could not be asked")};
  return {finding(Severity::unknown, "whether its GPUs are damaged is not known")};
}

Findings gpu_busy_rule(const Subject& subject) {
  constexpr std::size_t most = 4;
  std::vector<int> busy;
  std::vector<std::string> users;
  bool known = !subject.host.gpus.empty();
  for (const Gpu& gpu : subject.host.gpus) {
    known = known && gpu.processes.has_value();
    if (!gpu.processes || gpu.processes->empty())
      continue;
    busy.push_back(gpu.index);
    for (const std::string& one : *gpu.processes) {
      if (std::find(users.begin(), users.end(), one) == users.end())
        users.push_back(one);
    }
  }
  if (subject.host.gpus.empty())
    return {};
  if (!busy.empty()) {
    const std::size_t more = users.size() > most ? users.size() - most : 0;
    users.resize(users.size() - more);
    return {finding(
        Severity::warn,
        fmt::format("{} of {} in use: {}{}", names_of(busy), count(subject.host.gpus.size(), "GPU"),
                    join(users, ", "), more == 0 ? "" : fmt::format(" and {} more", more)),
        "nothing, if that job may go on: a process keeps the release that it began "
        "with")};
  }
  if (!known)
    return {finding(Severity::unknown, "whether somebody uses its GPUs is not known")};
  return {finding(Severity::ok, "nobody uses its GPUs")};
}

}  // namespace ds
