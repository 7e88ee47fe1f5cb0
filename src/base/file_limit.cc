// SPDX-License-Identifier: Apache-2.0
#include "base/file_limit.h"

#include <sys/resource.h>

namespace ds {
namespace {

// The limit itself is one for the whole process, and so is what it was.
bool raised = false;
rlim_t inherited = 0;

void set_soft_limit(rlim_t wanted) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0)
    return;
  limit.rlim_cur = wanted;
  // Without it fewer sessions fit; each that does not says so.
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

rlim_t hard_limit() {
  rlimit limit{};
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_max : inherited;
}

}  // namespace

void raise_file_limit() {
  rlimit limit{};
  if (raised || ::getrlimit(RLIMIT_NOFILE, &limit) != 0)
    return;
  inherited = limit.rlim_cur;
  raised = true;
  set_soft_limit(limit.rlim_max);
}

InheritedFileLimit::InheritedFileLimit() {
  if (raised)
    set_soft_limit(inherited);
}

InheritedFileLimit::~InheritedFileLimit() {
  if (raised)
    set_soft_limit(hard_limit());
}

}  // namespace ds
