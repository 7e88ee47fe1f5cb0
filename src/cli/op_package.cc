// SPDX-License-Identifier: Apache-2.0
#include "cli/op_package.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

struct Content {
  std::string path, bytes;
  bool executable = false;
};

std::vector<Content> contents_of(const std::vector<WheelFile>& files) {
  std::vector<Content> contents;
  for (const WheelFile& file : files) {
    contents.push_back(
        {file.path, file.source.empty() ? file.content : read_file(file.source), file.executable});
  }
  std::sort(contents.begin(), contents.end(),
            [](const Content& left, const Content& right) { return left.path < right.path; });
  return contents;
}

std::string name_of(const std::vector<Content>& contents) {
  std::string all;
  for (const Content& file : contents)
    all += fmt::format("{} {}\n", sha256_hex(file.bytes), file.path);
  return sha256_hex(all);
}

bool holds(const fs::path& file, const Content& wanted) {
  try {
    return read_file(file, wanted.bytes.size()) == wanted.bytes;
  } catch (const Error&) {
    return false;
  }
}

void write_missing(const std::vector<Content>& contents, const fs::path& package) {
  for (const Content& file : contents) {
    const fs::path target = package / file.path;
    if (holds(target, file))
      continue;
    make_folders(target.parent_path());
    // After a loss of power it is looked at again, and is written anew.
    write_file(target, file.bytes, file.executable ? 0755 : 0644, Outlives::process);
  }
}

}  // namespace

fs::path lay_out_package(const std::vector<WheelFile>& files, const fs::path& folder) {
  const std::vector<Content> contents = contents_of(files);
  const fs::path package = folder / name_of(contents);
  std::error_code failure;
  if (fs::is_directory(package, failure)) {
    write_missing(contents, package);
    return package;
  }
  const fs::path fresh = folder / ".new";
  fs::remove_all(fresh, failure);
  write_missing(contents, fresh);
  fs::rename(fresh, package, failure);
  if (failure) {
    throw Error(fmt::format("cannot rename {} to {}: {}", fresh.string(),
                            package.filename().string(), failure.message()),
                "remove what stands in the way", ExitStatus::usage);
  }
  return package;
}

}  // namespace ds
