// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "source/answer.h"
#include "source/ask.h"
#include "source/includes.h"
#include "source/source.h"
#include "source/unpack.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

std::string request(const fs::path& tree, const SourceOptions& options) {
  nlohmann::json stub = nullptr;
  if (options.stub)
    stub = {{"version", options.stub->version}, {"cuda", options.stub->cuda}};
  return nlohmann::json({{"tree", tree.string()},
                         {"limit", options.limit.count()},
                         {"op_limit", options.op_limit.count()},
                         {"stub", stub}})
      .dump();
}

/// Its folder, unpacked if it is an archive.
fs::path folder_of(const fs::path& path, const fs::path& cache, InUse& in_use) {
  std::error_code failure;
  const fs::path whole = fs::canonical(path, failure);
  if (failure) {
    throw Error(fmt::format("cannot read the source {}: {}", path.string(), failure.message()),
                "name a folder or an sdist", ExitStatus::usage);
  }
  const fs::path folder = fs::is_directory(whole) ? whole : unpack_source(whole, cache, in_use);
  if (clean_line(folder.string(), 4096) != folder.string()) {
    throw Error("the path of the source has characters that no command can hold: " +
                    clean_line(folder.string()),
                "move the source", ExitStatus::usage);
  }
  return folder;
}

}  // namespace

SourceTree read_source(const fs::path& path, const std::string& python,
                       const SourceOptions& options) {
  InUse own;
  const fs::path tree =
      folder_of(path, options.cache, options.in_use != nullptr ? *options.in_use : own);
  // Whatever the tree's code leaves in TMPDIR goes with it.
  const TempDir work("ds-deploy-source");
  const std::string answer =
      ask({.python = python,
           .scripts = {"torch_stub.py", "in_child.py", "ask_op.py", "read_source.py"},
           .request = request(tree, options),
           .work = work.path(),
           .environment = options.environment,
           .limit = options.limit + std::chrono::seconds(60),
           .about = "the source " + path.string()});
  SourceTree read = parse_source_answer(answer, path.string(), python);
  read.root = tree;
  find_torch_units(read);
  return read;
}

}  // namespace ds
