// SPDX-License-Identifier: Apache-2.0
#include "report/markup.h"

#include "base/text.h"

namespace ds {
namespace {

/// Is no character of XML 1.0, though UTF-8 can spell it.
bool is_noncharacter(std::string_view text, std::size_t at) {
  const std::string_view three = text.substr(at, 3);
  return three == "\xEF\xBF\xBE" || three == "\xEF\xBF\xBF";
}

std::string percent_escaped(std::string_view text, std::string_view characters) {
  std::string out;
  for (const char c : clean(text)) {
    if (characters.find(c) == std::string_view::npos) {
      out += c;
    } else {
      out += "%" + std::string(1, "0123456789ABCDEF"[c / 16]) + "0123456789ABCDEF"[c % 16];
    }
  }
  return out;
}

}  // namespace

std::string markup_text(std::string_view text) {
  const std::string cleaned = clean(text, std::string::npos);
  std::string out;
  for (std::size_t at = 0; at < cleaned.size(); ++at) {
    switch (const char c = cleaned[at]) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '@':
        out += "&#64;";
        break;
      default:
        if (is_noncharacter(cleaned, at)) {
          out += "\xEF\xBF\xBD";
          at += 2;
        } else {
          out += c;
        }
    }
  }
  return out;
}

std::string markdown_text(std::string_view text) {
  std::string out;
  for (const char c : clean_line(text, 2000)) {
    if (c == '<') {
      out += "&lt;";
    } else if (c == '&') {
      out += "&amp;";
    } else {
      // Addresses would become links.
      if (std::string_view("\\`*_[]{}()>#|~$!:@").find(c) != std::string_view::npos)
        out += '\\';
      out += c;
    }
  }
  return out;
}

std::string command_data(std::string_view text) {
  return percent_escaped(text, "%\r\n");
}

std::string command_property(std::string_view text) {
  return percent_escaped(text, "%\r\n:,");
}

}  // namespace ds
