// SPDX-License-Identifier: Apache-2.0
//
// Names of hosts, folded by their numbers.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "base/text.h"
#include "report/report.h"

namespace ds {
namespace {

constexpr std::string_view decimal = "0123456789";

/// "node" "07" "-ib": a text around its last run of digits.
struct Numbered {
  std::string head, digits, tail;
};

/// Without a number, or with one that is too long to be one, all of it is the head.
Numbered split_number(const std::string& text) {
  const std::size_t last = text.find_last_of(decimal);
  if (last == std::string::npos)
    return {text, "", ""};
  const std::size_t before = text.find_last_not_of(decimal, last);
  const std::size_t first = before == std::string::npos ? 0 : before + 1;
  if (last - first >= 9)
    return {text, "", ""};
  return {text.substr(0, first), text.substr(first, last - first + 1), text.substr(last + 1)};
}

/// Addresses are told apart by all their parts; folding them would only hide them.
bool is_address(const std::string& name) {
  const bool v6 = name.find(':') != std::string::npos &&
                  name.find_first_not_of("0123456789.:abcdefABCDEF") == std::string::npos;
  return v6 || name.find_first_not_of("0123456789.") == std::string::npos;
}

/// "1-3,7"; numbers with leading zeros are of one width.
std::string fold_numbers(const std::set<long>& numbers, std::size_t width) {
  std::string text;
  for (auto it = numbers.begin(); it != numbers.end();) {
    const long first = *it;
    long last = first;
    for (++it; it != numbers.end() && *it == last + 1; ++it)
      last = *it;
    text += text.empty() ? "" : ",";
    text += fmt::format("{:0{}}", first, width);
    if (last != first)
      text += fmt::format("-{:0{}}", last, width);
  }
  return numbers.size() > 1 ? "[" + text + "]" : text;
}

/// A name of which the end is folded already.
struct Piece {
  std::string open, folded;
};

/// Names that differ in one number alone.
struct Group {
  std::string head, end;
  std::map<std::size_t, std::set<long>> numbers = {};  ///< by width; empty: there is no number
  bool padded = false;                                 ///< one has leading zeros

  void add(const std::string& digits) {
    numbers[digits.size()].insert(std::stol(digits));
    padded = padded || (digits.size() > 1 && digits.front() == '0');
  }

  std::vector<Piece> pieces() const {
    if (numbers.empty())
      return {{head, end}};
    std::vector<Piece> made;
    std::set<long> all;
    for (const auto& [width, some] : numbers) {
      all.insert(some.begin(), some.end());
      if (padded)
        made.push_back({head, fold_numbers(some, width) + end});
    }
    return padded ? made : std::vector<Piece>{{head, fold_numbers(all, 1) + end}};
  }
};

/// Pieces that differ in the last number of their open part alone become one.
std::vector<Piece> fold_last_number(const std::vector<Piece>& pieces) {
  std::vector<Group> groups;
  std::map<std::tuple<std::string, std::string, bool>, std::size_t> at;
  for (const Piece& piece : pieces) {
    const Numbered parts =
        is_address(piece.open) ? Numbered{piece.open, "", ""} : split_number(piece.open);
    const std::string end = parts.tail + piece.folded;
    const bool numbered = !parts.digits.empty();
    const auto [found, fresh] =
        at.emplace(std::make_tuple(parts.head, end, numbered), groups.size());
    if (fresh)
      groups.push_back({parts.head, end});
    if (numbered)
      groups[found->second].add(parts.digits);
  }
  std::vector<Piece> folded;
  for (const Group& group : groups) {
    for (Piece& piece : group.pieces())
      folded.push_back(std::move(piece));
  }
  return folded;
}

/// At most `limit` characters, cut between two names.
std::string shortened(const std::string& text, std::size_t limit) {
  if (text.size() <= limit)
    return text;
  const std::size_t comma = text.rfind(',', limit > 5 ? limit - 5 : 0);
  if (comma == std::string::npos)
    return text.substr(0, limit > 3 ? limit - 3 : 0) + "...";
  const std::string kept = text.substr(0, comma);
  const bool inside =
      std::count(kept.begin(), kept.end(), '[') > std::count(kept.begin(), kept.end(), ']');
  return kept + (inside ? ",...]" : ",...");
}

}  // namespace

std::string fold_hosts(const std::vector<std::string>& names, std::size_t limit) {
  std::vector<Piece> pieces;
  for (const std::string& name : names)
    pieces.push_back({name, ""});
  // Twice, so that racks of equal nodes are one: rack[1-8]-node[01-16].
  for (int number = 0; number < 2; ++number)
    pieces = fold_last_number(pieces);
  std::vector<std::string> texts;
  for (const Piece& piece : pieces)
    texts.push_back(piece.open + piece.folded);
  return shortened(join(texts, ","), limit);
}

}  // namespace ds
