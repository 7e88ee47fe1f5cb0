// SPDX-License-Identifier: Apache-2.0
//
// Reads a wheel once and holds it against the format and its own RECORD.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/sha256.h"
#include "base/text.h"
#include "wheel/record.h"
#include "wheel/wheel.h"
#include "wheel/wheel_name.h"
#include "wheel/zip_reader.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t text_limit = 64u << 20;  // METADATA, WHEEL, RECORD

[[noreturn]] void refuse(const fs::path& file, const std::string& why,
                         const std::string& fix = "build or fetch the wheel again") {
  throw Error(file.string() + ": " + why, fix, ExitStatus::usage);
}

struct Entry {
  WheelEntry entry;
  Digest digest{};
};

/// What one pass over the archive gives.
struct Contents {
  std::map<std::string, Entry> entries;
  std::map<std::string, std::string> texts;  ///< WHEEL, METADATA, RECORD, by whole path
};

bool is_described_text(std::string_view path) {
  const std::size_t slash = path.find('/');
  if (slash == std::string_view::npos || !path.substr(0, slash).ends_with(".dist-info")) {
    return false;
  }
  const std::string_view name = path.substr(slash + 1);
  return name == "WHEEL" || name == "METADATA" || name == "RECORD";
}

Contents read_contents(ZipReader& archive, const fs::path& file) {
  Contents contents;
  while (archive.next()) {
    const std::string path = archive.path();
    Entry entry{.entry = {.path = path, .size = 0, .mode = archive.mode(), .sha256 = {}}};
    std::string* text = is_described_text(path) ? &contents.texts[path] : nullptr;
    Sha256 hash;
    archive.read([&](std::string_view block) {
      hash.update(block);
      entry.entry.size += block.size();
      if (text == nullptr)
        return;
      if (entry.entry.size > text_limit)
        refuse(file, path + " is too long");
      text->append(block);
    });
    entry.digest = hash.finish();
    entry.entry.sha256 = hex(entry.digest);
    contents.entries.emplace(path, std::move(entry));
  }
  return contents;
}

/// Where the file lies once it is installed: NAME.data/purelib and platlib are merged (binary
/// distribution format).
std::string installed_path(const std::string& path) {
  const std::size_t slash = path.find('/');
  if (slash == std::string::npos || !path.substr(0, slash).ends_with(".data"))
    return path;
  for (const std::string merged : {"purelib/", "platlib/"}) {
    if (path.compare(slash + 1, merged.size(), merged) == 0)
      return path.substr(slash + 1 + merged.size());
  }
  return path;
}

/// No two files for one place, and none where another needs a folder. Names that differ in case
/// alone are two places, as on every file system that hosts have; others refuse while they stage.
void check_places(const Contents& contents, const fs::path& file) {
  std::map<std::string, std::string> places;
  for (const auto& [path, entry] : contents.entries) {
    const auto [place, added] = places.emplace(installed_path(path), path);
    if (!added)
      refuse(file, "'" + place->second + "' and '" + path + "' are for one place");
  }
  for (const auto& [place, path] : places) {
    for (std::size_t at = place.find('/'); at != std::string::npos; at = place.find('/', at + 1)) {
      if (places.contains(place.substr(0, at)))
        refuse(file, "'" + place.substr(0, at) + "' is both a file and a folder");
    }
  }
}

std::string find_dist_info(const Contents& contents, const fs::path& file) {
  std::set<std::string> found;
  for (const auto& [path, entry] : contents.entries) {
    const std::size_t slash = path.find('/');
    const std::string folder = path.substr(0, slash);
    if (slash != std::string::npos && folder.ends_with(".dist-info"))
      found.insert(folder);
  }
  if (found.size() != 1) {
    refuse(file, fmt::format("it has {} .dist-info, a wheel has one",
                             found.empty() ? "no" : std::to_string(found.size())));
  }
  for (const char* name : {"WHEEL", "METADATA", "RECORD"}) {
    if (!contents.texts.contains(*found.begin() + "/" + name)) {
      refuse(file, fmt::format("{} has no {}", *found.begin(), name));
    }
  }
  return *found.begin();
}

/// The values of a header field ("Requires-Dist"), as far as somebody reads them.
std::vector<std::string> headers(const std::string& text, std::string_view field) {
  std::vector<std::string> values;
  for (const std::string& line : lines(text)) {
    if (line.empty() || values.size() == 2000)
      break;
    const std::size_t colon = line.find(':');
    if (colon != std::string::npos && lower(line.substr(0, colon)) == lower(field))
      values.push_back(clean_line(std::string_view(line).substr(colon + 1)));
  }
  return values;
}

/// The first of them, or empty.
std::string header(const std::string& text, std::string_view field) {
  const std::vector<std::string> values = headers(text, field);
  return values.empty() ? std::string() : values.front();
}

