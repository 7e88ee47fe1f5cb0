// SPDX-License-Identifier: Apache-2.0
//
// The data-centre GPUs that a driver before R510 serves ("CUDA GPU Compute Capability",
// developer.nvidia.com).
#include "facts/gpu_names.h"

#include <algorithm>
#include <array>

#include "base/text.h"

namespace ds {
namespace {

struct Chip {
  const char* word;
  const char* capability;
};

constexpr std::array chips = {
    Chip{"K80", "3.7"}, Chip{"M40", "5.2"},   Chip{"M60", "5.2"},  Chip{"P100", "6.0"},
    Chip{"P4", "6.1"},  Chip{"P40", "6.1"},   Chip{"V100", "7.0"}, Chip{"V100S", "7.0"},
    Chip{"T4", "7.5"},  Chip{"A100", "8.0"},  Chip{"A30", "8.0"},  Chip{"A800", "8.0"},
    Chip{"A2", "8.6"},  Chip{"A10", "8.6"},   Chip{"A10G", "8.6"}, Chip{"A16", "8.6"},
    Chip{"A40", "8.6"}, Chip{"A6000", "8.6"},
};

}  // namespace

std::string capability_of_name(const std::string& gpu_name) {
  // "Tesla V100-SXM2-16GB": the chip is a word of its own.
  std::string blanked = gpu_name;
  std::replace(blanked.begin(), blanked.end(), '-', ' ');
  for (const std::string& word : split_words(blanked)) {
    for (const Chip& chip : chips) {
      if (word == chip.word)
        return chip.capability;
    }
  }
  return {};
}

}  // namespace ds
