// SPDX-License-Identifier: Apache-2.0
#include "ui/progress.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "base/text.h"

using namespace ds;
using namespace std::chrono_literals;

namespace {

const Progress::Clock::time_point start{};

std::string shown(const Progress& progress, Progress::Clock::duration after,
                  std::size_t width = 79) {
  return join(progress.lines(width, start + after), "\n");
}

}  // namespace

TEST_CASE("ui: how far a run over many hosts is") {
  Progress progress;
  CHECK(shown(progress, 0s).empty());
  progress.stage_started("facts", 1000, start);
  progress.stage_finished(start + 3100ms);
  progress.stage_started("lock", 1000, start + 3100ms);
  progress.stage_finished(start + 3110ms);  // not worth a word
  progress.sent(5'000'000);
  progress.stage_started("stage", 1000, start + 4s);
  for (int host = 1; host <= 1000; ++host)
    progress.item_started(fmt::format("n{}", host), start + 4s + host * 1ms);
  for (int host = 6; host <= 800; ++host)
    progress.item_finished(fmt::format("n{}", host), "staged", false);
  for (const char* host : {"n1", "n3"})
    progress.item_finished(host, "failed: no space left on device", true);
  progress.sent(405'000'000);
  CHECK(shown(progress, 14s) ==
        "facts 3.1 s, [stage 797/1000]\n"
        "795 staged, 2 failed (n1, n3), 203 under way\n"
        "longest: n2 10.0 s, n4 10.0 s, n5 10.0 s, n801 9.2 s, n802 9.2 s\n"
        "40.0 MB/s, about 2.5 s left");
  progress.time_left(70);
  CHECK(shown(progress, 14s).ends_with("40.0 MB/s, about 1 min 10 s left"));
  progress.stage_finished(start + 20s);
  CHECK(shown(progress, 20s) == "facts 3.1 s, stage 16.0 s");
}

TEST_CASE("ui: what is shown fits in the width") {
  Progress progress;
  for (int stage = 1; stage <= 9; ++stage) {
    progress.stage_started(fmt::format("stage-number-{}", stage), 10, start);
    for (int item = 0; item < 9; ++item)
      progress.item_started(fmt::format("a-file-with-a-long-name-{}.cu", item), start);
    progress.item_finished("a-file-with-a-long-name-1.cu", "failed: " + std::string(300, 'x'), true);
    progress.item_finished("a-file-with-a-long-name-2.cu", "0.7 s", false);
    for (const std::size_t width : {20, 40, 79, 200}) {
      for (const std::string& line : progress.lines(width, start + 5s))
        CHECK(line.size() <= width);
    }
    CHECK(progress.lines(40, start + 5s).front().ends_with(progress.counter()));
    progress.stage_finished(start + 5s);
  }
  // The latest stages are worth most.
  CHECK(shown(progress, 5s, 40) == "...-number-8 5.0 s, stage-number-9 5.0 s");
  progress.stage_started("build", 2, start);
  progress.item_finished("x", "0.7 s", false);
  CHECK(shown(progress, 1s, 200).ends_with("[build 1/2]\n1 done"));
}
