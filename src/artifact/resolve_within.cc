// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <set>

#include "artifact/inspected.h"

namespace ds {
namespace {

using Names = std::map<std::string, const Inspected*>;

/// The libraries of the wheel that come into a process with `library`, itself too.
std::set<const Inspected*> loaded_with(const Inspected& library, const Names& by_name) {
  std::set<const Inspected*> loaded = {&library};
  std::vector<const Inspected*> open = {&library};
  while (!open.empty()) {
    const Inspected* one = open.back();
    open.pop_back();
    for (const std::string& soname : one->needs.needed) {
      const auto found = by_name.find(soname);
      if (found != by_name.end() && loaded.insert(found->second).second)
        open.push_back(found->second);
    }
  }
  return loaded;
}

}  // namespace

void resolve_within(std::vector<Inspected>& libraries) {
  Names by_name;
  for (const Inspected& library : libraries) {
    by_name.emplace(file_name(library.needs.path), &library);
    if (!library.needs.soname.empty())
      by_name.emplace(library.needs.soname, &library);
  }
  for (Inspected& library : libraries) {
    const std::set<const Inspected*> loaded = loaded_with(library, by_name);
    std::erase_if(library.needs.outside, [&](const std::string& symbol) {
      return std::any_of(loaded.begin(), loaded.end(), [&](const Inspected* one) {
        return std::binary_search(one->gives.begin(), one->gives.end(), symbol);
      });
    });
  }
}

}  // namespace ds
