// SPDX-License-Identifier: Apache-2.0
#include "build/edited.h"

#include <sys/stat.h>

namespace ds {

bool edited_since(const std::string& file, std::chrono::system_clock::time_point moment) {
  constexpr std::chrono::milliseconds file_clock_tick(20);  // file times may lag behind by so much
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0)
    return true;
  const auto changed =
      std::chrono::system_clock::time_point(std::chrono::seconds(status.st_ctim.tv_sec) +
                                            std::chrono::nanoseconds(status.st_ctim.tv_nsec));
  return changed >= moment - file_clock_tick && changed <= std::chrono::system_clock::now();
}

}  // namespace ds
