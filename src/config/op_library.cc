// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/text.h"
#include "config/config.h"
#include "config/form.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse(const std::string& what, const std::string& fix) {
  throw Error(what, fix, ExitStatus::usage);
}

std::vector<fs::directory_entry> entries_of(const fs::path& folder) {
  std::error_code failure;
  std::vector<fs::directory_entry> entries;
  for (fs::directory_iterator at(folder, failure), end; !failure && at != end;
       at.increment(failure)) {
    entries.push_back(*at);
  }
  if (failure)
    refuse(fmt::format("cannot read {}: {}", folder.string(), failure.message()), "");
  std::sort(entries.begin(), entries.end());
  return entries;
}

/// Links are followed; `above` holds the real folders on the way here, to end a ring of them.
void add_files(const fs::path& root, const fs::path& below, std::vector<fs::path> above,
               std::vector<fs::path>& files) {
  std::error_code failure;
  const fs::path real = fs::canonical(root / below, failure);
  if (failure || std::find(above.begin(), above.end(), real) != above.end()) {
    refuse(fmt::format("{} leads back to a folder above it", (root / below).string()),
           "remove that link");
  }
  above.push_back(real);
  for (const fs::directory_entry& entry : entries_of(root / below)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with('.') || name == "__pycache__")
      continue;
    std::error_code unreadable;
    if (entry.is_directory(unreadable)) {
      if (name != "tests")
        add_files(root, below / name, above, files);
    } else if (entry.is_regular_file(unreadable)) {
      files.push_back(below / name);
    }
  }
}

/// Length before text: no two libraries with different names and contents feed the same bytes.
std::string digest_of(const fs::path& root, const std::vector<fs::path>& files) {
  Sha256 all;
  for (const fs::path& file : files) {
    const std::string name = file.generic_string();
    all.update(fmt::format("{} {} {}\n", name.size(), name, hex(sha256_file(root / file))));
  }
  return hex(all.finish());
}

std::string read_version(const fs::path& root) {
  const fs::path file = root / "VERSION";
  const std::string version(trim(read_file(file, 4096)));
  const std::string form = R"([0-9]+(\.[0-9]+)*((a|b|rc)[0-9]+)?(\.post[0-9]+)?(\.dev[0-9]+)?)";
  if (!has_form(version, form)) {
    throw InputError(
        {{file.string(), 1, 0, fmt::format("'{}' is no version", clean_line(version, 80)),
          "write a normalised version of PEP 440, such as 0.1.0"}});
  }
  return version;
}

/// Two ops under one variable could not be told apart on the command line.
void check_build_variables(const fs::path& root, const std::vector<Op>& ops,
                           std::vector<Problem>& problems) {
  for (std::size_t at = 0; at < ops.size(); ++at) {
    for (std::size_t other = 0; other < at; ++other) {
      if (ops[at].build_variable != ops[other].build_variable)
        continue;
      problems.push_back({(root / ops[at].name / "op.yaml").string(), 0, 0,
                          fmt::format("{} is the build variable of op {} too",
                                      ops[at].build_variable, ops[other].name),
                          "give each op its own"});
    }
  }
}

}  // namespace

OpLibrary load_ops(const fs::path& root) {
  std::error_code absent;
  const fs::path absolute = fs::canonical(root, absent);
  if (absent || !fs::is_directory(absolute)) {
    refuse(fmt::format("there is no op library at {}", root.string()),
           "name its folder with --ops DIR");
  }
  OpLibrary library;
  library.root = absolute;
  std::vector<Problem> problems;
  bool found = false;
  for (const fs::directory_entry& entry : entries_of(library.root)) {
    const fs::path manifest = root / entry.path().filename() / "op.yaml";
    if (entry.path().filename().string().starts_with('.') || !fs::exists(manifest, absent))
      continue;
    found = true;
    try {
      library.ops.push_back(parse_op(read_file(manifest, 1u << 20), manifest));
    } catch (const InputError& error) {
      problems.insert(problems.end(), error.problems().begin(), error.problems().end());
    }
  }
  if (!found) {
    refuse(fmt::format("no folder of {} holds an op.yaml", library.root.string()),
           "name the op library with --ops DIR");
  }
  check_build_variables(root, library.ops, problems);
  if (!problems.empty())
    throw InputError(std::move(problems));
  library.version = read_version(library.root);
  add_files(library.root, {}, {}, library.files);
  std::sort(library.files.begin(), library.files.end());
  library.source_digest = digest_of(library.root, library.files);
  return library;
}

}  // namespace ds
