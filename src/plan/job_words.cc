// SPDX-License-Identifier: Apache-2.0
#include "plan/job_words.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/sha256.h"
#include "base/text.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

/// From 13.0 on nvcc takes tokens of a job server for what it does at one time.
bool takes_tokens(const Toolchain& tools) {
  return compare_versions(tools.nvcc_version, "13.0") >= 0;
}

}  // namespace

void append(Words& to, const Words& words) {
  to.insert(to.end(), words.begin(), words.end());
}

std::string digest12(const Words& argv) {
  std::string all;
  for (const std::string& word : argv)
    all += word + '\0';
  return sha256_hex(all).substr(0, 12);
}

fs::path object_path(const std::string& op, const fs::path& source, const Words& argv) {
  std::string flat = source.generic_string();
  std::replace(flat.begin(), flat.end(), '/', '-');
  return fs::path("obj") / op / fmt::format("{}.{}.o", flat, digest12(argv));
}

std::string gencode(Arch arch) {
  const bool ptx = std::exchange(arch.ptx, false);
  const std::string name = to_string(arch);
  return fmt::format("-gencode=arch=compute_{0},code={1}_{0}", name, ptx ? "compute" : "sm");
}

Words thread_words(const Toolchain& tools, const std::vector<Arch>& archs) {
  if (archs.size() < 2)
    return {};
  return takes_tokens(tools) ? Words{"--jobserver", "--threads", std::to_string(archs.size())}
                             : Words{"--threads", "@THREADS@"};
}

int threads_told(const Toolchain& tools, const std::vector<Arch>& archs) {
  return takes_tokens(tools) ? 1 : std::max(1, static_cast<int>(archs.size()));
}

int torch_standard(const std::string& version) {
  if (compare_versions(version, "2.12") >= 0)
    return 20;
  return compare_versions(version, "2.1") >= 0 ? 17 : 14;
}

}  // namespace ds
