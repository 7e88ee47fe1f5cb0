// SPDX-License-Identifier: Apache-2.0
//
// Every order of events for three hosts, and random ones for many: nobody is left half way, no
// budget is exceeded, and what may not happen does not.
#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <random>
#include <set>

#include "rollout/pace.h"

using namespace ds;

namespace {

enum class At { old, trial, fresh, lost };  ///< what a host is at; lost: it cannot be told

/// A fleet that answers, and remembers.
struct Fleet {
  PaceLimits limits;
  Pace pace;
  std::size_t before;
  std::vector<At> at;
  std::vector<bool> failed;
  struct Open {
    enum { activate, prove, keep, take_back, rehearse, watch, prepare } what;
    std::size_t host;
  };
  std::vector<Open> open;
  std::size_t most_in_flight = 0, kept_early = 0, begun_early = 0, unrehearsed = 0;
  std::size_t early_activations = 0;
  std::set<std::size_t> prepared;
  std::set<std::size_t> rehearsed;
  std::string trace;

  Fleet(PaceLimits limits, std::size_t hosts, std::size_t before)
      : limits(limits),
        pace(limits, hosts, before),
        before(before),
        at(hosts, At::old),
        failed(hosts, false) {
    look();
  }

  void look() {
    const PaceOrders orders = pace.orders();
    for (const std::size_t host : orders.prepare) {
      begin(host, Open::prepare);
      CHECK(prepared.insert(host).second);
    }
    for (const std::size_t host : orders.activate) {
      CHECK(prepared.contains(host) == limits.prepares);
      if (limits.prepares)
        open.push_back({Open::activate, host});
      else
        begin(host, Open::activate);
      early_activations += limits.together && std::any_of(open.begin(), open.end(), [](auto& one) {
                             return one.what == Open::prepare;
                           });
    }
    for (const std::size_t host : orders.keep) {
      open.push_back({Open::keep, host});
      kept_early += limits.together && std::any_of(open.begin(), open.end(), [](const Open& one) {
                      return one.what == Open::activate || one.what == Open::prove;
                    });
    }
    for (const std::size_t host : orders.take_back)
      open.push_back({Open::take_back, host});
    for (const std::size_t host : orders.rehearse)
      open.push_back({Open::rehearse, host});
    if (open.empty()) {  // then it is looked at them
      for (const std::size_t host : pace.baking())
        open.push_back({Open::watch, host});
    }
    std::size_t in_flight = 0;
    for (const Open& one : open)
      in_flight += (one.what != Open::keep && one.what != Open::watch) || at[one.host] == At::trial;
    most_in_flight = std::max(most_in_flight, in_flight);
  }

  /// What must be over before it may begin is.
  void begin(std::size_t host, decltype(Open::what) what) {
    open.push_back({what, host});
    std::size_t first = 0;
    for (const std::size_t end : limits.waves) {
      if (host < end)
        break;
      first = end;
    }
    for (std::size_t earlier = 0; earlier < first; ++earlier) {
      const bool moving = std::any_of(open.begin(), open.end(),
                                      [earlier](const Open& one) { return one.host == earlier; });
      begun_early += moving || at[earlier] == At::trial;
    }
    for (std::size_t early = 0; early < std::min(first, limits.canary); ++early)
      unrehearsed += limits.rehearses && at[early] == At::fresh && !rehearsed.contains(early);
  }

  std::size_t out() const {
    std::size_t out = before;
    for (std::size_t host = 0; host < at.size(); ++host) {
      const bool moving = std::any_of(open.begin(), open.end(), [host](const Open& one) {
        return one.host == host && (one.what == Open::activate || one.what == Open::prepare);
      });
      out += at[host] == At::trial || at[host] == At::lost || moving;
    }
    return out;
  }

