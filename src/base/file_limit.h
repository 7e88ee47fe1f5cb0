// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace ds {

/// Raises the soft limit of open files to the hard one, so that a thousand sessions fit. Children
/// are started under the limit that was: programs that use select(2), or close every number up to
/// the limit, fail or crawl under a high one.
void raise_file_limit();

/// While it lives, the soft limit is what it was before raise_file_limit(). A child inherits the
/// limit that holds when it is made; files that are open already stay open.
class InheritedFileLimit {
 public:
  InheritedFileLimit();
  ~InheritedFileLimit();
  InheritedFileLimit(const InheritedFileLimit&) = delete;
  InheritedFileLimit& operator=(const InheritedFileLimit&) = delete;
};

}  // namespace ds
