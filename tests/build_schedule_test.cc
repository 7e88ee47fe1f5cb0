// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "base/file.h"
#include "base/text.h"
#include "build/schedule.h"

using namespace ds;

namespace {

namespace fs = std::filesystem;

std::vector<Job> jobs(const std::vector<std::vector<std::size_t>>& needs) {
  std::vector<Job> all;
  for (const auto& each : needs) {
    all.emplace_back();
    all.back().needs = each;
  }
  return all;
}

std::string order(Schedule& schedule) {
  std::string text;
  while (const std::optional<std::size_t> job = schedule.start())
    text += std::to_string(*job) + " ";
  return text;
}

}  // namespace

TEST_CASE("schedule: the longest way to the end first") {
  // 0 is short itself, but 3 behind it is the longest of all.
  Schedule schedule(jobs({{}, {}, {}, {0}}), {{1}, {5}, {3}, {10}}, 1000);
  for (const std::size_t job : {0, 1, 2})
    schedule.ready(job);
  CHECK(schedule.way_to_the_end(0) == 11);
  CHECK(order(schedule) == "0 1 2 ");
}

TEST_CASE("schedule: what the memory does not hold waits, smaller ones pass") {
  Schedule schedule(jobs({{}, {}, {}, {}}), {{9, 60}, {8, 60}, {7, 30}, {6, 30}}, 100);
  for (const std::size_t job : {0, 1, 2, 3})
    schedule.ready(job);
  CHECK(order(schedule) == "0 2 ");
  schedule.ended(0);
  CHECK(order(schedule) == "1 ");
  schedule.ended(2);
  CHECK(order(schedule) == "3 ");
}

TEST_CASE("schedule: one that needs more than there is runs alone, and is not passed for ever") {
  Schedule schedule(jobs({{}, {}, {}}), {{9, 10}, {8, 200}, {7, 10}}, 100);
  for (const std::size_t job : {0, 1, 2})
    schedule.ready(job);
  CHECK(order(schedule) == "0 ");
  schedule.ended(0);
  CHECK(order(schedule) == "1 ");
  schedule.ended(1);
  CHECK(order(schedule) == "2 ");
}

TEST_CASE("schedule: one that was killed for memory runs alone") {
  Schedule schedule(jobs({{}, {}}), {{9, 10}, {8, 10}}, 100);
  schedule.ready(0);
  schedule.ready(1);
  CHECK(order(schedule) == "0 1 ");
  schedule.ended(0);
  schedule.run_alone(0);
  schedule.ready(0);
  CHECK(order(schedule) == "");
  schedule.ended(1);
  CHECK(order(schedule) == "0 ");
  CHECK(schedule.cost(0).memory == 20);
}

TEST_CASE("costs: guessed, then learned, then remembered") {
  const TempDir folder;
  const fs::path memory = folder.path() / "costs";
  Job job;
  job.op = "adam";
  job.name = "nvcc adam/a.cu";
  job.command.argv = {"nvcc", "-gencode=arch=compute_80,code=sm_80"};
  {
    JobCosts costs(memory);
    const JobCost one = costs.expected(job, 0);
    CHECK_FALSE(one.learned);
    job.command.argv.push_back("-gencode=arch=compute_90,code=sm_90");
    CHECK(costs.expected(job, 0).seconds > one.seconds);
    costs.learn(job, {4, 1000, 1, 2});
    costs.learn(job, {2, 500, 30, 40});
    costs.save();
  }
  const JobCost known = JobCosts(memory).expected(job, 0);
  CHECK(known.learned);
  CHECK(known.seconds == 3);
  CHECK(known.memory == 875);
  CHECK(known.output == 30);
  CHECK(known.kept == 40);
  write_file(memory, "{");
  CHECK_FALSE(JobCosts(memory).expected(job, 0).learned);
}

TEST_CASE("memory: what the machine and its control groups leave") {
  const TempDir folder;
  const fs::path proc = folder.path() / "proc", groups = folder.path() / "cgroup";
  fs::create_directories(proc / "self");
  const auto put = [&](const fs::path& file, const std::string& text) {
    fs::create_directories((groups / file).parent_path());
    write_file(groups / file, text);
  };
  write_file(proc / "meminfo", "MemTotal: 2000 kB\nMemAvailable:    1000 kB\n");
  CHECK(memory_to_use(proc, groups) == 921600);
  SUBCASE("version 2") {
    write_file(proc / "self/cgroup", "0::/user/job\n");
    put("user/job/memory.max", "max\n");
    put("user/memory.max", "500000\n");
    put("user/memory.current", "300000\n");
    CHECK(memory_to_use(proc, groups) == 180000);
    put("user/memory.stat", "anon 1\ninactive_file 100000\n");
    CHECK(memory_to_use(proc, groups) == 270000);
    put("user/memory.current", "900000\n");
    CHECK(memory_to_use(proc, groups) == 0);
  }
  SUBCASE("version 1, in a container that sees its own group as the root") {
    write_file(proc / "self/cgroup", "9:cpu:/x\n4:memory:/docker/abc\n");
    put("memory/memory.limit_in_bytes", "100000\n");
    put("memory/memory.usage_in_bytes", "0\n");
    CHECK(memory_to_use(proc, groups) == 90000);
  }
  SUBCASE("no limit that a number of a v1 group could mean") {
    write_file(proc / "self/cgroup", "4:cpu,memory:/\n");
    put("memory/memory.limit_in_bytes", "9223372036854771712\n");
    CHECK(memory_to_use(proc, groups) == 921600);
  }
}
