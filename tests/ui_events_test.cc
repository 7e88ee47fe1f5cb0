// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "support/recording_status.h"
#include "ui/ui.h"

using namespace ds;

TEST_CASE("ui: events are the progress, a line each") {
  const TempDir folder;
  const std::filesystem::path file = folder.path() / "events";
  {
    const auto status = with_events(std::make_unique<RecordingStatus>(), file);
    status->stage_started("facts", 2);
    status->item_started("n1");
    status->item_finished("n1", "no \xff route", true);
    status->time_left(3);
    status->stage_finished();
    status->warning("look out");
  }
  std::vector<std::string> seen;
  for (const std::string& line : lines(read_file(file))) {
    nlohmann::json event = nlohmann::json::parse(line);
    CHECK(event.at("at_ms").get<std::int64_t>() > 1700000000000);
    event.erase("at_ms");
    seen.push_back(event.dump());
  }
  CHECK(seen ==
        std::vector<std::string>{R"({"event":"stage-started","stage":"facts","total":2})",
                                 R"({"event":"item-started","item":"n1","stage":"facts"})",
                                 "{\"event\":\"item-finished\",\"failed\":true,\"item\":\"n1\","
                                 "\"outcome\":\"no \uFFFD route\",\"stage\":\"facts\"}",
                                 R"({"event":"time-left","seconds":3.0,"stage":"facts"})",
                                 R"({"event":"stage-finished","stage":"facts"})",
                                 R"({"event":"warning","text":"look out"})"});
}

TEST_CASE("ui: events are added to those of before") {
  const TempDir folder;
  const std::filesystem::path file = folder.path() / "events";
  for (const char* text : {"one", "two"})
    with_events(std::make_unique<RecordingStatus>(), file)->remark(text);
  CHECK(lines(read_file(file)).size() == 2);
}

TEST_CASE("ui: events that cannot be written") {
  CHECK_THROWS_AS(with_events(std::make_unique<RecordingStatus>(), "/nonexistent/events"), Error);
  auto shown = std::make_unique<RecordingStatus>();
  const RecordingStatus& told = *shown;
  const auto status = with_events(std::move(shown), "/dev/full");
  status->remark("one");
  status->remark("two");
  CHECK(told.remarks == std::vector<std::string>{"one", "two"});
  CHECK(told.warnings == std::vector<std::string>{
                             "no more events are written to /dev/full: No space left on device"});
}
