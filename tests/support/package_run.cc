// SPDX-License-Identifier: Apache-2.0
//
// The wheel of a foreign source without compiling, for the tests: package-run SOURCE PYTHON CACHE
// OUTPUT [key=value...] with stub=VERSION/CUDA, accelerator=NAME, op=NAME=LIBRARY. DS_BUILD_STRING
// counts. Prints as JSON where the wheel is and what the package holds; an Error goes to stderr
// with its fix, and its status is the exit status.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "base/text.h"
#include "cli/source_wheel.h"

namespace {

using namespace ds;
using nlohmann::json;

struct Request {
  SourceOptions source;
  PackageOptions package;
  std::vector<std::pair<std::string, std::string>> ops;  // name, library
};

void take(const std::string& word, Request& request) {
  const std::size_t sign = word.find('=');
  const std::string key = word.substr(0, sign), value = word.substr(sign + 1);
  if (key == "stub")
    request.source.stub = TorchStub{split(value, '/').front(), split(value, '/').back()};
  else if (key == "accelerator")
    request.package.accelerator = value;
  else if (key == "limit")
    request.package.limit = std::chrono::seconds(std::stol(value));
  else if (key == "op")
    request.ops.emplace_back(split(value, '=').front(), split(value, '=').back());
  else
    request.source.environment.push_back(word);
}

SourceWheel wheel_of(SourceTree tree, const Request& request) {
  SourceWheel wheel{.tree = std::move(tree),
                    .version = {},
                    .accelerator = request.package.accelerator,
                    .ops = {},
                    .cuda = {},
                    .compiler = "g++ 12.2.0",
                    .nvcc = {},
                    .bf16 = true};
  for (const auto& [name, library] : request.ops) {
    for (const SourceOp& op : wheel.tree.ops) {
      if (op.name != name)
        continue;
      wheel.ops.push_back({.name = name,
                           .kind = op.cuda ? Op::Kind::cuda : Op::Kind::cpu,
                           .library = library,
                           .path = {},
                           .module = op.module,
                           .self_test = {},
                           .rules = {}});
      wheel.ops.back().rules.links_torch = true;
      wheel.ops.back().rules.torch = wheel.tree.torch.version;
      if (op.cuda)
        wheel.cuda = wheel.tree.torch.toolkit;
    }
  }
  std::vector<std::string> names;
  for (const BuiltOp& op : wheel.ops)
    names.push_back(op.name);
  std::map<std::string, std::string> environment;
  if (const char* text = std::getenv("DS_BUILD_STRING"))
    environment["DS_BUILD_STRING"] = text;
  const std::vector<std::string> archs =
      wheel.cuda.empty() ? std::vector<std::string>{} : std::vector<std::string>{"80"};
  wheel.version = source_wheel_version({.version = wheel.tree.version,
                                        .commit = wheel.tree.git_hash,
                                        .digest = source_digest(wheel.tree.root),
                                        .dirty = wheel.tree.dirty,
                                        .build_string = wheel.tree.build_string},
                                       environment,
                                       {.cuda = wheel.cuda,
                                        .archs = archs,
                                        .cpu_level = 3,
                                        .torch = wheel.tree.torch.version,
                                        .ops = names});
  return wheel;
}

json paths(const std::vector<PackageFile>& files) {
  json all = json::array();
  for (const PackageFile& file : files)
    all.push_back(file.path);
  return all;
}

}  // namespace

int main(int count, char** words) {
  if (count < 5) {
    std::fputs("usage: package-run SOURCE PYTHON CACHE OUTPUT [key=value...]\n", stderr);
    return 2;
  }
  Request request;
  request.source.cache = request.package.cache = words[3];
  for (int i = 5; i < count; ++i)
    take(words[i], request);
  request.package.environment = request.source.environment;
  Options options;
  options.cache_folder = words[3];
  options.verbose = true;
  try {
    Session session(options);
    FileHashes hashes;
    const SourceTree tree = read_source(words[1], words[2], request.source);
    const SourcePackage package = read_package(tree, words[2], request.package);
    const std::filesystem::path wheel =
        make_source_wheel(wheel_of(tree, request), package, words[4], session, hashes);
    std::cout << json({{"wheel", wheel.string()},
                       {"root", tree.root.string()},
                       {"name", package.name},
                       {"version", package.version},
                       {"files", paths(package.files)},
                       {"data", paths(package.data)},
                       {"dist_info", paths(package.dist_info)},
                       {"record", package.record}})
                     .dump()
              << std::endl;
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n%s\n", error.what().c_str(), error.fix().c_str());
    return static_cast<int>(error.status());
  }
  return 0;
}
