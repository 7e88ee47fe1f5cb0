// SPDX-License-Identifier: Apache-2.0
#include "config/form.h"

#include <regex.h>

#include "base/error.h"

namespace ds {
namespace {

class Pattern {
 public:
  explicit Pattern(const std::string& pattern) {
    if (::regcomp(&compiled_, ("^(" + pattern + ")$").c_str(), REG_EXTENDED | REG_NOSUB) != 0) {
      throw Error("the pattern '" + pattern + "' cannot be compiled");
    }
  }
  ~Pattern() { ::regfree(&compiled_); }
  Pattern(const Pattern&) = delete;
  Pattern& operator=(const Pattern&) = delete;
  bool matches(const std::string& text) const {
    return ::regexec(&compiled_, text.c_str(), 0, nullptr, 0) == 0;
  }

 private:
  regex_t compiled_;
};

}  // namespace

bool has_form(const std::string& text, const std::string& pattern) {
  return text.find_first_of(std::string("\0\n", 2)) == std::string::npos &&
         Pattern(pattern).matches(text);
}

}  // namespace ds
