// SPDX-License-Identifier: Apache-2.0
//
// op.yaml, see ds-deploy-op(5). Every problem of a manifest is found in one pass.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>

#include "base/error.h"
#include "base/text.h"
#include "config/config.h"
#include "config/form.h"
#include "config/yaml_reader.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

struct Key {
  std::string_view name;
  bool required;
};

constexpr std::array keys = {
    Key{"name", true},
    Key{"summary", true},
    Key{"kind", true},
    Key{"build_variable", true},
    Key{"sources", true},
    Key{"include", false},
    Key{"flags", false},
    Key{"nvcc_flags", false},
    Key{"link_flags", false},
    Key{"libraries", false},
    Key{"minimum_compute_capability", false},
    Key{"links_torch", false},
    Key{"host_needs", false},
    Key{"self_test", true},
    Key{"self_test_gpu_memory", false},
};

constexpr long most_gpu_memory = 1l << 20;  ///< MiB

std::string shown(std::string_view text) {
  return clean_line(text, 80);
}

class ManifestReader {
 public:
  explicit ManifestReader(const fs::path& file)
      : file_(file.string()), folder_(fs::absolute(file).lexically_normal().parent_path()) {
    op_.folder = folder_;
  }

  Op read(const std::string& text) {
    const YamlValue top = read_yaml(text, file_);
    if (top.kind != YamlValue::Kind::map) {
      throw InputError({{file_, std::max(top.line, 1), 1, "an op manifest is keys and values",
                         "begin with 'name: " + folder_.filename().string() + "'"}});
    }
    sort_entries(top);
    read_keys();
    if (!problems_.empty()) {
      std::stable_sort(problems_.begin(), problems_.end(), [](const Problem& a, const Problem& b) {
        return std::pair(a.line, a.column) < std::pair(b.line, b.column);
      });
      throw InputError(std::move(problems_));
    }
    return std::move(op_);
  }

 private:
  void problem(const YamlValue& at, std::string what, std::string fix) {
    problems_.push_back({file_, at.line, at.column, std::move(what), std::move(fix)});
  }

  void sort_entries(const YamlValue& top) {
    std::vector<std::string> names;
    for (const Key& key : keys)
      names.emplace_back(key.name);
    for (std::size_t at = 0; at < top.keys.size(); ++at) {
      const YamlValue& key = top.keys[at];
      if (std::find(names.begin(), names.end(), key.text) == names.end()) {
        const std::string nearest = suggestion(key.text, names);
        problem(key, fmt::format("unknown key '{}'", shown(key.text)),
                nearest.empty() ? "ds-deploy-op(5) lists the keys" : nearest);
        continue;
      }
      const auto [entry, fresh] = values_.emplace(key.text, &top.items[at]);
      if (!fresh) {
        problem(key, fmt::format("{} is given twice", key.text),
                fmt::format("the first is in line {}; keep one", entry->second->line));
      }
    }
    for (const Key& key : keys) {
      if (!key.required || values_.count(std::string(key.name)) > 0)
        continue;
      problems_.push_back({file_, 1, 0, fmt::format("the key {} is missing", key.name),
                           "ds-deploy-op(5) says what it holds"});
    }
  }

  void read_keys() {
    text("name", [this](const YamlValue& at) { check_name(at); });
    text("summary", [this](const YamlValue& at) { op_.summary = clean_line(at.text); });
    text("kind", [this](const YamlValue& at) { check_kind(at); });
    text("build_variable", [this](const YamlValue& at) {
      op_.build_variable = at.text;
      if (has_form(at.text, "DS_BUILD_[A-Za-z0-9_]+") && at.text != "DS_BUILD_OPS" &&
          at.text != "DS_BUILD_STRING") {
        return;
      }
      problem(at, fmt::format("'{}' is no build variable", shown(at.text)),
              "write DS_BUILD_ and the op's name, such as DS_BUILD_CPU_ADAM");
    });
    texts("sources", op_.sources, [this](const YamlValue& at) { check_source(at); });
    texts("include", op_.include, [this](const YamlValue& at) { check_include(at); });
    texts("flags", op_.flags, {});
    texts("nvcc_flags", op_.nvcc_flags, {});
    texts("link_flags", op_.link_flags, {});
    texts("libraries", op_.libraries, [this](const YamlValue& at) { check_library(at); });
    text("minimum_compute_capability", [this](const YamlValue& at) { check_minimum(at); });
    text("links_torch", [this](const YamlValue& at) {
      op_.links_torch = at.text == "true";
      if (at.text == "true" || at.text == "false")
        return;
      problem(at, fmt::format("links_torch is '{}'", shown(at.text)), "write true or false");
    });
    texts("host_needs", op_.host_needs, [this](const YamlValue& at) {
      if (has_form(at.text, R"([A-Za-z0-9_+.-]+\.so[0-9.]*)"))
        return;
      problem(at, fmt::format("'{}' is no soname", shown(at.text)),
              "write what the loader looks for, such as libaio.so.1");
    });
    text("self_test", [this](const YamlValue& at) {
      op_.self_test = at.text;
      if (has_form(at.text, "[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*"))
        return;
      problem(at, fmt::format("'{}' is no self-test", shown(at.text)),
              "write MODULE:FUNCTION, such as ds_ops.cpu_adam:self_test");
    });
    text("self_test_gpu_memory", [this](const YamlValue& at) {
      op_.self_test_gpu_memory = parse_integer(at.text, 1, most_gpu_memory).value_or(0);
      if (op_.self_test_gpu_memory > 0)
        return;
      problem(at, fmt::format("'{}' is no number of MiB", shown(at.text)),
              "write what the self-test takes with its CUDA context, such as 600");
    });
  }

