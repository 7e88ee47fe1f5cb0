// SPDX-License-Identifier: Apache-2.0
//
// What setup.py makes lies below the cache, under the name of all that it was made from, with a
// seal over its files: a package that is damaged is made anew.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "base/sha256.h"
#include "base/text.h"
#include "source/ask.h"
#include "source/package_folder.h"
#include "source/source.h"

namespace ds {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

/// A folder in the cache, on whose file system the package then lies; removed with the object.
class Workplace {
 public:
  explicit Workplace(fs::path path) : path_(std::move(path)) { make_folders(path_); }
  ~Workplace() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Workplace(const Workplace&) = delete;
  Workplace& operator=(const Workplace&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

std::string key_of(const SourceTree& tree, const std::string& python,
                   const PackageOptions& options) {
  const std::string digest = tree.digest.empty() ? source_digest(tree.root) : tree.digest;
  const ordered_json key = {"ds-deploy.package/1",
                            sha256_hex(template_text("package_source.py")),
                            digest,
                            python,
                            tree.python.version,
                            tree.torch.version,
                            tree.torch.cuda,
                            tree.torch.toolkit,
                            options.accelerator,
                            options.environment};
  return sha256_hex(key.dump(-1, ' ', false, ordered_json::error_handler_t::replace));
}

std::string request(const SourceTree& tree, const PackageOptions& options, const fs::path& work) {
  return ordered_json({{"tree", tree.root.string()},
                       {"work", work.string()},
                       {"out", (work / "package" / "files").string()},
                       {"accelerator", options.accelerator},
                       {"limit", options.limit.count()}})
      .dump();
}

/// Why setup.py made no package, with what to do.
[[noreturn]] void refuse(const ordered_json& answer, const SourceTree& tree,
                         const std::string& python) {
  const auto text = [&answer](const char* key) {
    const auto found = answer.find(key);
    return found != answer.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  const std::string because = clean_line(text("because"));
  if (text("refused") == "no-setuptools") {
    throw Error(
        fmt::format("{} cannot make the package of {}: {}", python, tree.root.string(), because),
        fmt::format("install it ({} -m pip install setuptools wheel), or name another "
                    "interpreter with --python",
                    shell_quote(python)),
        ExitStatus::build_failed);
  }
  if (text("refused") == "no-copy") {
    throw Error(fmt::format("cannot copy {} to make its package: {}", tree.root.string(), because),
                "make room below --cache-dir, or repair the source", ExitStatus::usage);
  }
  const std::vector<std::string> said = lines(trim(text("said")));
  throw Error(fmt::format("{}: {}{}", tree.root.string(),
                          because.empty() ? "its setup.py gave no answer" : because,
                          said.empty() ? "" : "; it printed: " + clean_line(said.back())),
              fmt::format("to see all of it, run DS_BUILD_OPS=0 {} setup.py bdist_wheel in a copy "
                          "of the source",
                          shell_quote(python)),
              ExitStatus::build_failed);
}

bool is_identifier(const std::string& name) {
  return !name.empty() && (name.front() < '0' || name.front() > '9') &&
         name.find_first_not_of(
             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") ==
             std::string::npos;
}

/// The assignments of build_record_path, or null.
ordered_json record_in(const ordered_json& answer) {
  const auto record = answer.find("installed");
  if (record == answer.end() || !record->is_object())
    return nullptr;
  for (const auto& [name, value] : record->items()) {
    if (!is_identifier(name))
      return nullptr;
  }
  return *record;
}

std::string seal_text(const ordered_json& record, const fs::path& files) {
  return ordered_json({{"files", package_seal(files)}, {"record", record}})
             .dump(1, ' ', false, ordered_json::error_handler_t::replace) +
         "\n";
}

/// Nothing if there is no such package, or if it is damaged.
std::optional<SourcePackage> find_package(const fs::path& place, InUse& in_use) {
  if (!in_use.hold(place))
    return std::nullopt;
  try {
    const std::string text = read_file(place / "seal.json");
    const ordered_json seal = ordered_json::parse(text, nullptr, false);
    if (!seal.is_object() ||
        seal_text(seal.value("record", ordered_json()), place / "files") != text)
      return std::nullopt;
    SourcePackage package = package_in(place / "files");
    if (seal["record"].is_object())
      package.record = seal["record"].dump();
    return package;
  } catch (const Error&) {
    return std::nullopt;
  }
}

/// Another run may have been first, with the same; a damaged one makes room.
void put(const fs::path& made, const fs::path& place, const fs::path& work) {
  std::error_code failure;
  fs::rename(made, place, failure);
  InUse own;
  if (!failure || find_package(place, own))
    return;
  std::error_code ignored;
  fs::rename(place, work / "damaged", ignored);
  fs::rename(made, place, failure);
  if (failure) {
    throw Error(fmt::format("cannot write {}: {}", place.string(), failure.message()),
                "name another cache folder with --cache-dir", ExitStatus::usage);
  }
}

void make_package(const SourceTree& tree, const std::string& python, const PackageOptions& options,
                  const fs::path& place) {
  std::vector<std::string> environment = options.environment;
  environment.emplace_back("PYTHONHASHSEED=0");  // setup.py may write sets in their order
  const Workplace work(place.string() + "." + random_nonce().substr(0, 8));
  const ordered_json answer =
      ordered_json::parse(ask({.python = python,
                               .scripts = {"in_child.py", "package_source.py"},
                               .request = request(tree, options, work.path()),
                               .work = work.path(),
                               .environment = environment,
                               .limit = options.limit + std::chrono::seconds(120),
                               .about = "the package of " + tree.root.string()}),
                          nullptr, false);
  if (!answer.is_object() || answer.contains("refused") || !answer.contains("installed"))
    refuse(answer.is_object() ? answer : ordered_json::object(), tree, python);
  const fs::path made = work.path() / "package";
  package_in(made / "files");
  write_file(made / "seal.json", seal_text(record_in(answer), made / "files"), 0644,
             Outlives::process);
  put(made, place, work.path());
}

}  // namespace

SourcePackage read_package(const SourceTree& tree, const std::string& python,
                           const PackageOptions& options) {
  const fs::path place = fs::absolute(options.cache) / "packages" / key_of(tree, python, options);
  InUse own;
  InUse& in_use = options.in_use != nullptr ? *options.in_use : own;
  if (std::optional<SourcePackage> found = find_package(place, in_use))
    return *std::move(found);
  return with_context("making the package of " + tree.root.string(), [&] {
    make_package(tree, python, options, place);
    std::optional<SourcePackage> made = find_package(place, in_use);
    if (!made) {
      throw Error("the package changed while it was read: " + place.string(),
                  "run it again; something else writes to the cache folder",
                  ExitStatus::build_failed);
    }
    return *std::move(made);
  });
}

}  // namespace ds