  /// The command `which` ends, well or not.
  void answer(std::size_t which, bool well) {
    const Open one = open[which];
    open.erase(open.begin() + static_cast<std::ptrdiff_t>(which));
    trace += std::to_string(one.host) + "apkbrwd"[one.what] + (well ? '+' : '-');
    switch (one.what) {
      case Open::activate:
        at[one.host] = At::trial;
        if (well) {
          pace.activated(one.host);
          open.push_back({Open::prove, one.host});
        } else {
          failed[one.host] = true;
          pace.failed(one.host);
        }
        break;
      case Open::prove:
        failed[one.host] = !well;
        well ? pace.proven(one.host) : pace.failed(one.host);
        break;
      case Open::keep:
        at[one.host] = well ? At::fresh : At::old;
        failed[one.host] = !well;
        well ? pace.kept(one.host) : pace.expired(one.host);
        break;
      case Open::take_back:
        // One that stayed goes from one confirmed release to another, in one rename.
        at[one.host] = well                                             ? At::old
                       : at[one.host] == At::fresh && !failed[one.host] ? At::fresh
                                                                        : At::lost;
        well ? pace.returned(one.host) : pace.stuck(one.host);
        break;
      case Open::rehearse:
        at[one.host] = well ? At::old : At::lost;
        failed[one.host] = !well;
        rehearsed.insert(one.host);
        well ? pace.returned(one.host) : pace.stuck(one.host);
        break;
      case Open::prepare:
        failed[one.host] = !well;
        well ? pace.prepared(one.host) : pace.refused(one.host);
        break;
      case Open::watch:
        failed[one.host] = !well;
        well ? pace.baked(one.host) : pace.spoiled(one.host);
        break;
    }
    look();
  }

  std::size_t number(At what) const {
    return static_cast<std::size_t>(std::count(at.begin(), at.end(), what));
  }
};

void check_moment(const Fleet& fleet) {
  CHECK(fleet.out() <= std::max(fleet.limits.unavailable, fleet.before));
  CHECK(fleet.pace.unavailable() >= fleet.out());
  CHECK(fleet.kept_early == 0);
  CHECK(fleet.begun_early == 0);
  CHECK(fleet.early_activations == 0);
  CHECK(fleet.unrehearsed == 0);
}

void check_end(const Fleet& fleet) {
  CAPTURE(fleet.trace);
  CHECK_FALSE(fleet.pace.busy());
  CHECK(fleet.number(At::trial) == 0);
  CHECK(fleet.most_in_flight <=
        fleet.limits.in_flight + fleet.at.size() * fleet.limits.all_go_back);
  for (std::size_t host = 0; host < fleet.at.size(); ++host)
    CHECK((!fleet.failed[host] || fleet.at[host] != At::fresh));
  if (!fleet.pace.stopped() && fleet.before < fleet.limits.unavailable) {
    bool of_class = false;
    for (std::size_t host = 0; host < fleet.at.size(); ++host)
      of_class |= fleet.pace.stopped(host);
    CHECK((fleet.pace.failures() <= fleet.limits.failures || of_class));
    // A host that is lost for good takes its place in the budget with it.
    CHECK((fleet.pace.waiting() == 0 || fleet.number(At::lost) > 0 || of_class));
  }
}

/// All orders in which the open commands may end, each well or not.
void explore(const Fleet& fleet, std::size_t& ends) {
  check_moment(fleet);
  if (fleet.open.empty()) {
    check_end(fleet);
    ++ends;
    return;
  }
  for (std::size_t which = 0; which < fleet.open.size(); ++which) {
    for (const bool well : {true, false}) {
      Fleet next = fleet;
      next.answer(which, well);
      explore(next, ends);
    }
  }
}

}  // namespace

TEST_CASE("pace: three hosts, every order of events with every failure") {
  for (const bool together : {true, false}) {
    for (const bool all_go_back : {true, false}) {
      for (std::size_t failures = 0; failures < 2; ++failures) {
        const PaceLimits limits{together ? 3u : 2u, 3, failures, together, all_go_back};
        std::size_t ends = 0;
        explore(Fleet(limits, 3, 0), ends);
        CHECK(ends > 1000);
      }
    }
  }
}

