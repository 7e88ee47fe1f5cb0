// SPDX-License-Identifier: Apache-2.0
#include "wheel/record.h"

#include <fmt/format.h>

#include <limits>

#include "base/error.h"
#include "base/text.h"

namespace ds {
namespace {

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos)
    return text;
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"')
      out += '"';
    out += c;
  }
  return out + "\"";
}

/// Reads fields off a text; a quoted field may hold commas, doubled quotes and line ends.
class CsvReader {
 public:
  CsvReader(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  bool at_end() const { return at_ == text_.size(); }
  int line() const { return line_; }

  std::vector<std::string> row() {
    std::vector<std::string> fields;
    do {
      fields.push_back(field());
    } while (take(','));
    take('\r');
    if (!take('\n') && !at_end())
      fail("a quote in the middle of a field");
    ++line_;
    return fields;
  }

  [[noreturn]] void fail(const std::string& why, int line = 0) const {
    throw Error(fmt::format("{}: line {}: {}", where_, line == 0 ? line_ : line, why),
                "build or fetch the wheel again", ExitStatus::usage);
  }

 private:
  bool take(char c) {
    if (at_end() || text_[at_] != c)
      return false;
    ++at_;
    return true;
  }

  std::string field() {
    if (take('"'))
      return quoted_field();
    const std::size_t start = at_;
    while (!at_end() && text_[at_] != ',' && text_[at_] != '\n' && text_[at_] != '\r')
      ++at_;
    return std::string(text_.substr(start, at_ - start));
  }

  std::string quoted_field() {
    std::string out;
    for (;;) {
      if (at_end())
        fail("a quote is never closed");
      const char c = text_[at_++];
      if (c == '"' && !take('"'))
        return out;
      out += c;
    }
  }

  std::string_view text_;
  const std::string& where_;
  std::size_t at_ = 0;
  int line_ = 1;
};

}  // namespace

std::string record_text(const std::vector<RecordLine>& entries) {
  std::string out;
  for (const RecordLine& entry : entries) {
    out += fmt::format("{},{},{}\n", csv_field(entry.path), entry.hash,
                       entry.size ? std::to_string(*entry.size) : "");
  }
  return out;
}

std::vector<RecordLine> parse_record(std::string_view text, const std::string& where) {
  std::vector<RecordLine> entries;
  CsvReader reader(text, where);
  while (!reader.at_end()) {
    const int line = reader.line();
    std::vector<std::string> fields = reader.row();
    if (fields.size() == 1 && fields[0].empty())
      continue;
    if (fields.size() != 3) {
      reader.fail(count(fields.size(), "field") + " where path, hash and size belong", line);
    }
    RecordLine entry{.path = std::move(fields[0]), .hash = std::move(fields[1]), .size = {}};
    if (!fields[2].empty()) {
      const auto size = parse_integer(fields[2], 0, std::numeric_limits<long>::max());
      if (!size)
        reader.fail("'" + clean_line(fields[2]) + "' is no size", line);
      entry.size = static_cast<std::uint64_t>(*size);
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace ds
