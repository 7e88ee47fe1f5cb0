// SPDX-License-Identifier: Apache-2.0
//
// Fleets for which one can say by hand who gets the stream from whom.
#include <doctest/doctest.h>

#include <chrono>
#include <cmath>
#include <limits>

#include "support/topology_fixture.h"

using namespace ds;

namespace {

using Numbers = std::vector<std::size_t>;

bool is_star(const TopologyPlan& plan) {
  return plan.shape == TopologyPlan::Shape::star;
}

void set_racks(TopologyRequest& request, const std::vector<std::string>& racks) {
  for (std::size_t host = 0; host < request.hosts.size(); ++host)
    request.hosts[host].rack = racks[host % racks.size()];
}

/// Edges that lead into `rack` from elsewhere.
std::size_t entries_of(const std::string& rack, const TopologyRequest& request,
                       const TopologyPlan& plan) {
  std::size_t entries = 0;
  for (std::size_t host = 0; host < request.hosts.size(); ++host) {
    const auto& parent = plan.places[host].parent;
    entries += request.hosts[host].rack == rack && (!parent || request.hosts[*parent].rack != rack);
  }
  return entries;
}

}  // namespace

TEST_CASE("topology: no host, one host, nothing to send") {
  TopologyPlan plan = plan_topology(topology_request(0));
  CHECK(is_star(plan));
  CHECK(plan.seconds == 0);
  plan = plan_topology(topology_request(1));
  CHECK(is_star(plan));
  CHECK(parents_of(plan) == "-");
  CHECK(plan.seconds == doctest::Approx(2));
  CHECK(plan.bound_seconds == doctest::Approx(2));
  CHECK(plan.explanation ==
        "1 host from the coordinator, 2.0 s; too few hosts could relay to others");
  TopologyRequest request = topology_request(16);
  request.bytes = 0;
  plan = plan_topology(request);
  CHECK(is_star(plan));
  CHECK(plan.seconds == 0);
}

TEST_CASE("topology: two hosts") {
  TopologyRequest request = topology_request(2);
  TopologyPlan plan = plan_topology(request);
  CHECK(parents_of(plan) == "- 0");
  CHECK(plan.trees == 1);
  CHECK(plan.most_hops == 2);
  CHECK(plan.star_seconds == doctest::Approx(4));
  CHECK(plan.places[0].seconds == doctest::Approx(0.4 + 2));
  CHECK(plan.seconds == doctest::Approx(0.4 + 2 + 0.008 + 0.005));
  CHECK(plan.places[0].children == Numbers{1});
  CHECK(plan.places[1].fallbacks == Numbers{});
  CHECK(plan.explanation ==
        "2 hosts in 1 chain, 2 hops, 2.4 s; star 4.0 s, no way is faster than 2.0 s");

  request.uplink = 1000 * mbit;  // 0.8 s of a star are less than what it takes to begin
  plan = plan_topology(request);
  CHECK(is_star(plan));
  CHECK(parents_of(plan) == "- -");
  CHECK(plan.trees == 0);
  CHECK(plan.most_children == 0);
  CHECK(plan.places[0].children == Numbers{});
  CHECK(plan.explanation == "2 hosts from the coordinator, 0.8 s; relaying would take 0.8 s");

  request.trees_only = true;
  plan = plan_topology(request);
  CHECK(parents_of(plan) == "- 0");
  request.hosts[1].relays = false;
  CHECK(is_star(plan_topology(request)));
}

TEST_CASE("topology: few bytes are a star") {
  TopologyRequest request = topology_request(16);
  request.bytes = 500'000;
  CHECK(is_star(plan_topology(request)));
  CHECK(plan_topology(request).seconds == doctest::Approx(0.32));
  request.bytes = 5'000'000;
  CHECK_FALSE(is_star(plan_topology(request)));
}

TEST_CASE("topology: sixteen hosts at 200 Mbit/s") {
  const TopologyPlan plan = plan_topology(topology_request(16));
  CHECK(parents_of(plan) == "- 0 0 1 1 2 2 3 3 4 4 5 5 6 6 7");
  CHECK(plan.trees == 1);
  CHECK(plan.most_children == 2);
  CHECK(plan.most_hops == 5);
  // A chunk takes 16 ms from a parent with two children; the last one's has one.
  CHECK(plan.seconds == doctest::Approx(0.4 + 2 + 3 * (0.016 + 0.005) + 0.008 + 0.005));
  CHECK(plan.star_seconds == doctest::Approx(32));
  CHECK(plan.bound_seconds == doctest::Approx(2));
  CHECK(plan.places[1].fallbacks == Numbers{});
  CHECK(plan.places[3].fallbacks == Numbers{0, 2});
  CHECK(plan.places[15].fallbacks == Numbers{3, 8, 1, 0});
  CHECK(plan.places[15].depth == 4);
  CHECK(plan.places[7].children == Numbers{15});
  CHECK(plan.explanation ==
        "16 hosts in 1 tree of up to 2 children, 5 hops, 2.5 s; star 32.0 s, no way is faster than "
        "2.0 s");
}

