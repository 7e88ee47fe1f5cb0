// SPDX-License-Identifier: Apache-2.0
#include "base/random.h"

#include <sys/random.h>

#include "base/error.h"
#include "base/sha256.h"

namespace ds {

std::string random_nonce() {
  char bytes[16];
  if (::getrandom(bytes, sizeof bytes, 0) != sizeof bytes) {
    throw Error("the system gives no random numbers");
  }
  return hex(std::string_view(bytes, sizeof bytes));
}

unsigned random_below(unsigned limit) {
  unsigned number = 0;
  if (limit == 0 || ::getrandom(&number, sizeof number, 0) != sizeof number)
    return 0;
  return number % limit;
}

}  // namespace ds
