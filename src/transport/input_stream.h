// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
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
  std::uint64_t sent() const {
    return consumed_ - std::min<std::uint64_t>(consumed_, preamble_.size());
  }

 private:
  std::string_view text() const;
  ExecInput input_;
  Fd file_;
  std::string preamble_, block_;
  int part_ = 0;  ///< of preamble, head, bytes, tail, file
  std::size_t at_ = 0;
  std::uint64_t consumed_ = 0;
};

}  // namespace ds