void check_metadata(const Contents& contents, const Wheel& wheel) {
  const std::string format = header(contents.texts.at(wheel.dist_info + "/WHEEL"), "Wheel-Version");
  if (split(format, '.').front() != "1") {
    refuse(wheel.file, fmt::format("its format is '{}', not 1.x", format),
           "use a newer ds-deploy, or build the wheel in format 1.0");
  }
  const std::string& metadata = contents.texts.at(wheel.dist_info + "/METADATA");
  const std::string name = header(metadata, "Name");
  if (normalised_name(name) != normalised_name(wheel.name)) {
    refuse(wheel.file, fmt::format("METADATA says that it is '{}'", name), "undo the renaming");
  }
  const std::string version = header(metadata, "Version");
  if (normalised_version(version) != normalised_version(wheel.version)) {
    refuse(wheel.file, fmt::format("METADATA says that its version is '{}'", version),
           "undo the renaming");
  }
}

/// RECORD lists each file once with its hash; itself and its signatures need none.
void check_record(const Contents& contents, const Wheel& wheel) {
  const std::string record = wheel.dist_info + "/RECORD";
  std::set<std::string> listed;
  for (const RecordLine& line :
       parse_record(contents.texts.at(record), wheel.file.string() + ": RECORD")) {
    const std::string shown = clean_line(line.path);
    if (!listed.insert(line.path).second)
      refuse(wheel.file, "RECORD lists " + shown + " twice");
    const auto found = contents.entries.find(line.path);
    if (found == contents.entries.end()) {
      refuse(wheel.file, "RECORD lists " + shown + ", which is not there");
    }
    if (line.path == record)
      continue;
    const bool exempt = line.path == record + ".jws" || line.path == record + ".p7s";
    if (line.hash.empty() && exempt)
      continue;
    if (!line.hash.starts_with("sha256=")) {
      refuse(wheel.file, fmt::format("RECORD has no SHA-256 of {}", shown));
    }
    std::string_view hash = std::string_view(line.hash).substr(7);
    while (hash.ends_with('='))
      hash.remove_suffix(1);
    const Entry& entry = found->second;
    if (hash != base64url(entry.digest) || (line.size && *line.size != entry.entry.size)) {
      throw Error(fmt::format("{}: {} is not what RECORD says: {} with SHA-256 {}, RECORD has {}",
                              wheel.file.string(), shown, count(entry.entry.size, "byte"),
                              base64url(entry.digest), clean_line(line.hash)),
                  "the file was changed after it was built; build or fetch the wheel again",
                  ExitStatus::key_refused);
    }
  }
  for (const auto& [path, entry] : contents.entries) {
    const bool exempt = path == record || path == record + ".jws" || path == record + ".p7s";
    if (!exempt && !listed.contains(path))
      refuse(wheel.file, "RECORD does not list " + path);
  }
}

}  // namespace

Wheel open_wheel(const std::filesystem::path& file) {
  const auto name = parse_wheel_name(file.filename().string());
  if (!name) {
    refuse(file, "its name is no wheel's",
           "name a file such as ds_ops-0.1.0-py3-none-linux_x86_64.whl");
  }
  ZipReader archive(file);
  Wheel wheel{.file = file,
              .sha256 = archive.sha256(),
              .bytes = archive.bytes(),
              .name = name->name,
              .version = name->version,
              .tag = name->tag,
              .requires_python = {},
              .requires_dist = {},
              .dist_info = {},
              .entries = {}};
  const Contents contents = read_contents(archive, file);
  check_places(contents, file);
  wheel.dist_info = find_dist_info(contents, file);
  check_metadata(contents, wheel);
  check_record(contents, wheel);
  const std::string& metadata = contents.texts.at(wheel.dist_info + "/METADATA");
  wheel.requires_python = header(metadata, "Requires-Python");
  wheel.requires_dist = headers(metadata, "Requires-Dist");
  for (const auto& [path, entry] : contents.entries) {
    wheel.entries.push_back(entry.entry);
  }
  return wheel;
}

void read_wheel(const Wheel& wheel,
                const std::function<void(const WheelEntry&, std::string_view)>& visit) {
  ZipReader archive(wheel.file);
  std::size_t visited = 0;
  while (archive.next()) {
    const auto known = std::lower_bound(
        wheel.entries.begin(), wheel.entries.end(), archive.path(),
        [](const WheelEntry& entry, const auto& path) { return entry.path < path; });
    std::string content;
    archive.read([&content](std::string_view block) { content.append(block); });
    if (known == wheel.entries.end() || known->path != archive.path() ||
        sha256_hex(content) != known->sha256) {
      refuse(wheel.file, archive.path() + " changed since the wheel was checked", "try again");
    }
    visit(*known, content);
    ++visited;
  }
  if (visited != wheel.entries.size()) {
    refuse(wheel.file, "files are missing since the wheel was checked", "try again");
  }
}

}  // namespace ds
