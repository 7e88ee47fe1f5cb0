// SPDX-License-Identifier: Apache-2.0
//
// Hosts pass a stream on to each other while they receive it, where that is faster than to send it
// to each of them from here: templates/relay_wire.py is what they say to each other.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "rollout/deliveries.h"
#include "topology/topology.h"

namespace ds {

class Relay {
 public:
  Relay(const RolloutOptions& options, Policy::Relay mode, Transport& transport, Status& status)
      : options_(options), mode_(mode), transport_(transport), status_(status) {}

  /// Plans how each stream travels, and starts an agent on each host that is to take part. A host
  /// that cannot have one gets its bytes from here.
  void open(const std::vector<RolloutHost*>& hosts, const Deliveries& deliveries);

  /// Adds to the request to stage what the host has to know; true: it gets its bytes from others,
  /// and none from here.
  bool tell(const RolloutHost& host, const WheelStream& stream, nlohmann::json& request) const;

  /// How long a host may wait for the bytes, beside what it does with them; generous.
  std::chrono::seconds patience(const WheelStream& stream) const;

  /// What its agent says that it has moved, and whom it found wrong. json::exception if that is
  /// none.
  void hear(RolloutHost& host, const nlohmann::json& answer);

  /// Ends all agents, and says how the bytes went.
  void close();

 private:
  struct Group {
    const WheelStream* stream = nullptr;
    std::vector<RolloutHost*> hosts;
    std::vector<std::uint64_t> kept;  ///< bytes that each has of it
    TopologyPlan plan;
  };
  struct Agent {
    int port = 0;
    std::vector<std::string> addresses;  ///< with the length of the network's prefix
  };

  void plan(Group& group) const;
  void start_agents();
  void end_agents();
  nlohmann::json peer(const RolloutHost& host) const;
  void give_parts(const Group& group);
  RolloutHost* host_of(const std::string& number) const;

  const RolloutOptions& options_;
  Policy::Relay mode_;
  Transport& transport_;
  Status& status_;
  std::vector<RolloutHost*> hosts_;
  std::map<const RolloutHost*, std::string> numbers_;  ///< each host's place, as peers know it
  std::vector<Group> groups_;                          ///< those whose streams are passed on
  std::map<const RolloutHost*, Agent> agents_;
  std::map<const RolloutHost*, nlohmann::json> parts_;  ///< "sources", "calls" of its request
  std::map<const WheelStream*, nlohmann::json> chunks_;
  std::uint64_t moved_ = 0;  ///< bytes that hosts got from hosts
};

}  // namespace ds
