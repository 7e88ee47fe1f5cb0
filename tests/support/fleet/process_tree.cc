// SPDX-License-Identifier: Apache-2.0
#include "support/fleet/process_tree.h"

#include <dirent.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>

namespace fleet {
namespace {

/// The parent by /proc/PID/stat, whose second field may hold blanks and parentheses; 0: gone.
pid_t parent_of(const char* pid) {
  std::ifstream file(std::string("/proc/") + pid + "/stat");
  std::string line;
  std::getline(file, line);
  const size_t end = line.rfind(')');
  if (end == std::string::npos)
    return 0;
  std::istringstream rest(line.substr(end + 1));
  char state = 0;
  pid_t parent = 0;
  rest >> state >> parent;
  return state == 'Z' ? 0 : parent;
}

}  // namespace

std::vector<pid_t> descendants(const std::vector<pid_t>& roots) {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir("/proc"), &::closedir);
  std::multimap<pid_t, pid_t> children;
  while (const dirent* entry = folder ? ::readdir(folder.get()) : nullptr) {
    if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9')
      children.emplace(parent_of(entry->d_name), std::atoi(entry->d_name));
  }
  std::vector<pid_t> found;
  std::vector<pid_t> open = roots;
  while (!open.empty()) {
    const auto [first, last] = children.equal_range(open.back());
    open.pop_back();
    for (auto child = first; child != last; ++child) {
      found.push_back(child->second);
      open.push_back(child->second);
    }
  }
  return found;
}

}  // namespace fleet
