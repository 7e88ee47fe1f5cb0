// SPDX-License-Identifier: Apache-2.0
#include "plan/version_label.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
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

/// Empty for a foreign tree that is no checkout: its version alone says what it is.
std::string source_piece(const OpLibrary& library) {
  if (library.commit.empty() && library.source_digest.empty())
    return {};
  return library.commit.empty() ? "s" + library.source_digest.substr(0, 9)
                                : "g" + lower(library.commit.substr(0, 9));
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

}  // namespace

std::string wheel_version(const OpLibrary& library,
                          const std::map<std::string, std::string>& environment,
                          const BuiltFor& built_for) {
  std::vector<std::string> pieces;
  const auto given = environment.find("DS_BUILD_STRING");
  if (given != environment.end() && !given->second.empty()) {
    pieces = label_pieces(given->second);
  } else if (const std::string piece = source_piece(library); !piece.empty()) {
    pieces.push_back(piece);
  }
  if (library.dirty) {
    pieces.push_back(library.source_digest.empty() ? "dirty"
                                                   : "d" + library.source_digest.substr(0, 8));
  }
  std::string toolkit = "cu" + built_for.cuda;
  toolkit.erase(std::remove(toolkit.begin(), toolkit.end(), '.'), toolkit.end());
  pieces.push_back(built_for.cuda.empty() ? "cpu" : toolkit);
  for (const std::string& arch : built_for.archs)
    pieces.push_back("sm" + arch);
  if (built_for.cpu_level > 1)
    pieces.push_back("v" + std::to_string(built_for.cpu_level));
  if (!built_for.torch.empty()) {
    for (const std::string& piece : torch_pieces(built_for.torch))
      pieces.push_back(piece);
  }
  const char* between = library.version.find('+') == std::string::npos ? "+" : ".";
  return library.version + between + join(pieces, ".");
}

}  // namespace ds
