// SPDX-License-Identifier: Apache-2.0
//
// What the script prints was made from whatever a tree says: every value is judged.
#include "source/answer.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/text.h"

namespace ds {
namespace {

using nlohmann::json;
using Words = std::vector<std::string>;

constexpr std::size_t list_limit = 4096;
constexpr std::size_t prose_limit = 4000;

[[noreturn]] void bad(const std::string& where, const std::string& why) {
  throw Error("the answer about the source cannot be used: " + where + " " + why,
              "this is a defect of ds-deploy, or the tree writes into its answer; please report it",
              ExitStatus::build_failed);
}

/// The members of one object; an absent or wrong one is an Error.
class Fields {
 public:
  Fields(const json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object.is_object())
      bad(where_, "is no object");
  }

  const json& at(const char* key) const {
    const auto found = object_.find(key);
    if (found == object_.end())
      bad(name(key), "is missing");
    return *found;
  }
  bool has(const char* key) const { return object_.contains(key); }
  std::string name(const char* key) const { return where_ + "." + key; }
  Fields object(const char* key) const { return {at(key), name(key)}; }

  /// Text that is used as it is, such as a word of a command.
  std::string word(const char* key) const { return word_of(at(key), name(key)); }

  /// Text for people.
  std::string prose(const char* key) const {
    const json& value = at(key);
    if (!value.is_string())
      bad(name(key), "is no text");
    return clean_line(value.get<std::string>(), prose_limit);
  }

  bool flag(const char* key) const {
    const json& value = at(key);
    if (!value.is_boolean())
      bad(name(key), "is neither true nor false");
    return value.get<bool>();
  }

  const json& list(const char* key) const {
    const json& value = at(key);
    if (!value.is_array() || value.size() > list_limit)
      bad(name(key), "is no list, or too long");
    return value;
  }

  Words words(const char* key) const {
    Words all;
    for (const json& item : list(key))
      all.push_back(word_of(item, name(key)));
    return all;
  }

  std::map<std::string, std::string> map(const char* key) const {
    const Fields inner = object(key);
    std::map<std::string, std::string> all;
    for (const auto& [name, value] : inner.object_.items())
      all.emplace(clean_line(name), word_of(value, inner.where_));
    return all;
  }

 private:
  static std::string word_of(const json& value, const std::string& where) {
    if (!value.is_string())
      bad(where, "is no text");
    std::string text = value.get<std::string>();
    if (text.find_first_of("\n\t") != std::string::npos || clean(text) != text)
      bad(where, "has control characters or is too long: " + clean_line(text, 80));
    return text;
  }

