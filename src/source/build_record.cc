// SPDX-License-Identifier: Apache-2.0
//
// DeepSpeed takes a library from its wheel, and compiles none itself, if this file says so: the op
// is installed, the accelerator has that name, and torch has these versions.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "source/source.h"

namespace ds {
namespace {

using nlohmann::ordered_json;

std::string literal(const ordered_json& value);

std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : clean_line(text, 4096)) {
    if (c == '\\' || c == '\'')
      out += '\\';
    out += c;
  }
  return out + "'";
}

/// As Python's repr() shows a dictionary.
std::string dictionary(const ordered_json& value) {
  std::vector<std::string> items;
  for (const auto& [key, item] : value.items())
    items.push_back(quoted(key) + ": " + literal(item));
  return "{" + join(items, ", ") + "}";
}

std::string literal(const ordered_json& value) {
  if (value.is_object())
    return dictionary(value);
  if (value.is_string())
    return quoted(value.get<std::string>());
  if (value.is_boolean())
    return value.get<bool>() ? "True" : "False";
  return value.is_number() ? value.dump() : "None";
}

/// "2.11.0+cu130" -> "2.11"; "0.0", as setup.py writes it, for none.
std::string recorded(const std::string& version) {
  return version.find('.') == std::string::npos ? "0.0" : major_minor(version);
}

void set_torch(ordered_json& info, const SourceTorch& torch, bool bf16) {
  if (!info.is_object())
    return;
  info["version"] = recorded(torch.version);
  info["cuda_version"] = recorded(torch.cuda);
  if (info.contains("bf16_support"))
    info["bf16_support"] = bf16;
}

/// Those that the accelerator's own builders name stay, so that whoever asks for one finds it.
void set_ops(ordered_json& ops, const SourceTree& tree) {
  if (!ops.is_object())
    ops = ordered_json::object();
  for (auto& op : ops)
    op = false;
  for (const SourceOp& op : tree.ops)
    ops[op.name] = false;
}

}  // namespace

std::string build_record(const SourceTree& tree, const SourcePackage& package,
                         const InstalledOps& installed) {
  if (package.record.empty())
    return {};
  ordered_json record = ordered_json::parse(package.record, nullptr, false);
  if (!record.is_object())
    return {};
  record["version"] = installed.version;
  record["git_hash"] = tree.git_hash.empty() ? "unknown" : tree.git_hash;
  record["git_branch"] = tree.git_branch.empty() ? "unknown" : tree.git_branch;
  set_ops(record["installed_ops"], tree);
  for (const std::string& name : installed.names)
    record["installed_ops"][name] = 1;
  if (record.contains("compatible_ops")) {
    set_ops(record["compatible_ops"], tree);
    for (const SourceOp& op : tree.ops)
      record["compatible_ops"][op.name] = op.compatible;
  }
  if (record.contains("accelerator_name"))
    record["accelerator_name"] = installed.accelerator;
  if (record.contains("torch_info"))
    set_torch(record["torch_info"], tree.torch, installed.bf16);
  std::string text;
  for (const auto& [name, value] : record.items())
    text += fmt::format("{}={}\n", name, literal(value));
  return text;
}

}  // namespace ds
