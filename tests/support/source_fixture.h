// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "source/source.h"

namespace ds {

inline SourceOp source_op(const std::string& name, const std::string& module) {
  SourceOp op;
  op.name = name;
  op.builder = "Builder";
  op.build_variable = "DS_BUILD_" + name;
  for (char& c : op.build_variable)
    c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  op.module = module;
  op.sources = {"csrc/" + name + ".cpp"};
  op.compatible = true;
  return op;
}

/// A tree in DeepSpeed's shape, as values: an op for CPUs, one with device code, one that calls the
/// driver and needs another, and one that its builder refuses.
inline SourceTree small_tree() {
  SourceTree tree;
  tree.root = "/src/tree";
  tree.name = "deepspeed";
  tree.version = "0.19.8";
  tree.git_hash = "edaa722";
  tree.python = {"3.11.7", "/env/bin/python", "/usr/include/python3.11",
                 ".cpython-311-x86_64-linux-gnu.so", "cpython-311-x86_64-linux-gnu"};
  SourceTorch& torch = tree.torch;
  torch.version = "2.11.0+cu130";
  torch.cuda = "13.0";
  torch.cuda_home = "/opt/cuda";
  torch.toolkit = "13.0";
  const std::string folder = "/env/lib/torch";
  torch.cpp.include = {folder + "/include", folder + "/include/torch/csrc/api/include"};
  torch.cpp.library_dirs = {folder + "/lib"};
  torch.cpp.libraries = {"c10", "torch", "torch_cpu", "torch_python"};
  torch.cuda_extension = torch.cpp;
  torch.cuda_extension.include.push_back("/opt/cuda/include");
  torch.cuda_extension.library_dirs.push_back("/opt/cuda/lib64");
  for (const char* name : {"cudart", "c10_cuda", "torch_cuda"})
    torch.cuda_extension.libraries.push_back(name);
  torch.nvcc_flags = {"-D__CUDA_NO_HALF_OPERATORS__", "--expt-relaxed-constexpr"};
  torch.abi = {{"_GLIBCXX_USE_CXX11_ABI", "True"}, {"_PYBIND11_BUILD_ABI", "_cxxabi1018"}};

  SourceOp cpu = source_op("cpu_adam", "deepspeed.ops.adam.cpu_adam_op");
  cpu.include = {"csrc/includes"};
  cpu.cxx_flags = {"-O3", "-g", "-Wno-reorder", "-march=native", "-fopenmp", "-D__AVX512__"};
  cpu.link_flags = {"-fopenmp"};
  SourceOp fused = source_op("fused_adam", "deepspeed.ops.adam.fused_adam_op");
  fused.sources.push_back("csrc/adam/multi.cu");
  fused.include = {"csrc/includes", "/opt/cuda/include"};
  fused.defines = {"FAST=1"};
  fused.cxx_flags = {"-O3", "-std=c++17", "-DBF16_AVAILABLE"};
  fused.nvcc_flags = {"-O3",         "-lineinfo",        "-std=c++17",
                      "--threads=2", "-DBF16_AVAILABLE", "-gencode=arch=compute_80,code=sm_80"};
  fused.link_flags = {"-L/opt/cuda/lib64", "-lcurand", "-Wl,-rpath,/opt/cuda/lib64"};
  fused.cuda = fused.links_cuda = true;
  SourceOp aio = source_op("async_io", "deepspeed.ops.aio.async_io_op");
  aio.cxx_flags = {"-O3", "-std=c++17", "-O0"};
  aio.link_flags = {"-laio", "-lcuda", "-lcudart"};
  aio.links_cuda = true;
  aio.needs = {"pin_memory"};
  SourceOp pin = source_op("pin_memory", "deepspeed.ops.pin_memory.pin_memory_op");
  SourceOp lost = source_op("lost", "deepspeed.ops.lost_op");
  lost.compatible = false;
  lost.because = "builder() raised OSError: no disk";
  tree.ops = {cpu, fused, aio, pin, lost};
  return tree;
}

}  // namespace ds
