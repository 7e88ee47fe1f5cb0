// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "ui/ui.h"

namespace ds {

/// A Status that remembers, for unit tests.
class RecordingStatus : public Status {
 public:
  void stage_started(std::string_view stage, std::size_t) override { events.emplace_back(stage); }
  void item_started(std::string_view) override {}
  void item_finished(std::string_view item, std::string_view outcome, bool failed,
                     std::string_view block) override {
    events.push_back(std::string(item) + ": " + std::string(outcome));
    if (failed)
      failures.emplace_back(item);
    if (!block.empty())
      blocks.emplace_back(block);
  }
  void stage_finished() override {}
  void time_left(double seconds) override { times_left.push_back(seconds); }
  void note(std::string_view text) override { notes.emplace_back(text); }
  void remark(std::string_view text) override { remarks.emplace_back(text); }
  void warning(std::string_view text) override { warnings.emplace_back(text); }

  std::vector<std::string> events, failures, blocks, notes, remarks, warnings;
  std::vector<double> times_left;
};

}  // namespace ds
