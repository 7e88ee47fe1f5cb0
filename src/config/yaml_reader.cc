// SPDX-License-Identifier: Apache-2.0
//
// The only file that knows yaml-cpp.
#include "config/yaml_reader.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <sstream>

#include "base/error.h"
#include "base/text.h"

namespace ds {
namespace {

constexpr int most_values = 10000;
constexpr int deepest = 32;

class Converter {
 public:
  explicit Converter(const std::string& file) : file_(file) {}

  YamlValue convert(const YAML::Node& node, int depth = 0) {
    YamlValue value;
    value.line = node.Mark().line + 1;
    value.column = node.Mark().column + 1;
    // An alias is unfolded at each use, so that a few lines can stand for millions of values.
    if (++values_ > most_values || depth > deepest) {
      throw InputError({{file_, value.line, value.column, "too many or too deeply nested values",
                         "unfold its aliases"}});
    }
    if (node.IsScalar()) {
      value.kind = YamlValue::Kind::text;
      value.text = node.Scalar();
    } else if (node.IsSequence()) {
      value.kind = YamlValue::Kind::list;
      for (const YAML::Node& item : node)
        value.items.push_back(convert(item, depth + 1));
    } else if (node.IsMap()) {
      value.kind = YamlValue::Kind::map;
      for (const auto& entry : node) {
        value.keys.push_back(convert(entry.first, depth + 1));
        value.items.push_back(convert(entry.second, depth + 1));
      }
    }
    return value;
  }

 private:
  const std::string& file_;
  int values_ = 0;
};

/// Hears where documents begin, and nothing else.
class DocumentStarts : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark& mark) override { last = mark; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t,
                const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}

  YAML::Mark last;
};

/// False for a text without a document. Not YAML::LoadAll: up to yaml-cpp 0.8 it takes a stray
/// comma for documents without end (jbeder/yaml-cpp pull request 1319).
bool has_one_document(const std::string& text, const std::string& file) {
  std::istringstream stream(text);
  YAML::Parser parser(stream);
  DocumentStarts starts;
  if (!parser.HandleNextDocument(starts))
    return false;
  if (!parser.HandleNextDocument(starts))
    return true;
  const auto line = static_cast<std::size_t>(starts.last.line);
  const std::vector<std::string> all = lines(text);
  if (line < all.size() && all[line].starts_with("---")) {
    throw InputError({{file, starts.last.line + 1, 0, "a second YAML document",
                       "keep one; remove the '---' between them"}});
  }
  throw InputError({{file, starts.last.line + 1, starts.last.column + 1,
                     "this is no YAML: what stands here belongs to nothing before it",
                     "remove it, or put it in quotes"}});
}

}  // namespace

YamlValue read_yaml(std::string_view text, const std::string& file) {
  try {
    const std::string whole(text);
    if (!has_one_document(whole, file))
      return {};
    return Converter(file).convert(YAML::Load(whole));
  } catch (const YAML::Exception& error) {
    const bool placed = !error.mark.is_null();
    throw InputError({{file, placed ? error.mark.line + 1 : 0, placed ? error.mark.column + 1 : 0,
                       "this is no YAML: " + clean_line(error.msg), ""}});
  }
}

std::string_view to_string(YamlValue::Kind kind) {
  switch (kind) {
    case YamlValue::Kind::text:
      return "a text";
    case YamlValue::Kind::list:
      return "a list";
    case YamlValue::Kind::map:
      return "a map";
    case YamlValue::Kind::nothing:
      break;
  }
  return "nothing";
}

}  // namespace ds
