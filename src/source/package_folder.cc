// SPDX-License-Identifier: Apache-2.0
#include "source/package_folder.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/text.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t file_limit = 100'000;
constexpr std::size_t metadata_limit = 16u << 20;

[[noreturn]] void refuse(const std::string& why) {
  throw Error("the wheel that setup.py made cannot be used: " + why,
              "repair the source, or get it again", ExitStatus::build_failed);
}

/// Sorted by path.
std::vector<PackageFile> files_in(const fs::path& folder) {
  std::vector<PackageFile> files;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
    const std::string path = entry.path().lexically_relative(folder).string();
    const fs::file_status status = entry.symlink_status();
    if (clean_line(path, 4000) != path || path.find('\\') != std::string::npos)
      refuse("the name '" + clean_line(path) + "' has characters that no file of a wheel has");
    if (fs::is_directory(status))
      continue;
    if (!fs::is_regular_file(status))
      refuse("'" + path + "' is no file");
    if (files.size() == file_limit)
      refuse("it has too many files");
    const bool runs = (status.permissions() & fs::perms::owner_exec) != fs::perms::none;
    files.push_back({path, entry.path(), runs});
  }
  std::sort(files.begin(), files.end(), [](const PackageFile& left, const PackageFile& right) {
    return left.path < right.path;
  });
  return files;
}

/// fs errors as ours.
template <typename Work>
auto guarded(const fs::path& folder, Work&& work) {
  try {
    return work();
  } catch (const fs::filesystem_error& failure) {
    refuse(folder.string() + " cannot be read: " + failure.code().message());
  }
}

/// Of a header that is there once.
std::string header(const std::string& metadata, const std::string& name) {
  std::vector<std::string> values;
  for (const std::string& line : lines(metadata)) {
    if (line.empty())
      break;
    if (lower(line).starts_with(lower(name) + ":"))
      values.emplace_back(trim(std::string_view(line).substr(name.size() + 1)));
  }
  if (values.size() != 1 || values.front().empty())
    refuse(fmt::format("its METADATA has no {}, or more than one", name));
  return values.front();
}

/// The folders of the root that end so: "x-1.dist-info".
std::vector<std::string> roots_with(const std::vector<PackageFile>& files,
                                    std::string_view ending) {
  std::vector<std::string> found;
  for (const PackageFile& file : files) {
    const std::size_t slash = file.path.find('/');
    const std::string root = file.path.substr(0, slash);
    if (slash != std::string::npos && root.ends_with(ending) &&
        std::find(found.begin(), found.end(), root) == found.end())
      found.push_back(root);
  }
  return found;
}

bool is_made_anew(const std::string& path) {
  return path == "METADATA" || path == "WHEEL" || path == "RECORD";
}

void sort_out(std::vector<PackageFile> files, const std::string& info, const std::string& data,
              SourcePackage& package) {
  for (PackageFile& file : files) {
    if (file.path == info + "METADATA")
      package.metadata = read_file(file.source, metadata_limit);
    if (file.path.starts_with(info)) {
      file.path.erase(0, info.size());
      if (!is_made_anew(file.path))
        package.dist_info.push_back(std::move(file));
    } else if (file.path.starts_with(data)) {
      file.path.erase(0, data.size());
      package.data.push_back(std::move(file));
    } else {
      package.files.push_back(std::move(file));
    }
  }
}

}  // namespace

SourcePackage package_in(const fs::path& folder) {
  return guarded(folder, [&folder] {
    std::vector<PackageFile> files = files_in(folder);
    const std::vector<std::string> infos = roots_with(files, ".dist-info");
    const std::vector<std::string> datas = roots_with(files, ".data");
    if (infos.size() != 1)
      refuse(fmt::format("it has {} folders *.dist-info", infos.size()));
    const std::string stem = infos.front().substr(0, infos.front().size() - 10);
    if (datas.size() > 1 || (!datas.empty() && datas.front() != stem + ".data"))
      refuse("'" + datas.back() + "' is no folder of " + stem);
    SourcePackage package;
    sort_out(std::move(files), infos.front() + "/", stem + ".data/", package);
    if (package.metadata.empty())
      refuse("it has no METADATA");
    package.name = header(package.metadata, "Name");
    package.version = header(package.metadata, "Version");
    if (package.files.empty())
      refuse("there is nothing in it");
    return package;
  });
}

std::string package_seal(const fs::path& folder) {
  return guarded(folder, [&folder] {
    Sha256 hash;
    for (const PackageFile& file : files_in(folder)) {
      hash.update(fmt::format("{} {} {}\n", file.executable ? "program" : "file", file.path,
                              hex(sha256_file(file.source))));
    }
    return hex(hash.finish());
  });
}

}  // namespace ds
