// SPDX-License-Identifier: Apache-2.0
#include "cli/host_ops.h"

#include <nlohmann/json.hpp>

#include "base/text.h"

namespace ds {
namespace {

using nlohmann::json;

constexpr std::size_t most = 1000;

/// Anything that is no text is none.
std::string text_of(const json& object, const char* key, std::size_t longest = 1000) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() && found->is_string()
             ? clean_line(found->get_ref<const std::string&>(), longest)
             : std::string();
}

/// The objects of a list.
std::vector<json> objects_of(const json& object, const char* key) {
  std::vector<json> objects;
  const auto found = object.is_object() ? object.find(key) : object.end();
  if (found == object.end() || !found->is_array())
    return objects;
  for (const json& item : *found) {
    if (item.is_object() && objects.size() < most)
      objects.push_back(item);
  }
  return objects;
}

/// "80", "90a": architectures, and nothing else.
std::vector<std::string> archs_of(const json& object, const char* key) {
  std::vector<std::string> archs;
  const auto found = object.find(key);
  if (found == object.end() || !found->is_array())
    return archs;
  for (const json& item : *found) {
    const std::string text = item.is_string() ? item.get<std::string>() : "";
    const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
    const std::string form = text.substr(digits);
    const bool sound = digits > 0 && digits <= 4 && (form.empty() || form == "a" || form == "f");
    if (sound && archs.size() < most)
      archs.push_back(text);
  }
  return archs;
}

HostOp op_of(const json& said) {
  HostOp op;
  op.name = text_of(said, "name", 100);
  const auto installed = said.find("installed"), loads = said.find("loads");
  op.installed = installed != said.end() && installed->is_boolean() && installed->get<bool>();
  if (loads != said.end() && loads->is_boolean())
    op.loads = loads->get<bool>();
  op.message = text_of(said, "message");
  op.self_test = text_of(said, "self_test", 40);
  op.sass = archs_of(said, "sass");
  op.ptx = archs_of(said, "ptx");
  return op;
}

HostPackage package_of(const json& said) {
  HostPackage package;
  package.name = text_of(said, "name", 100);
  package.version = text_of(said, "version", 200);
  package.folder = text_of(said, "folder", 4096);
  package.problem = text_of(said, "problem");
  const auto record = said.find("record");
  if (record != said.end()) {
    package.torch = text_of(*record, "torch", 40);
    package.cuda = text_of(*record, "cuda", 40);
    package.accelerator = text_of(*record, "accelerator", 40);
  }
  for (const json& item : objects_of(said, "ops")) {
    package.ops.push_back(op_of(item));
    if (package.ops.back().name.empty())
      package.ops.pop_back();
  }
  return package;
}

}  // namespace

HostOps read_host_ops(const ExecResult& result, const std::string& nonce) {
  HostOps installed;
  const std::string mark = nonce + " ";
  for (const std::string& line : lines(result.out)) {
    const json said =
        line.starts_with(mark) ? json::parse(line.substr(mark.size()), nullptr, false) : json();
    if (!said.is_object())
      continue;
    for (const json& item : objects_of(said, "packages"))
      installed.packages.push_back(package_of(item));
    return installed;
  }
  const std::vector<std::string> words = lines(result.err);
  installed.problem = result.outcome != ExecResult::Outcome::exited ? clean_line(result.message)
                      : words.empty() ? "the interpreter gave no answer"
                                      : "the interpreter said: " + clean_line(words.back());
  return installed;
}

}  // namespace ds
