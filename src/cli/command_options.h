// SPDX-License-Identifier: Apache-2.0
//
// Which options each command takes.
#pragma once

#include <functional>
#include <vector>

#include "cli/options.h"

namespace CLI {
class App;
}

namespace ds {

struct CommandEntry {
  const char* name;
  const char* summary;
  std::function<void(CLI::App&, Options&)> add;
};

/// In the order of the help.
const std::vector<CommandEntry>& commands();

}  // namespace ds
