// SPDX-License-Identifier: Apache-2.0
//
// What two wheels or libraries differ in. The JSON of an inspection says what there is to compare.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "artifact/artifact.h"
#include "artifact/without.h"
#include "base/text.h"

namespace ds {
namespace {

using Json = nlohmann::ordered_json;

/// One property that differs. Lists have `removed` and `added`, other values `before` and `after`.
struct Change {
  std::string property;
  std::string before, after;
  std::vector<std::string> removed, added;
};
using Changes = std::vector<Change>;

std::string text_of(const Json& value) {
  if (value.is_string())
    return value.get<std::string>();
  if (value.is_object() && value.contains("arch"))
    return "compute_" + value.at("arch").get<std::string>() + "/" +
           value.at("isa").get<std::string>();
  return value.is_null() ? "" : value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::vector<std::string> texts_of(const Json& list) {
  std::vector<std::string> texts;
  for (const Json& value : list)
    texts.push_back(text_of(value));
  return texts;
}

void compare(const std::string& name, const Json& before, const Json& after, Changes& changes) {
  if (before == after)
    return;
  if (before.is_object() || after.is_object()) {
    Json keys = before.is_object() ? before : Json::object();
    if (after.is_object())
      keys.update(after);
    for (const auto& [key, value] : keys.items()) {
      const Json nothing;
      compare(name.empty() ? key : name + "." + key,
              before.is_object() && before.contains(key) ? before.at(key) : nothing,
              after.is_object() && after.contains(key) ? after.at(key) : nothing, changes);
    }
    return;
  }
  Change change{name, {}, {}, {}, {}};
  if (before.is_array() || after.is_array()) {
    const std::vector<std::string> old = texts_of(before), now = texts_of(after);
    change.removed = without(old, now);
    change.added = without(now, old);
    if (change.removed.empty() && change.added.empty())
      return;  // another order
  } else {
    change.before = text_of(before);
    change.after = text_of(after);
  }
  changes.push_back(std::move(change));
}

struct Differences {
  Changes whole;                                     ///< of the wheel as one
  std::vector<std::string> removed, added, changed;  ///< its files
  std::vector<std::pair<std::string, Changes>> libraries;
};

std::map<std::string, Json> libraries_of(const Json& inspection) {
  std::map<std::string, Json> libraries;
  for (Json library : inspection.at("libraries")) {
    const std::string path = library.at("path");
    library.erase("path");
    libraries[path] = std::move(library);
  }
  return libraries;
}

Differences differences(const Requirements& before, const Requirements& after) {
  Json old = Json::parse(inspect_json(before)), now = Json::parse(inspect_json(after));
  Differences found;
  const auto old_libraries = libraries_of(old), libraries = libraries_of(now);
  for (const auto& [path, library] : libraries) {
    const auto known = old_libraries.find(path);
    Changes changes;
    if (known != old_libraries.end())
      compare("", known->second, library, changes);
    if (!changes.empty())
      found.libraries.emplace_back(path, std::move(changes));
  }
  for (const char* key : {"schema", "file", "libraries"}) {
    old.erase(key);
    now.erase(key);
  }
  compare("", old, now, found.whole);
  for (const auto& [path, sha256] : before.files) {
    const auto other = after.files.find(path);
    if (other == after.files.end())
      found.removed.push_back(path);
    else if (other->second != sha256)
      found.changed.push_back(path);
  }
  for (const auto& [path, sha256] : after.files) {
    if (!before.files.contains(path))
      found.added.push_back(path);
  }
  return found;
}

std::string prefixed(char sign, const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& text : texts)
    out += fmt::format(" {}{}", sign, text);
  return out;
}

void add_rows(const Changes& changes, std::string& out) {
  for (const Change& change : changes) {
    const auto shown = [](const std::string& text) { return text.empty() ? "none" : text; };
    const bool list = !change.removed.empty() || !change.added.empty();
    out += fmt::format(
        "  {:<26}{}\n", change.property,
        list ? std::string(trim(prefixed('-', change.removed) + prefixed('+', change.added)))
             : shown(change.before) + " -> " + shown(change.after));
  }
}

Json changes_json(const Changes& changes) {
  Json all = Json::object();
  for (const Change& change : changes) {
    const bool list = !change.removed.empty() || !change.added.empty();
    all[change.property] = list ? Json{{"removed", change.removed}, {"added", change.added}}
                                : Json{{"before", change.before}, {"after", change.after}};
  }
  return all;
}

}  // namespace

std::string diff_text(const Requirements& before, const Requirements& after) {
  const Differences found = differences(before, after);
  std::string out =
      fmt::format("--- {}\n+++ {}\n", clean_line(before.file, 4096), clean_line(after.file, 4096));
  const std::size_t heads = out.size();
  add_rows(found.whole, out);
  for (const auto& [path, changes] : found.libraries) {
    out += path + "\n";
    add_rows(changes, out);
  }
  for (const auto& [sign, files] : {std::pair{'-', &found.removed}, std::pair{'+', &found.added},
                                    std::pair{'~', &found.changed}}) {
    for (const std::string& file : *files)
      out += fmt::format("{} {}\n", sign, file);
  }
  return out.size() == heads ? out + "no difference\n" : out;
}

std::string diff_json(const Requirements& before, const Requirements& after) {
  const Differences found = differences(before, after);
  Json libraries = Json::object();
  for (const auto& [path, changes] : found.libraries)
    libraries[path] = changes_json(changes);
  const Json all = {
      {"schema", "ds-deploy.diff/1"},
      {"before", before.file},
      {"after", after.file},
      {"requirements", changes_json(found.whole)},
      {"libraries", libraries},
      {"files", {{"removed", found.removed}, {"added", found.added}, {"changed", found.changed}}}};
  return all.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace ds