TEST_CASE("pace: three hosts in waves, the first watched and rehearsed, every order of events") {
  for (const bool class_stops : {true, false}) {
    for (std::size_t failures = 0; failures < 2; ++failures) {
      PaceLimits limits{3, 3, failures, false, !class_stops};
      limits.waves = {1, 3};
      limits.canary = 1;
      limits.bakes = limits.rehearses = true;
      limits.class_stops = class_stops;
      limits.classes = {0, 0, 1};
      std::size_t ends = 0;
      explore(Fleet(limits, 3, 0), ends);
      CHECK(ends > 100);
    }
  }
}

TEST_CASE("pace: two hosts that are prepared first, every order of events") {
  for (const bool together : {true, false}) {
    for (std::size_t failures = 0; failures < 2; ++failures) {
      PaceLimits limits{2, 2, failures, together, together};
      limits.prepares = true;
      std::size_t ends = 0;
      explore(Fleet(limits, 2, 0), ends);
      CHECK(ends > 100);
    }
  }
}

TEST_CASE("pace: hosts that are prepared are in flight, whatever ends beside them") {
  PaceLimits limits{2, 9, 0, false, false};
  limits.prepares = true;
  Pace pace(limits, 5, 0);
  CHECK(pace.orders().prepare == std::vector<std::size_t>{0, 1});
  CHECK(pace.orders().prepare.empty());
  pace.prepared(0);
  PaceOrders next = pace.orders();
  CHECK(next.activate == std::vector<std::size_t>{0});
  CHECK(next.prepare.empty());  // the second is still prepared
  pace.activated(0);
  pace.proven(0);
  CHECK(pace.orders().prepare.empty());
  pace.kept(0);
  pace.giving_back(0);
  CHECK(pace.orders().prepare.empty());
  CHECK(pace.in_flight() == 2);
  pace.given_back(0);
  CHECK(pace.orders().prepare == std::vector<std::size_t>{2});
}

TEST_CASE("pace: a host that is passed over costs nothing") {
  PaceLimits limits{2, 2, 0, false, false};
  limits.prepares = true;
  Pace pace(limits, 2, 0);
  CHECK(pace.orders().prepare == std::vector<std::size_t>{0, 1});
  pace.passed(0);
  pace.prepared(1);
  CHECK(pace.orders().activate == std::vector<std::size_t>{1});
  CHECK(pace.is_settled(0));
  CHECK_FALSE(pace.is_settled(1));
  CHECK(pace.failures() == 0);
  CHECK_FALSE(pace.stopped());
}

TEST_CASE("pace: a class that fails stops, the others go on; a second one stops the run") {
  PaceLimits limits{8, 8, 0, false, false};
  limits.waves = {2, 8};
  limits.canary = 2;
  limits.class_stops = true;
  limits.classes = {0, 1, 0, 0, 0, 1, 1, 1};
  for (const bool second : {false, true}) {
    Fleet fleet(limits, 8, 0);
    while (!fleet.open.empty()) {
      const Fleet::Open one = fleet.open.front();
      const bool bad = one.host == 1 || (second && one.host == 3);
      fleet.answer(0, one.what != Fleet::Open::prove || !bad);
    }
    check_end(fleet);
    CHECK(fleet.pace.stopped() == second);
    CHECK(fleet.pace.stopped(5));
    CHECK(fleet.number(At::fresh) == (second ? 3 : 4));
    CHECK(fleet.at[5] == At::old);
    CHECK(fleet.pace.waiting() == 3);
  }
}