TEST_CASE("topology: equal links are a chain, and a tree where that is long") {
  TopologyRequest request = topology_request(16);
  request.uplink = 0;
  request.bytes = 300'000'000;
  const TopologyPlan chain = plan_topology(request);
  CHECK(parents_of(chain) == "- 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14");
  CHECK(chain.seconds == doctest::Approx(0.4 + 2.4 + 15 * 0.013));
  CHECK(chain.places[10].fallbacks == Numbers{8, 7, 6, 5, 4, 3});
  CHECK(chain.places[3].fallbacks == Numbers{1, 0});
  request.hosts.resize(1000);
  const TopologyPlan tree = plan_topology(request);
  CHECK(tree.trees == 1);
  CHECK(tree.most_children == 2);
  CHECK(tree.most_hops == 10);
  // The root has its first chunk after 8 ms and sends at half its rate, as all the others do.
  CHECK(tree.seconds == doctest::Approx(0.4 + 0.008 + 0.005 + 4.8 + 8 * (0.016 + 0.005)));
}

TEST_CASE("topology: a coordinator with a fast link has more trees") {
  TopologyRequest request = topology_request(16);
  request.bytes = 300'000'000;
  request.uplink = 4000 * mbit;
  const TopologyPlan plan = plan_topology(request);
  CHECK(plan.trees == 3);  // a fourth makes less than a hundredth
  CHECK(plan.most_children == 1);
  CHECK(parents_of(plan) == "- - - 0 1 2 3 4 5 6 7 8 9 10 11 12");
  CHECK(plan.seconds == doctest::Approx(0.4 + 2.4 + 5 * 0.013));
  CHECK(plan.places[4].fallbacks == Numbers{2, 0});  // other roots, which hang on nobody
  CHECK(plan.explanation.starts_with("16 hosts in 3 chains, 6 hops, 2.9 s; star 9.6 s"));
}

TEST_CASE("topology: nothing is known of sixty-four hosts") {
  TopologyRequest request;
  request.bytes = 300'000'000;
  request.hosts.resize(64);
  const TopologyPlan plan = plan_topology(request);
  CHECK(plan.star_seconds == doctest::Approx(64 * 2.4));
  CHECK(plan.bound_seconds == doctest::Approx(64 * 2.4 / 65).epsilon(0.02));
  CHECK(plan.bound_seconds == doctest::Approx(2.4));
  CHECK(plan.most_children == 1);
  CHECK(plan.most_hops == 64);
  // What is no number, or less than a byte in a second, is not known either.
  request.uplink = std::numeric_limits<double>::infinity();
  request.hosts[3].up = std::nan("");
  request.hosts[4].down = -1;
  request.hosts[5].down = 1e-320;
  CHECK(plan_topology(request).seconds == plan.seconds);
}

TEST_CASE("topology: three racks are entered once each") {
  TopologyRequest request = topology_request(12);
  set_racks(request, {"b", "c", "a"});
  const TopologyPlan plan = plan_topology(request);
  CHECK(plan.trees == 1);
  for (const char* rack : {"a", "b", "c"})
    CHECK(entries_of(rack, request, plan) == 1);
  CHECK(plan.explanation.starts_with("12 hosts of 3 racks in 1 tree of up to 2 children, "));
  // Rack a is 2, 5, 8, 11; the next one hangs on its first host with room.
  CHECK(plan.places[2].parent == std::nullopt);
  CHECK(plan.places[2].children == Numbers{5, 8});
  CHECK(plan.places[5].children == Numbers{0, 11});
  CHECK(plan.places[8].children == Numbers{1});

  request.uplink = 0;
  request.bytes = 300'000'000;
  const TopologyPlan chain = plan_topology(request);
  CHECK(parents_of(chain) == "11 9 - 0 1 2 3 4 5 6 7 8");
  CHECK(chain.explanation.starts_with("12 hosts of 3 racks in 1 chain, 12 hops, 2.9 s;"));
}

TEST_CASE("topology: a rack hangs where the way to the coordinator is shortest") {
  TopologyRequest request = topology_request(80);
  request.bytes = 300'000'000;
  request.uplink = 2000 * mbit;
  for (std::size_t host = 0; host < 80; ++host)
    request.hosts[host].rack = host < 40 ? "a" : host < 79 ? "b" : "c";
  const TopologyPlan plan = plan_topology(request);
  CHECK(plan.trees == 2);
  CHECK(plan.most_hops == 40);
  CHECK(plan.places[79].parent == 78);
}

