// SPDX-License-Identifier: Apache-2.0
//
// A plan of who gets a stream from whom, and how long planning took. See topology.py.
//
//     topology-bench BYTES HOSTS HOSTS_PER_RACK RATE UPLINK
//
// RATE and UPLINK in bytes a second; 0 hosts in a rack: no rack is known. Prints {"shape",
// "seconds", "star_seconds", "bound_seconds", "trees", "most_children", "most_hops",
// "planning_ms"}.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "topology/topology.h"

using namespace ds;

int main(int argc, char** argv) {
  if (argc != 6) {
    std::fprintf(stderr, "usage: topology-bench BYTES HOSTS HOSTS_PER_RACK RATE UPLINK\n");
    return 2;
  }
  TopologyRequest request;
  request.bytes = std::strtoull(argv[1], nullptr, 10);
  request.chunk = std::clamp<std::uint64_t>(request.bytes / 1024, 1 << 20, 8 << 20);
  request.hosts.resize(std::strtoull(argv[2], nullptr, 10));
  const std::size_t per_rack = std::strtoull(argv[3], nullptr, 10);
  request.link = std::strtod(argv[4], nullptr);
  request.uplink = std::strtod(argv[5], nullptr);
  for (std::size_t host = 0; host < request.hosts.size() && per_rack > 0; ++host)
    request.hosts[host].rack = "r" + std::to_string(host / per_rack);
  const auto began = std::chrono::steady_clock::now();
  const TopologyPlan plan = plan_topology(request);
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - began;
  const nlohmann::json said = {
      {"shape", plan.shape == TopologyPlan::Shape::star ? "star" : "trees"},
      {"seconds", plan.seconds},
      {"star_seconds", plan.star_seconds},
      {"bound_seconds", plan.bound_seconds},
      {"trees", plan.trees},
      {"most_children", plan.most_children},
      {"most_hops", plan.most_hops},
      {"planning_ms", took.count()}};
  std::printf("%s\n", said.dump().c_str());
  return 0;
}
