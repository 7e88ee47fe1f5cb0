// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/text.h"
#include "facts/facts.h"

namespace ds {

std::string users_of(const HostFacts& host) {
  std::vector<std::string> users;
  if (host.use) {
    users = host.use->jobs;
    users.insert(users.end(), host.use->processes.begin(), host.use->processes.end());
  }
  std::vector<std::string> on_gpus;
  for (const Gpu& gpu : host.gpus) {
    for (const std::string& process : gpu.processes.value_or(std::vector<std::string>())) {
      if (std::find(on_gpus.begin(), on_gpus.end(), process) == on_gpus.end())
        on_gpus.push_back(process);
    }
  }
  for (const std::string& process : on_gpus) {
    if (std::find(users.begin(), users.end(), process) == users.end())
      users.push_back(process + " on its GPUs");
  }
  return some_of(users);
}

bool are_gpus_free(const HostFacts& host) {
  return users_of(host).empty() &&
         std::all_of(host.gpus.begin(), host.gpus.end(),
                     [](const Gpu& gpu) { return gpu.processes.has_value(); });
}

}  // namespace ds
