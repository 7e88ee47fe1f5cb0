// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <string_view>

#include "compat/compat.h"

namespace ds {
namespace {

/// Libraries that are in the process once `import torch` ran: its own, and CUDA's when its build
/// has CUDA of that major version.
bool comes_with_torch(const std::string& soname, const TorchFacts& torch) {
  if (torch.version.empty())
    return false;
  if (soname.starts_with("libtorch") || soname.starts_with("libc10")) {
    return !torch.cuda.empty() || soname.find("cuda") == std::string::npos;
  }
  static constexpr std::array versioned = {"libcudart.so.", "libcublas.so.", "libcublasLt.so.",
                                           "libnvrtc.so.", "libnvJitLink.so."};
  const std::string major = major_of(torch.cuda);
  for (const char* name : versioned) {
    if (soname.starts_with(name)) {
      const std::string rest = soname.substr(std::string_view(name).size());
      return !major.empty() && rest.substr(0, rest.find('.')) == major;
    }
  }
  static constexpr std::array others = {"libcurand.so.",   "libcufft.so.", "libcusparse.so.",
                                        "libcusolver.so.", "libcudnn",     "libnccl.so."};
  return !major.empty() && std::any_of(others.begin(), others.end(),
                                       [&](const char* name) { return soname.starts_with(name); });
}

}  // namespace

bool is_runtime_library(const std::string& soname) {
  static constexpr std::array names = {
      "libc.so.",      "libm.so.",     "libmvec.so.",        "libpthread.so.", "libdl.so.",
      "librt.so.",     "libutil.so.",  "libanl.so.",         "libresolv.so.",  "ld-linux",
      "libstdc++.so.", "libgcc_s.so.", "libBrokenLocale.so."};
  return std::any_of(names.begin(), names.end(),
                     [&soname](const char* name) { return soname.starts_with(name); });
}

bool host_has_library(const std::string& soname, const HostFacts& host) {
  const std::vector<std::string>& known = host.libraries;
  return std::find(known.begin(), known.end(), soname) != known.end() ||
         comes_with_torch(soname, host.torch) || (soname == "libcuda.so.1" && !host.gpus.empty());
}

}  // namespace ds
