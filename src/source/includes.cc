// SPDX-License-Identifier: Apache-2.0
#include "source/includes.h"

#include <map>
#include <set>
#include <string_view>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

constexpr const char* torch_header = "torch/extension.h";
constexpr std::size_t longest_file = 16u << 20;

/// The names in its #include lines.
std::vector<std::string> includes_in(const fs::path& file) {
  std::vector<std::string> names;
  std::string text;
  try {
    text = read_file(file, longest_file);
  } catch (const Error&) {
    return names;
  }
  for (const std::string& line : lines(text)) {
    std::string_view rest = trim(line);
    if (!rest.starts_with('#'))
      continue;
    rest = trim(rest.substr(1));
    if (!rest.starts_with("include"))
      continue;
    rest = trim(rest.substr(std::string_view("include").size()));
    const char end = rest.starts_with('"') ? '"' : '>';
    const std::size_t at = rest.find(end, 1);
    if (at != std::string_view::npos && (rest[0] == '"' || rest[0] == '<'))
      names.emplace_back(rest.substr(1, at - 1));
  }
  return names;
}

class Finder {
 public:
  explicit Finder(const fs::path& root) : root_(root) {}

  bool reaches_torch(const std::string& source, const SourceOp& op) {
    std::set<fs::path> seen;
    std::vector<fs::path> open = {source};
    while (!open.empty()) {
      const fs::path file = open.back().lexically_normal();
      open.pop_back();
      if (!seen.insert(file).second)
        continue;
      for (const std::string& name : includes_of(file)) {
        if (name == torch_header)
          return true;
        const fs::path found = in_tree(name, file, op);
        if (!found.empty())
          open.push_back(found);
      }
    }
    return false;
  }

 private:
  const std::vector<std::string>& includes_of(const fs::path& file) {
    const auto known = includes_.find(file);
    return known != includes_.end() ? known->second : includes_[file] = includes_in(root_ / file);
  }

  /// Relative to the tree; empty if it is no file of the tree.
  fs::path in_tree(const std::string& name, const fs::path& by, const SourceOp& op) const {
    std::vector<fs::path> folders = {by.parent_path()};
    folders.insert(folders.end(), op.include.begin(), op.include.end());
    std::error_code absent;
    for (const fs::path& folder : folders) {
      const fs::path file = (folder / name).lexically_normal();
      if (file.is_relative() && !file.empty() && *file.begin() != ".." &&
          fs::is_regular_file(root_ / file, absent))
        return file;
    }
    return {};
  }

  const fs::path& root_;
  std::map<fs::path, std::vector<std::string>> includes_;
};

}  // namespace

void find_torch_units(SourceTree& tree) {
  Finder finder(tree.root);
  for (SourceOp& op : tree.ops) {
    for (const std::string& source : op.sources) {
      if (op.compatible && finder.reaches_torch(source, op))
        op.torch_units.push_back(source);
    }
  }
}

}  // namespace ds
