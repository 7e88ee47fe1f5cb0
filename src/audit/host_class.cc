// SPDX-License-Identifier: Apache-2.0
#include <map>

#include "audit/audit.h"
#include "base/text.h"

namespace ds {
namespace {

/// "3.11" of "3.11.2": what extensions are built for.
std::string minor_of(const std::string& version) {
  const auto first = version.find('.');
  return first == std::string::npos ? version : version.substr(0, version.find('.', first + 1));
}

}  // namespace

std::string class_of(const HostFacts& host) {
  std::map<std::string, std::size_t> gpus;
  for (const Gpu& gpu : host.gpus)
    ++gpus[gpu.name + (gpu.mig == "Enabled" ? " with MIG" : "")];
  std::vector<std::string> parts;
  for (const auto& [name, number] : gpus)
    parts.push_back(std::to_string(number) + " " + name);
  const auto add = [&parts](const std::string& what, const std::string& version) {
    if (!version.empty())
      parts.push_back(what + " " + version);
  };
  add("driver", host.driver);
  add("glibc", host.glibc);
  add("Python", minor_of(host.python.version));
  add("torch", host.torch.version);
  return parts.empty() ? "nothing is known of it" : clean_line(join(parts, ", "), 300);
}

}  // namespace ds