TEST_CASE("topology: one rack has one way in, whatever the coordinator's link") {
  TopologyRequest request = topology_request(16);
  set_racks(request, {"r1"});
  request.bytes = 300'000'000;
  request.uplink = 4000 * mbit;
  const TopologyPlan plan = plan_topology(request);
  CHECK(plan.trees == 1);
  CHECK(entries_of("r1", request, plan) == 1);
}

TEST_CASE("topology: hosts that do not relay") {
  TopologyRequest request = topology_request(8);
  set_racks(request, {"r1"});
  request.hosts[0].relays = request.hosts[5].relays = false;
  const TopologyPlan plan = plan_topology(request);
  CHECK(plan.shape == TopologyPlan::Shape::trees);
  CHECK(plan.trees == 1);
  for (const std::size_t host : {0, 5}) {
    CHECK_FALSE(plan.places[host].parent);
    CHECK(plan.places[host].children.empty());
    CHECK(plan.places[host].fallbacks.empty());
    CHECK(plan.places[host].seconds == doctest::Approx(6));
  }
  CHECK(plan.bound_seconds == doctest::Approx(6));  // three copies leave the coordinator
  CHECK(plan.explanation.find("6 hosts of 1 rack in 1 ") == 0);
  CHECK(plan.explanation.find(", 2 hosts from the coordinator, 6.") != std::string::npos);
  for (const TopologyPlace& place : plan.places) {
    for (const std::size_t other : place.fallbacks)
      CHECK(request.hosts[other].relays);
  }

  for (std::size_t host = 0; host < 7; ++host)
    request.hosts[host].relays = false;
  CHECK(is_star(plan_topology(request)));
  CHECK(plan_topology(request).seconds == doctest::Approx(16));
}

TEST_CASE("topology: a slow host is a leaf") {
  TopologyRequest request = topology_request(6);
  request.hosts[2].down = request.hosts[2].up = 100 * mbit;
  TopologyPlan plan = plan_topology(request);
  CHECK(plan.shape == TopologyPlan::Shape::trees);
  CHECK(plan.places[2].children.empty());
  CHECK(plan.places[2].seconds == doctest::Approx(4.4).epsilon(0.02));
  for (const std::size_t host : {0, 1, 3, 4, 5})
    CHECK(plan.places[host].seconds < 2.6);

  // In a chain of racks it hangs on the last of its rack, beside the rack that comes next.
  request = topology_request(6);
  request.uplink = 0;
  request.bytes = 300'000'000;
  set_racks(request, {"a", "a", "a", "b", "b", "b"});
  request.hosts[0].up = request.hosts[0].down = 200 * mbit;
  plan = plan_topology(request);
  CHECK(parents_of(plan) == "2 - 1 2 3 4");
  CHECK(plan.places[5].seconds < 3.6);  // the slow one leaves it four fifths
  CHECK(plan.places[4].fallbacks == Numbers{2, 1});
}

TEST_CASE("topology: a host that alone is as slow as the star is no reason for a star") {
  TopologyRequest request = topology_request(64);
  request.uplink = 0;
  request.bytes = 300'000'000;
  request.hosts[7].down = 10 * mbit;
  const TopologyPlan plan = plan_topology(request);
  CHECK(plan.shape == TopologyPlan::Shape::trees);
  CHECK(plan.seconds == doctest::Approx(240));
  CHECK(plan.star_seconds == doctest::Approx(240));
  for (std::size_t host = 0; host < 64; ++host) {
    if (host != 7)
      CHECK(plan.places[host].seconds < 3.8);
  }
  CHECK_FALSE(plan.places[7].parent);
  CHECK(plan.places[7].children.empty());
  CHECK(
      plan.explanation.starts_with("63 hosts in 1 chain, 63 hops, 1 host from the coordinator, "));
}

TEST_CASE("topology: fast hosts are near the root, and have more children") {
  TopologyRequest request = topology_request(64);
  request.bytes = 300'000'000;
  request.uplink = 10'000 * mbit;
  for (const std::size_t host : {17, 40})
    request.hosts[host].up = request.hosts[host].down = 10'000 * mbit;
  const TopologyPlan plan = plan_topology(request);
  CHECK_FALSE(plan.places[17].parent);
  CHECK(plan.places[40].depth <= 1);
  CHECK(plan.places[17].children.size() == 8);
  CHECK(plan.places[0].children.size() <= 1);
  CHECK(plan.seconds < 3.2);
}