  const json& object_;
  std::string where_;
};

constexpr std::string_view letters_and_digits =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";

/// Letters, digits and '_' in pieces between dots.
bool is_dotted_name(const std::string& text) {
  const Words pieces = split(text, '.');
  for (const std::string& piece : pieces) {
    if (piece.empty() || piece.find_first_not_of(letters_and_digits) != std::string::npos)
      return false;
  }
  return text.size() <= 200;
}

bool stays_inside(const std::string& path) {
  const std::filesystem::path normal = std::filesystem::path(path).lexically_normal();
  return !normal.empty() && normal.is_relative() && *normal.begin() != "..";
}

void check_names(const SourceOp& op) {
  for (const std::string* name : {&op.name, &op.build_variable}) {
    if (!is_dotted_name(*name))
      bad("an op", "has the name '" + clean_line(*name, 80) + "'");
  }
  if (!op.compatible)
    return;
  if (!is_dotted_name(op.module))
    bad("op " + op.name, "has the module '" + clean_line(op.module, 80) + "'");
  if (op.sources.empty())
    bad("op " + op.name, "has no sources");
  for (const std::string& source : op.sources) {
    if (!stays_inside(source))
      bad("op " + op.name, "has the source '" + source + "', which is outside of the tree");
  }
}

/// An op whose builder failed early has no more than its name and a reason.
void take_extension(const Fields& from, SourceOp& op) {
  op.module = from.word("module");
  op.sources = from.words("sources");
  op.include = from.words("include");
  op.defines = from.words("defines");
  op.cxx_flags = from.words("cxx_flags");
  op.nvcc_flags = from.words("nvcc_flags");
  op.link_flags = from.words("link_flags");
  op.libraries = from.words("libraries");
  op.library_dirs = from.words("library_dirs");
  op.cuda = from.flag("cuda");
  op.links_cuda = from.flag("links_cuda");
}

SourceOp read_op(const json& value, const std::string& where) {
  const Fields from(value, where);
  SourceOp op;
  op.name = from.word("name");
  op.builder = from.prose("builder");
  op.build_variable = from.word("build_variable");
  op.compatible = from.flag("compatible");
  op.because = from.prose("because");
  op.said = from.prose("said");
  op.needs = from.words("needs");
  if (from.has("sources") || op.compatible) {
    take_extension(from, op);
    op.minimum_compute_capability = from.word("minimum");
  }
  if (from.has("warnings")) {
    for (const json& warning : from.list("warnings"))
      op.warnings.push_back(warning.is_string() ? clean_line(warning.get<std::string>()) : "");
  }
  check_names(op);
  return op;
}

void check_ops(const std::vector<SourceOp>& ops) {
  std::set<std::string> names, modules;
  for (const SourceOp& op : ops) {
    if (!names.insert(op.name).second)
      bad("ops", "has '" + op.name + "' twice");
    if (op.compatible && !modules.insert(op.module).second)
      bad("ops", "has the module '" + op.module + "' twice");
  }
  for (const SourceOp& op : ops) {
    for (const std::string& needed : op.needs) {
      if (!names.contains(needed))
        bad("op " + op.name, "needs '" + needed + "', which is no op");
    }
  }
}

TorchAdditions read_additions(const Fields& from) {
  TorchAdditions additions;
  if (from.has("problem")) {
    additions.problem = from.prose("problem");
    return additions;
  }
  additions.include = from.words("include_dirs");
  additions.library_dirs = from.words("library_dirs");
  additions.libraries = from.words("libraries");
  return additions;
}

SourceTorch read_torch(const Fields& from) {
  SourceTorch torch;
  torch.version = from.word("version");
  torch.cuda = from.word("cuda");
  torch.cuda_home = from.word("cuda_home");
  torch.toolkit = from.word("toolkit");
  torch.stub = from.flag("stub");
  if (torch.stub)
    return torch;
  const Fields adds = from.object("adds");
  torch.cpp = read_additions(adds.object("cpp"));
  torch.cuda_extension = read_additions(adds.object("cuda"));
  torch.nvcc_flags = adds.words("nvcc_flags");
  torch.abi = adds.map("abi");
  return torch;
}

/// Why the script asked nothing, with what to do.
[[noreturn]] void refuse(const Fields& answer, const std::string& shown,
                         const std::string& python) {
  const std::string refused = answer.word("refused");
  const std::string because = answer.prose("because");
  if (refused == "no-source") {
    throw Error(shown + " is no source of ops: " + because,
                "name a DeepSpeed checkout or sdist (0.8 or newer), or a project whose setup.py "
                "builds torch extensions",
                ExitStatus::usage);
  }
  if (refused == "broken-tree") {
    throw Error(shown + ": its ops cannot be read: " + because, "repair the tree, or get it again",
                ExitStatus::usage);
  }
  std::string fix = "repair it, or name another interpreter with --python";
  if (refused == "no-torch" || refused == "no-setuptools") {
    const std::string package = refused.substr(3);
    fix =
        fmt::format("install it ({} -m pip install {}), or name another interpreter with --python",
                    shell_quote(python), package);
  }
  throw Error(fmt::format("{} cannot ask the op builders of {}: {}", python, shown, because), fix,
              ExitStatus::build_failed);
}

SourceTree::Kind read_kind(const Fields& from) {
  const std::string kind = from.word("kind");
  if (kind != "deepspeed" && kind != "setup")
    bad("kind", "is '" + kind + "'");
  return kind == "setup" ? SourceTree::Kind::setup : SourceTree::Kind::deepspeed;
}

}  // namespace

SourceTree parse_source_answer(const std::string& text, const std::string& shown,
                               const std::string& python) {
  const json value = json::parse(text, nullptr, false);
  if (value.is_discarded())
    bad("it", "is no JSON: " + clean_line(text, 80));
  const Fields answer(value, "it");
  if (answer.has("refused"))
    refuse(answer, shown, python);
  SourceTree tree;
  tree.kind = read_kind(answer);
  tree.name = answer.word("name");
  tree.version = answer.word("version");
  if (!answer.at("build_string").is_null())
    tree.build_string = answer.word("build_string");
  tree.git_hash = answer.word("git_hash");
  tree.git_branch = answer.word("git_branch");
  tree.dirty = answer.flag("dirty");
  tree.problem = answer.prose("problem");
  const Fields python_facts = answer.object("python");
  tree.python = {python_facts.word("version"), python_facts.word("executable"),
                 python_facts.word("include"), python_facts.word("ext_suffix"),
                 python_facts.word("soabi")};
  tree.torch = read_torch(answer.object("torch"));
  for (const json& op : answer.list("ops"))
    tree.ops.push_back(read_op(op, fmt::format("ops[{}]", tree.ops.size())));
  check_ops(tree.ops);
  return tree;
}

}  // namespace ds
