// SPDX-License-Identifier: Apache-2.0
//
// The reading of a source alone, for the tests: source-run SOURCE PYTHON CACHE [key=value...] with
// stub=VERSION/CUDA, limit=SECONDS, op_limit=SECONDS, NAME=VALUE of the environment. Prints what
// was read as JSON; an Error goes to stderr with its fix, and its status is the exit status.
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "base/text.h"
#include "source/source.h"

namespace {

using namespace ds;
using nlohmann::json;

json shown(const SourceOp& op) {
  return {{"name", op.name},
          {"builder", op.builder},
          {"build_variable", op.build_variable},
          {"module", op.module},
          {"sources", op.sources},
          {"include", op.include},
          {"defines", op.defines},
          {"cxx_flags", op.cxx_flags},
          {"nvcc_flags", op.nvcc_flags},
          {"link_flags", op.link_flags},
          {"libraries", op.libraries},
          {"library_dirs", op.library_dirs},
          {"cuda", op.cuda},
          {"links_cuda", op.links_cuda},
          {"minimum_compute_capability", op.minimum_compute_capability},
          {"compatible", op.compatible},
          {"because", op.because},
          {"needs", op.needs},
          {"warnings", op.warnings},
          {"said", op.said}};
}

json shown(const TorchAdditions& adds) {
  return {{"include", adds.include},
          {"library_dirs", adds.library_dirs},
          {"libraries", adds.libraries},
          {"problem", adds.problem}};
}

json shown(const SourceTree& tree) {
  json ops = json::array();
  for (const SourceOp& op : tree.ops)
    ops.push_back(shown(op));
  const SourceTorch& torch = tree.torch;
  return {{"kind", tree.kind == SourceTree::Kind::setup ? "setup" : "deepspeed"},
          {"root", tree.root.string()},
          {"name", tree.name},
          {"version", tree.version},
          {"build_string", tree.build_string ? json(*tree.build_string) : json(nullptr)},
          {"git_hash", tree.git_hash},
          {"git_branch", tree.git_branch},
          {"dirty", tree.dirty},
          {"problem", tree.problem},
          {"python", {{"version", tree.python.version}, {"ext_suffix", tree.python.ext_suffix}}},
          {"torch",
           {{"version", torch.version},
            {"cuda", torch.cuda},
            {"cuda_home", torch.cuda_home},
            {"toolkit", torch.toolkit},
            {"stub", torch.stub},
            {"cpp", shown(torch.cpp)},
            {"cuda_extension", shown(torch.cuda_extension)},
            {"nvcc_flags", torch.nvcc_flags},
            {"abi", torch.abi}}},
          {"ops", ops}};
}

void take(const std::string& word, SourceOptions& options) {
  const std::size_t sign = word.find('=');
  const std::string key = word.substr(0, sign), value = word.substr(sign + 1);
  if (key == "stub")
    options.stub = TorchStub{split(value, '/').front(), split(value, '/').back()};
  else if (key == "limit")
    options.limit = std::chrono::seconds(std::stol(value));
  else if (key == "op_limit")
    options.op_limit = std::chrono::seconds(std::stol(value));
  else
    options.environment.push_back(word);
}

}  // namespace

int main(int count, char** words) {
  if (count < 4) {
    std::fputs("usage: source-run SOURCE PYTHON CACHE [key=value...]\n", stderr);
    return 2;
  }
  SourceOptions options;
  options.cache = words[3];
  for (int i = 4; i < count; ++i)
    take(words[i], options);
  try {
    std::cout << shown(read_source(words[1], words[2], options)).dump() << std::endl;
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n%s\n", error.what().c_str(), error.fix().c_str());
    return static_cast<int>(error.status());
  }
  return 0;
}
