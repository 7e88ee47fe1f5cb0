// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>
#include <string>
#include <utility>

#include "base/text.h"
#include "plan/plan.h"

namespace ds {

/// A library of one cpu op and two cuda ops, as values: planning needs no file.
inline OpLibrary small_library() {
  OpLibrary library;
  library.root = "/src/ops";
  library.version = "0.1.0";
  library.source_digest = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
  library.commit = "1a2b3c4d5e6f";
  library.files = {"VERSION",
                   "common/include/x.h",
                   "common/python/__init__.py",
                   "common/python/sub/y.py",
                   "cpu_adam/adam.cc",
                   "cpu_adam/python/__init__.py",
                   "fused_adam/python/__init__.py",
                   "quantizer/python/__init__.py"};
  Op cpu;
  cpu.name = "cpu_adam";
  cpu.build_variable = "DS_BUILD_CPU_ADAM";
  cpu.sources = {"adam.cc", "simd/avx.cc"};
  cpu.include = {"../common/include"};
  cpu.flags = {"-O3", "-fopenmp"};
  cpu.link_flags = {"-fopenmp"};
  cpu.libraries = {"m"};
  Op fused;
  fused.name = "fused_adam";
  fused.kind = Op::Kind::cuda;
  fused.build_variable = "DS_BUILD_FUSED_ADAM";
  fused.sources = {"fused.cu", "front.cc"};
  fused.nvcc_flags = {"--use_fast_math"};
  fused.link_flags = {"-fopenmp", "-Wl,-z,now", "-L/opt/x"};
  fused.libraries = {"curand"};
  fused.minimum_compute_capability = "7.0";
  Op quantizer = fused;
  quantizer.name = "quantizer";
  quantizer.build_variable = "DS_BUILD_QUANTIZER";
  quantizer.sources = {"quant.cu"};
  quantizer.link_flags.clear();
  quantizer.libraries.clear();
  quantizer.minimum_compute_capability = "8.0";
  library.ops = {cpu, fused, quantizer};
  return library;
}

inline HostFacts build_machine(const std::string& nvcc_version = "13.0") {
  HostFacts facts;
  facts.host = "builder";
  facts.state = HostFacts::State::reached;
  facts.machine = "x86_64";
  facts.cxx = {{"/usr/bin/g++", "12.2.0"}, {"/usr/bin/clang++", "14.0.6"}};
  if (!nvcc_version.empty())
    facts.nvcc = {{"/usr/local/cuda/bin/nvcc", nvcc_version}};
  return facts;
}

/// Hosts with one GPU each: name, compute capability.
inline Fleet fleet_of(std::initializer_list<std::pair<std::string, std::string>> gpus) {
  Fleet fleet;
  for (const auto& [name, capability] : gpus) {
    HostFacts host;
    host.host = name;
    host.state = HostFacts::State::reached;
    Gpu gpu;
    gpu.compute_capability = capability;
    host.gpus = {gpu, gpu};
    fleet.hosts.push_back(host);
  }
  return fleet;
}

/// Its jobs and files, for golden texts.
inline std::string listed(const BuildPlan& plan) {
  std::string text;
  for (const Job& job : plan.jobs) {
    text += job.name + "\n  in " + job.command.cwd.string() + ": " + join(job.command.argv, " ") +
            "\n  makes " + job.output.string() + ", needs";
    for (const std::size_t need : job.needs)
      text += " " + std::to_string(need);
    text += "\n";
  }
  for (const PlannedFile& file : plan.files) {
    text += file.source.string() + " -> " + file.path + "\n";
  }
  return text;
}

}  // namespace ds