  using Check = std::function<void(const YamlValue&)>;

  const YamlValue* find(const std::string& key) const {
    const auto found = values_.find(key);
    return found == values_.end() ? nullptr : found->second;
  }

  void text(const std::string& key, const Check& use) {
    const YamlValue* value = find(key);
    if (value == nullptr)
      return;
    if (value->kind == YamlValue::Kind::text && !trim(value->text).empty())
      return use(*value);
    const bool empty = value->kind == YamlValue::Kind::text;
    problem(*value, fmt::format("{} is {}", key, empty ? "empty" : to_string(value->kind)),
            "write one text");
  }

  void texts(const std::string& key, std::vector<std::string>& into, const Check& check) {
    const YamlValue* value = find(key);
    if (value == nullptr)
      return;
    if (value->kind != YamlValue::Kind::list) {
      return problem(*value, fmt::format("{} is {}, not a list", key, to_string(value->kind)),
                     fmt::format("write {}: [first, second]", key));
    }
    if (key == "sources" && value->items.empty()) {
      problem(*value, "sources is an empty list", "name at least one source");
    }
    for (const YamlValue& item : value->items) {
      if (item.kind != YamlValue::Kind::text || item.text.empty() ||
          item.text.find('\0') != std::string::npos) {
        problem(item, fmt::format("an item of {} is no text", key), "write one text for each item");
        continue;
      }
      if (std::find(into.begin(), into.end(), item.text) != into.end() && key == "sources") {
        problem(item, fmt::format("source '{}' is there twice", shown(item.text)), "remove one");
        continue;
      }
      if (check)
        check(item);
      into.push_back(item.text);
    }
  }

  void check_name(const YamlValue& at) {
    op_.name = at.text;
    const std::string folder = folder_.filename().string();
    if (!has_form(at.text, "[a-z][a-z0-9_]*")) {
      problem(at, fmt::format("'{}' is no op name", shown(at.text)),
              "use lower case letters, digits and '_', beginning with a letter");
    } else if (at.text != folder) {
      problem(at, fmt::format("the op is named '{}', its folder '{}'", at.text, shown(folder)),
              "give both the same name");
    }
  }

  void check_kind(const YamlValue& at) {
    if (at.text == "cuda") {
      op_.kind = Op::Kind::cuda;
    } else if (at.text != "cpu") {
      problem(at, fmt::format("'{}' is no kind of op", shown(at.text)), "write cpu or cuda");
    }
  }

  bool is_cpu() const {
    const YamlValue* kind = find("kind");
    return kind != nullptr && kind->text == "cpu";
  }

  void check_source(const YamlValue& at) {
    const fs::path source = fs::path(at.text).lexically_normal();
    if (source.is_absolute() || source.begin()->string() == "..") {
      return problem(at, fmt::format("source '{}' is outside of the op's folder", shown(at.text)),
                     "name files of the folder, relative to it");
    }
    std::error_code unreadable;
    if (!fs::is_regular_file(folder_ / source, unreadable)) {
      return problem(at, fmt::format("source '{}' does not exist", shown(at.text)),
                     fmt::format("put it in {}, or correct its name", folder_.string()));
    }
    if (source.extension() == ".cu" && is_cpu()) {
      problem(at, fmt::format("'{}' is a CUDA source of a cpu op", shown(at.text)),
              "write kind: cuda, or remove it");
    }
  }

  void check_include(const YamlValue& at) {
    const fs::path include = (folder_.filename() / at.text).lexically_normal();
    std::error_code unreadable;
    if (fs::path(at.text).is_absolute() || include.begin()->string() == "..") {
      problem(at, fmt::format("include '{}' is outside of the op library", shown(at.text)),
              "name folders of the library, relative to the op's folder");
    } else if (!fs::is_directory((folder_ / at.text).lexically_normal(), unreadable)) {
      problem(at, fmt::format("include '{}' is no folder", shown(at.text)), "correct its name");
    }
  }

  void check_library(const YamlValue& at) {
    if (has_form(at.text, "[A-Za-z0-9_+][A-Za-z0-9_+.-]*"))
      return;
    problem(at, fmt::format("'{}' is no library", shown(at.text)),
            "write the name as after -l, such as aio");
  }

  void check_minimum(const YamlValue& at) {
    op_.minimum_compute_capability = at.text;
    if (is_cpu()) {
      problem(at, "minimum_compute_capability is set for a cpu op", "remove it");
    } else if (!has_form(at.text, "[1-9][0-9]?\\.[0-9]")) {
      problem(at, fmt::format("'{}' is no compute capability", shown(at.text)), "write it as 7.0");
    }
  }

  std::string file_;
  fs::path folder_;
  Op op_;
  std::vector<Problem> problems_;
  std::map<std::string, const YamlValue*> values_;
};

}  // namespace

Op parse_op(const std::string& text, const fs::path& file) {
  return ManifestReader(file).read(text);
}

}  // namespace ds
