// SPDX-License-Identifier: Apache-2.0
//
// Sees of a tree what package_source.py copies.
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/error.h"
#include "base/sha256.h"
#include "source/source.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

bool is_left_out(const fs::path& folder, const std::string& relative) {
  std::error_code ignored;
  return folder.filename() == "__pycache__" || relative == ".git" || relative == "build" ||
         relative == "dist" || fs::exists(folder / "pyvenv.cfg", ignored);
}

/// One line, without the path.
std::string line_of(const fs::directory_entry& entry) {
  if (entry.is_symlink())
    return "link " + fs::read_symlink(entry.path()).string();
  const bool runs = (entry.status().permissions() & fs::perms::owner_exec) != fs::perms::none;
  return fmt::format("{} {}", runs ? "program" : "file", hex(sha256_file(entry.path())));
}

std::vector<std::string> lines_of(const fs::path& tree) {
  std::vector<std::string> lines;
  for (auto at = fs::recursive_directory_iterator(tree); at != fs::recursive_directory_iterator();
       ++at) {
    const std::string relative = at->path().lexically_relative(tree).string();
    if (!at->is_symlink() && at->is_directory()) {
      if (is_left_out(at->path(), relative))
        at.disable_recursion_pending();
      continue;
    }
    const bool counts = at->is_symlink() || at->is_regular_file();
    if (counts && at->path().extension() != ".pyc" && at->path().filename() != ".git")
      lines.push_back(fmt::format("{} {}\n", relative, line_of(*at)));
  }
  std::sort(lines.begin(), lines.end());
  return lines;
}

}  // namespace

std::string source_digest(const fs::path& tree) {
  try {
    Sha256 hash;
    for (const std::string& line : lines_of(tree))
      hash.update(line);
    return hex(hash.finish());
  } catch (const fs::filesystem_error& failure) {
    throw Error(fmt::format("cannot read the source {}: {}", failure.path1().string(),
                            failure.code().message()),
                "make its files readable, or copy the source", ExitStatus::usage);
  }
}

}  // namespace ds