TEST_CASE("pace: together, one failure takes all back, and without one all stay") {
  const PaceLimits limits{4, 4, 0, true, true};
  Fleet well(limits, 4, 0);
  while (!well.open.empty())
    well.answer(0, true);
  CHECK(well.number(At::fresh) == 4);
  for (std::size_t bad = 0; bad < 4; ++bad) {
    Fleet fleet(limits, 4, 0);
    while (!fleet.open.empty()) {
      const Fleet::Open one = fleet.open.front();
      fleet.answer(0, one.what != Fleet::Open::prove || one.host != bad);
    }
    CHECK(fleet.number(At::old) == 4);
    CHECK(fleet.pace.stopped());
  }
}

TEST_CASE("pace: the window is kept full, and is no batch") {
  Fleet fleet({3, 100, 0, false, false}, 10, 0);
  CHECK(fleet.open.size() == 3);
  // The second host runs ahead while the first one stands still.
  for (int step = 0; step < 3; ++step) {
    const auto second = std::find_if(fleet.open.begin(), fleet.open.end(),
                                     [](const Fleet::Open& one) { return one.host == 1; });
    fleet.answer(static_cast<std::size_t>(second - fleet.open.begin()), true);
  }
  CHECK(fleet.at[1] == At::fresh);
  CHECK(fleet.open.back().host == 3);
  CHECK(fleet.open.size() == 3);
}

TEST_CASE("pace: confirmed hosts stay where the policy stops, and go back where it says so") {
  for (const bool all_go_back : {false, true}) {
    Fleet fleet({1, 100, 0, false, all_go_back}, 4, 0);
    for (int step = 0; step < 6; ++step)  // two hosts, to the end
      fleet.answer(0, true);
    CHECK(fleet.number(At::fresh) == 2);
    fleet.answer(0, false);
    while (!fleet.open.empty())
      fleet.answer(0, true);
    CHECK(fleet.number(At::fresh) == (all_go_back ? 0 : 2));
    CHECK(fleet.pace.waiting() == 1);
  }
}

TEST_CASE("pace: an interrupt takes back who is not decided, and nobody else") {
  Fleet fleet({2, 100, 0, false, true}, 4, 0);
  for (int step = 0; step < 3; ++step) {
    const auto first = std::find_if(fleet.open.begin(), fleet.open.end(),
                                    [](const Fleet::Open& one) { return one.host == 0; });
    fleet.answer(static_cast<std::size_t>(first - fleet.open.begin()), true);
  }
  fleet.pace.interrupt();
  fleet.look();
  while (!fleet.open.empty())
    fleet.answer(0, true);
  CHECK(fleet.at == std::vector<At>{At::fresh, At::old, At::old, At::old});
}

TEST_CASE("pace: nothing begins where too many are out before") {
  Fleet fleet({2, 3, 0, false, false}, 4, 3);
  CHECK(fleet.open.empty());
  CHECK(fleet.pace.waiting() == 4);
}

TEST_CASE("pace: random fleets and failures") {
  std::mt19937 random(20261126);
  const auto below = [&random](std::size_t limit) {
    return std::uniform_int_distribution<std::size_t>(0, limit - 1)(random);
  };
  for (int round = 0; round < 1000; ++round) {
    const std::size_t hosts = 1 + below(40), before = below(4);
    const bool together = below(2) == 0;
    PaceLimits limits{1 + below(hosts), 1 + below(hosts + before), below(4), together,
                      below(2) == 0};
    if (together)
      limits.in_flight = limits.unavailable = hosts + before;
    const std::size_t bad = below(4);  // none, few, some, many
    Fleet fleet(limits, hosts, before);
    while (!fleet.open.empty()) {
      check_moment(fleet);
      fleet.answer(below(fleet.open.size()), below(20) >= bad * bad);
      if (below(200) == 0) {
        fleet.pace.interrupt();
        if (below(2) == 0) {
          fleet.pace.abandon();
          fleet.open.clear();
        }
        fleet.look();
      }
    }
    check_end(fleet);
  }
}
