// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/awake_clock.h"
#include "base/fd.h"
#include "transport/rate_limit.h"
#include "transport/transport.h"

namespace ds {

/// An ExecInput, a piece at a time: the preamble (of whoever starts the command, such as sudo), its
/// texts, then the file as it is read; what is sent of that is held back as `limit` says.
class InputStream {
 public:
  /// `limit`, if there is one, must live as long.
  InputStream(ExecInput input, const std::string& preamble, RateLimit* limit);

  /// What comes next; stays the same until consume(). Empty at the end, and while it is held back.
  /// Error if the file cannot be read.
  std::string_view next(Clock::time_point now);
  void consume(std::size_t bytes);
  /// The last next() was empty because of the limit.
  bool held() const { return held_; }
  /// When the piece that was asked for last may go, or could.
  Clock::time_point opens() const { return opens_; }
  /// How long pieces were held back, or are going to be.
  Clock::duration held_time() const { return held_time_; }
  std::uint64_t sent() const {
    return consumed_ - std::min<std::uint64_t>(consumed_, preamble_.size());
  }

 private:
  std::string_view text() const;
  std::string_view limited(std::string_view piece, Clock::time_point now);

  ExecInput input_;
  Fd file_;
  std::string preamble_, block_;
  int part_ = 0;  ///< of preamble, head, bytes, tail, file
  std::size_t at_ = 0;
  std::uint64_t consumed_ = 0;
  RateLimit* limit_;
  std::size_t granted_ = 0;  ///< bytes of the file that may go from opens_ on
  bool held_ = false;
  Clock::time_point opens_;
  Clock::duration held_time_{};
};

}  // namespace ds
