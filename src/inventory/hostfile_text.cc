// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "base/text.h"
#include "inventory/inventory.h"

namespace ds {

std::string hostfile_text(const std::vector<Host>& hosts) {
  std::string text;
  for (const Host& host : hosts) {
    const Endpoint& endpoint = host.endpoint;
    text += fmt::format("{} slots={}", host.name, host.slots);
    const auto add = [&text](const char* key, const std::string& value) {
      if (!value.empty())
        text += fmt::format(" {}={}", key, value);
    };
    if (endpoint.kind == Endpoint::Kind::local)
      add("transport", "local");
    if (endpoint.address != endpoint.name)
      add("addr", endpoint.address);
    add("user", endpoint.user);
    if (endpoint.port != 0)
      add("port", std::to_string(endpoint.port));
    add("identity", endpoint.identity);
    add("python", host.python);
    add("env-script", host.env_script);
    add("tags", join(host.tags, ","));
    add("writer", host.writer ? "yes" : "");
    text += "\n";
  }
  return text;
}

}  // namespace ds
