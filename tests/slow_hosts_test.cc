// SPDX-License-Identifier: Apache-2.0
#include "cli/slow_hosts.h"

#include <doctest/doctest.h>

using namespace ds;

namespace {

/// Hosts n01, n02, ... of one class, with the figures of their self-test "matmul".
struct World {
  Fleet fleet;
  std::vector<HostOutcome> hosts;

  explicit World(const std::vector<SelfTestFigure>& figures) {
    for (const SelfTestFigure& figure : figures)
      add("580", figure);
  }
  void add(const std::string& driver, const SelfTestFigure& figure,
           const std::string& op = "matmul") {
    HostFacts facts;
    facts.host = (fleet.hosts.size() < 9 ? "n0" : "n") + std::to_string(fleet.hosts.size() + 1);
    facts.driver = driver;
    HostOutcome outcome;
    outcome.host = facts.host;
    outcome.self_test_figures[op] = figure;
    fleet.hosts.push_back(facts);
    hosts.push_back(outcome);
  }
  std::string said() const { return slower_than_class(fleet, hosts); }
};

}  // namespace

TEST_CASE("slow hosts: one beyond a fifth of the median is named with both") {
  CHECK(World({{0.98, 0}, {0.97, 0}, {1.31, 0}, {0.98, 0}}).said() ==
        "slower than their class: n03 (matmul 1.31 s, median 0.98 s)");
  CHECK(World({{1.0, 0}, {1.0, 0}, {1.2, 0}, {1.0, 0}}).said().empty());
  CHECK(World({{0.5, 0}, {1.0, 0}, {1.0, 0}, {1.0, 0}}).said().empty());
}

TEST_CASE("slow hosts: short tests are noise, and few hosts no class") {
  CHECK(World({{0.01, 0}, {0.01, 0}, {0.09, 0}, {0.01, 0}}).said().empty());
  CHECK(World({{1, 0}, {1, 0}, {9, 0}}).said().empty());
  World two({{1, 0}, {1, 0}, {1, 0}});
  two.add("550", {9, 0});
  CHECK(two.said().empty());
  World other({{1, 0}, {1, 0}, {1, 0}});
  other.add("580", {9, 0}, "conv");
  CHECK(other.said().empty());
}

TEST_CASE("slow hosts: GB/s are held against the median too") {
  CHECK(World({{0.1, 100}, {0.1, 79}, {0.1, 100}, {0.1, 100}}).said() ==
        "slower than their class: n02 (matmul 79 GB/s, median 100 GB/s)");
  CHECK(World({{0.1, 100}, {0.1, 81}, {0.1, 100}, {0.1, 0}}).said().empty());
}

TEST_CASE("slow hosts: those of one class are folded, and the list is short") {
  World world({{2, 0}, {2, 0}, {1, 0}, {1, 0}, {1, 0}, {1, 0}, {1.5, 0}});
  CHECK(world.said() ==
        "slower than their class: n[01-02,07] (matmul 1.50 s to 2.00 s, median 1.00 s)");
  World many({});
  for (int op = 0; op < 8; ++op) {
    for (int number = 0; number < 4; ++number)
      many.add("580", {number == 0 ? 2.0 : 1.0, 0}, "op" + std::to_string(op));
  }
  CHECK(many.said().ends_with("; and 3 more"));
}

TEST_CASE("slow hosts: a report has it as a note") {
  const World world({{1, 0}, {1, 0}, {9, 0}, {1, 0}});
  Report report;
  report.hosts = world.hosts;
  note_slow_hosts(report, world.fleet);
  CHECK(report.notes ==
        std::vector<std::string>{"slower than their class: n03 (matmul 9.00 s, median 1.00 s)"});
}
