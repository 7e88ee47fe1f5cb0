// SPDX-License-Identifier: Apache-2.0
//
// What the wheels require of Python packages, brought to the hosts that lack it by their own pip.
#include <set>

#include "base/text.h"
#include "rollout/rollout_state.h"

namespace ds {

namespace {

/// What torch is made of and stands on: another CUDA or triton beside it breaks it as surely as
/// another torch.
bool belongs_to_torch(const std::string& name) {
  static const std::set<std::string> names = {"torch", "torchvision", "torchaudio", "triton",
                                              "pytorch-triton"};
  // nvidia-ml-py asks the driver and is no part of CUDA.
  const bool of_cuda = name.starts_with("nvidia-") || name.starts_with("cuda-");
  return names.contains(name) || (of_cuda && name != "nvidia-ml-py");
}

/// "torch==2.11.0+cu130" for each, at the version that is there.
std::vector<std::string> pins_of(const HostFacts& facts) {
  std::vector<std::string> pins;
  bool has_torch = false;
  for (const auto& [name, version] : facts.distributions->all()) {
    if (!belongs_to_torch(name))
      continue;
    has_torch |= name == "torch";
    pins.push_back(name + "==" + version);
  }
  // One that no installer knows of, which pip would not see.
  if (!has_torch && !facts.torch.version.empty())
    pins.push_back("torch==" + facts.torch.version);
  return pins;
}

}  // namespace

PhaseDescription requirements_phase(const std::string& mirror) {
  PhaseDescription phase;
  phase.name = "requirements";
  phase.done_word = "installed";
  phase.script = "requirements.py";
  phase.command = [mirror](const RolloutHost& host) {
    return PhaseCommand{
        {{"install", host.lacking}, {"pins", pins_of(*host.facts)}, {"mirror", mirror}}, {}};
  };
  phase.accept = [](RolloutHost& host, const nlohmann::json& answer) {
    host.changed |= answer.value("changed", false);
  };
  return phase;
}

}  // namespace ds
