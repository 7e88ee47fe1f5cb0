// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <locale.h>

namespace ds {

/// Some libraries turn names into the locale's encoding; this thread speaks UTF-8 meanwhile.
class Utf8Locale {
 public:
  Utf8Locale() : ours_(::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr)) {
    if (ours_ != nullptr)
      before_ = ::uselocale(ours_);
  }
  ~Utf8Locale() {
    if (ours_ == nullptr)
      return;
    ::uselocale(before_);
    ::freelocale(ours_);
  }
  Utf8Locale(const Utf8Locale&) = delete;
  Utf8Locale& operator=(const Utf8Locale&) = delete;

 private:
  locale_t ours_ = nullptr;
  locale_t before_ = nullptr;
};

}  // namespace ds