TEST_CASE("topology: who has most of the stream feeds those that lack it") {
  TopologyRequest request = topology_request(4);
  request.hosts[3].kept = 40'000'000;
  TopologyPlan plan = plan_topology(request);
  CHECK_FALSE(plan.places[3].parent);
  CHECK(plan.seconds < 1.3);
  CHECK(plan.bound_seconds == doctest::Approx(0.4));
  CHECK(plan.star_seconds == doctest::Approx(6.4));

  request.hosts[3].up = 900 * mbit;  // even before faster ones
  plan = plan_topology(request);
  CHECK_FALSE(plan.places[3].parent);
  CHECK(plan.seconds < 1.3);

  request.hosts[3].kept = 60'000'000;  // more than there is: all of it
  plan = plan_topology(request);
  CHECK(plan.places[3].seconds == doctest::Approx(0.4));
  CHECK(plan.seconds < 1.0);
  for (const std::size_t host : {0, 1, 2})
    CHECK(plan.places[host].parent);

  // One that is slow is not put before the others for it.
  request = topology_request(4);
  request.hosts[3].kept = 25'000'000;
  request.hosts[3].up = request.hosts[3].down = 20 * mbit;
  plan = plan_topology(request);
  CHECK(plan.places[3].children.empty());
  CHECK(plan.places[0].seconds < 2.7);
}

TEST_CASE("topology: hosts of one network stay together") {
  TopologyRequest request = topology_request(12);
  request.uplink = 0;
  request.bytes = 300'000'000;
  for (std::size_t host = 0; host < 12; ++host) {
    const std::string number = std::to_string(host + 1);
    const std::string network = std::to_string(host % 3);
    request.hosts[host].addresses = {
        "127.0.0.1/8",
        "::1/128",
        "fe80::" + number + "/64",
        "169.254.0." + number + "/16",
        "172.17.0.1/16",  // each has a bridge of its own of this address
        host % 2 == 0 ? "10.0." + network + "." + number + "/24"
                      : "10.0." + network + "." + std::to_string(100 + host) + "/24",
        "what is this",
        "10.0.0.300/24",
        "10.0.0.1/33",
        "10.0.0.1"};
  }
  const TopologyPlan plan = plan_topology(request);
  CHECK(parents_of(plan) == "- 9 10 0 1 2 3 4 5 6 7 8");

  // The network that most have in common counts, here a fast one of IPv6.
  for (std::size_t host = 0; host < 12; ++host)
    request.hosts[host].addresses.push_back("fd00:0:0:" + std::to_string(host / 6) +
                                            "::" + std::to_string(host + 1) + "/64");
  CHECK(parents_of(plan_topology(request)) == "- 0 1 2 3 4 5 6 7 8 9 10");
  for (std::size_t host = 0; host < 12; ++host)
    request.hosts[host].addresses.back() = "fd00::" + std::to_string(host + 1) + "/64";
  CHECK(parents_of(plan_topology(request)) == "- 0 1 2 3 4 5 6 7 8 9 10");
}

TEST_CASE("topology: racks of one network hang on each other") {
  TopologyRequest request = topology_request(16);
  for (std::size_t host = 0; host < 16; ++host) {
    request.hosts[host].rack = "r" + std::to_string(host / 4);
    request.hosts[host].addresses = {"10.0." + std::to_string(host / 4 % 2) + "." +
                                     std::to_string(host + 1) + "/24"};
  }
  const TopologyPlan plan = plan_topology(request);
  std::size_t crossings = 0;
  for (std::size_t host = 0; host < 16; ++host) {
    const auto& parent = plan.places[host].parent;
    crossings += parent && *parent / 4 % 2 != host / 4 % 2;
  }
  CHECK(plan.trees == 1);
  CHECK(crossings == 1);
}

TEST_CASE("topology: no host has more children than allowed") {
  TopologyRequest request = topology_request(30);
  request.uplink = 10 * mbit;
  for (const std::size_t most : {0, 1, 2, 3, 40}) {
    request.most_children = most;
    const TopologyPlan plan = plan_topology(request);
    CHECK(plan.most_children <= std::max<std::size_t>(most, 1));
    CHECK(plan.trees == 1);
  }
}

TEST_CASE("topology: four thousand hosts are planned at once") {
  TopologyRequest request = topology_request(4096);
  for (std::size_t host = 0; host < request.hosts.size(); ++host) {
    request.hosts[host].rack = "r" + std::to_string(host / 32);
    request.hosts[host].up = (800 + static_cast<double>(host % 400)) * mbit;
    request.hosts[host].addresses = {"10.1." + std::to_string(host / 250) + "." +
                                     std::to_string(host % 250 + 1) + "/24"};
  }
  const auto began = std::chrono::steady_clock::now();
  const TopologyPlan plan = plan_topology(request);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  CHECK(plan.shape == TopologyPlan::Shape::trees);
  CHECK(plan.seconds < 3);
  CHECK(took.count() < 20);  // with sanitizers and without optimization; see bench/topology.py
}
