// SPDX-License-Identifier: Apache-2.0
//
// What is known of a run while it goes on, and how it looks. Pure: time is what it is told.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ds {

class Progress {
 public:
  using Clock = std::chrono::steady_clock;

  void stage_started(std::string_view stage, std::size_t total, Clock::time_point now);
  void item_started(std::string_view item, Clock::time_point now);
  void item_finished(std::string_view item, std::string_view outcome, bool failed);
  void stage_finished(Clock::time_point now);
  void time_left(double seconds) { told_ = seconds; }
  /// Bytes of files that were sent so far, in the whole run.
  void sent(std::uint64_t bytes) { sent_ = bytes; }

  bool in_stage() const { return !stage_.empty(); }
  std::string counter() const;  ///< "[stage 812/1000]"
  /// A few lines of at most `width` columns: the stages, how many items are where, the five that
  /// take longest, bytes per second and the time that is left.
  std::vector<std::string> lines(std::size_t width, Clock::time_point now) const;

 private:
  struct Outcome {
    std::size_t number = 0;
    bool failed = false;
    std::vector<std::string> names;  ///< of those that failed
  };
  std::string stages() const;
  std::string outcomes() const;
  std::string longest(Clock::time_point now) const;
  std::string speed(Clock::time_point now) const;

  std::vector<std::pair<std::string, double>> past_;  ///< stages, and their seconds
  std::string stage_;
  std::size_t total_ = 0, finished_ = 0;
  Clock::time_point began_;
  std::map<std::string, Clock::time_point, std::less<>> running_;
  std::map<std::string, Outcome> outcomes_;  ///< by their first word
  std::optional<double> told_;               ///< seconds that are left
  std::uint64_t sent_ = 0, sent_before_ = 0;
};

}  // namespace ds
