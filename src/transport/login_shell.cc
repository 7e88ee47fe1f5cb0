// SPDX-License-Identifier: Apache-2.0
//
// A remote command passes the user's login shell, which may be sh, csh or fish. Their quoting rules
// agree on single quotes around plain characters, so everything else is written as \0ooo and made
// text again by the printf of /bin/sh. (sh -s would read ahead and swallow what follows on stdin; a
// here-document is written to /tmp by some shells.)
#include <fmt/format.h>

#include <string_view>

#include "transport/transport.h"

namespace ds {

std::string login_shell_command(const std::string& script) {
  constexpr std::string_view plain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ./_=:,@+-";
  std::string encoded;
  for (const char c : script) {
    if (plain.find(c) != std::string_view::npos) {
      encoded += c;
    } else {
      encoded += fmt::format("\\0{:03o}", static_cast<unsigned char>(c));
    }
  }
  return "exec /bin/sh -c 'eval \"$(printf %b \"$0\")\"' '" + encoded + "'";
}

}  // namespace ds
