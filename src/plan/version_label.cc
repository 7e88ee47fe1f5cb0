// SPDX-License-Identifier: Apache-2.0
#include "plan/version_label.h"

#include <fmt/format.h>

#include <algorithm>
#include <regex>

#include "base/error.h"
#include "base/sha256.h"
#include "base/text.h"

namespace ds {
namespace {

bool is_label_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool is_number(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

/// DS_BUILD_STRING as pieces of a normalised local label. A file name with any other spelling would
/// differ from the one that pip computes.
std::vector<std::string> label_pieces(const std::string& text) {
  std::string label = lower(trim(text));
  label.erase(0, label.find_first_not_of("+.-_"));
  if (label.empty())
    return {};
  std::replace_if(
      label.begin(), label.end(), [](char c) { return c == '-' || c == '_'; }, '.');
  std::vector<std::string> pieces = split(label, '.');
  for (std::string& piece : pieces) {
    if (piece.empty() || !std::all_of(piece.begin(), piece.end(), is_label_char)) {
      throw UsageError(
          fmt::format("DS_BUILD_STRING={} cannot be part of a version", clean_line(text, 80)),
          "use letters and digits, with '.', '-' or '_' between them");
    }
    if (is_number(piece)) {
      piece.erase(0, std::min(piece.find_first_not_of('0'), piece.size() - 1));
    }
  }
  return pieces;
}

std::string source_piece(const std::string& commit, const std::string& digest) {
  return commit.empty() ? "s" + digest.substr(0, 9) : "g" + lower(commit.substr(0, 9));
}

/// "cu130", "sm80", "v3"
void add_target(const BuiltFor& built_for, std::vector<std::string>& pieces) {
  std::string toolkit = "cu" + built_for.cuda;
  toolkit.erase(std::remove(toolkit.begin(), toolkit.end(), '.'), toolkit.end());
  pieces.push_back(built_for.cuda.empty() ? "cpu" : toolkit);
  for (const std::string& arch : built_for.archs)
    pieces.push_back("sm" + arch);
  if (built_for.cpu_level > 1)
    pieces.push_back("v" + std::to_string(built_for.cpu_level));
}

/// "2.9.0+cu128" as "torch2", "9", "0", "cu128".
std::vector<std::string> torch_pieces(const std::string& version) {
  std::string label = "torch" + lower(version);
  std::replace_if(
      label.begin(), label.end(), [](char c) { return !is_label_char(c); }, ' ');
  std::vector<std::string> pieces = split_words(label);
  for (std::string& piece : pieces) {
    if (is_number(piece))
      piece.erase(0, std::min(piece.find_first_not_of('0'), piece.size() - 1));
  }
  return pieces;
}

/// The same for the same ops in any order.
std::string ops_piece(std::vector<std::string> ops) {
  std::sort(ops.begin(), ops.end());
  return "o" + sha256_hex(join(ops, "\n")).substr(0, 6);
}

/// PEP 440 without epoch and local label, as pip would write it.
bool is_public_version(const std::string& text) {
  static const std::regex form(
      R"((0|[1-9]\d*)(\.(0|[1-9]\d*))*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?)");
  return text.size() <= 100 && std::regex_match(text, form);
}

/// What DeepSpeed's setup.py appends to the version; nothing where it would be the commit.
std::optional<std::string> appended(const VersionedSource& source,
                                    const std::map<std::string, std::string>& environment) {
  const auto given = environment.find("DS_BUILD_STRING");
  if (given != environment.end() && !given->second.empty())
    return std::string(trim(given->second));
  const std::string kept(trim(source.build_string.value_or("")));
  return kept.empty() ? std::nullopt : std::optional(kept);
}

}  // namespace

std::string source_wheel_version(const VersionedSource& source,
                                 const std::map<std::string, std::string>& environment,
                                 const BuiltFor& built_for) {
  const std::optional<std::string> string = appended(source, environment);
  std::string added = string.value_or("");
  // A source's version may have a label of its own, and there is one '+'.
  if (added.starts_with('+') && source.version.find('+') != std::string::npos)
    added.front() = '.';
  const std::string whole = source.version + added;
  const std::size_t plus = std::min(whole.find('+'), whole.size());
  const std::string version = whole.substr(0, plus);
  if (!is_public_version(version)) {
    throw UsageError(fmt::format("'{}' cannot be the version of a wheel", clean_line(version, 80)),
                     "the source's version and DS_BUILD_STRING make it: use one such as 0.19.8 or "
                     "0.19.8.dev20201022");
  }
  std::vector<std::string> pieces = label_pieces(whole.substr(plus));
  if (!string)
    pieces.push_back(source_piece(source.commit, source.digest));
  if (source.dirty)
    pieces.push_back("d" + source.digest.substr(0, 8));
  add_target(built_for, pieces);
  if (!built_for.torch.empty()) {
    std::vector<std::string> torch = torch_pieces(built_for.torch);
    // Libraries are for one torch; the label tells 2.9.1 from 2.9.0, whose zero it leaves out.
    const std::size_t pieces_of_it = torch.size() > 2 && torch[2] != "0" ? 3 : 2;
    torch.resize(std::min(torch.size(), pieces_of_it));
    pieces.insert(pieces.end(), torch.begin(), torch.end());
  }
  if (!built_for.ops.empty())
    pieces.push_back(ops_piece(built_for.ops));
  return version + "+" + join(pieces, ".");
}

std::string wheel_version(const OpLibrary& library,
                          const std::map<std::string, std::string>& environment,
                          const BuiltFor& built_for) {
  std::vector<std::string> pieces;
  const auto given = environment.find("DS_BUILD_STRING");
  if (given != environment.end() && !given->second.empty()) {
    pieces = label_pieces(given->second);
  } else {
    pieces.push_back(source_piece(library.commit, library.source_digest));
  }
  if (library.dirty)
    pieces.push_back("d" + library.source_digest.substr(0, 8));
  add_target(built_for, pieces);
  if (!built_for.torch.empty()) {
    for (const std::string& piece : torch_pieces(built_for.torch))
      pieces.push_back(piece);
  }
  const char* between = library.version.find('+') == std::string::npos ? "+" : ".";
  return library.version + between + join(pieces, ".");
}

}  // namespace ds
