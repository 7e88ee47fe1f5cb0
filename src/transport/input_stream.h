// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/fd.h"
#include "transport/transport.h"

namespace ds {

/// An ExecInput, a piece at a time: the preamble (of whoever starts the command, such as sudo), its
/// texts, then the file as it is read.
class InputStream {
 public:
  explicit InputStream(ExecInput input, const std::string& preamble = {});

  /// What comes next; stays the same until consume(). Empty at the end. Error if the file cannot be
  /// read.
  std::string_view next();
  void consume(std::size_t bytes);
  std::uint64_t sent() const { return consumed_ > preamble_ ? consumed_ - preamble_ : 0; }

 private:
  std::string_view text() const;
  ExecInput input_;
  Fd file_;
  std::string preamble_text_, block_;
  int part_ = 0;  ///< of preamble, head, bytes, tail, file
  std::size_t at_ = 0;
  std::uint64_t preamble_ = 0, consumed_ = 0;
};

}  // namespace ds
