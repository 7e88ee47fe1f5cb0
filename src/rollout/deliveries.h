// SPDX-License-Identifier: Apache-2.0
//
// Which stream each host gets. Hosts that lack the same files of a wheel share one, made once.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <tuple>
#include <vector>

#include "rollout/rollout_state.h"

namespace ds {

/// What a host said of one wheel.
struct Lack {
  std::vector<bool> files;  ///< for each of Wheel::entries
  StreamPacking packing = StreamPacking::none;
  std::uint64_t kept = 0;   ///< bytes that an interrupted run left
  std::string kept_sha256;  ///< of these
};

using Lacks = std::map<const RolloutHost*, Lack>;  ///< without those that have the release

/// json::exception if it is none.
Lack read_lack(const nlohmann::json& answer, const Wheel& wheel);

class Streams {
 public:
  explicit Streams(const RolloutOptions& options);
  const WheelStream& of(const Wheel& wheel, const Lack& lack);

 private:
  using Key = std::tuple<const Wheel*, std::vector<bool>, StreamPacking>;
  std::filesystem::path folder_;
  std::map<Key, WheelStream> made_;
};

/// What a host gets.
struct Delivery {
  const WheelStream* stream = nullptr;
  std::uint64_t kept = 0;   ///< bytes of its beginning that are there
  std::string kept_sha256;  ///< of these
};

using Deliveries = std::map<const RolloutHost*, Delivery>;

/// Of the parcel `at` of their sets.
Deliveries make_deliveries(std::size_t at, const Lacks& lacks, Streams& streams);

/// What a host is told of it.
nlohmann::json stream_json(const WheelStream& stream);

const Wheel& wheel_of(const RolloutHost& host, std::size_t at);

}  // namespace ds
