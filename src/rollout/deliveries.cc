// SPDX-License-Identifier: Apache-2.0
#include "rollout/deliveries.h"

#include <algorithm>
#include <set>

#include "base/sha256.h"

namespace ds {

using nlohmann::json;

namespace {

// Each takes disk on this machine; hosts that lack what no others do get the whole wheel instead.
constexpr std::size_t most_streams = 16;

/// [0, 3, 7, 1] for 0, 1, 2, 7.
json as_runs(const std::vector<std::size_t>& indexes) {
  std::vector<std::size_t> runs;
  for (const std::size_t at : indexes) {
    if (!runs.empty() && runs[runs.size() - 2] + runs.back() == at) {
      ++runs.back();
    } else {
      runs.push_back(at);
      runs.push_back(1);
    }
  }
  return runs;
}

/// Whatever a host says, no more than `number` files.
std::vector<bool> from_runs(const std::vector<std::uint64_t>& runs, std::size_t number) {
  std::vector<bool> files(number, false);
  for (std::size_t i = 0; i + 1 < std::min(runs.size(), 2 * number + 1); i += 2) {
    for (std::uint64_t at = runs[i]; at < number && at - runs[i] < runs[i + 1]; ++at)
      files[at] = true;
  }
  return files;
}

}  // namespace

const Wheel& wheel_of(const RolloutHost& host, std::size_t at) {
  return *host.set->parcels[at].wheel;
}

Lack read_lack(const json& answer, const Wheel& wheel) {
  Lack lack;
  lack.files =
      from_runs(answer.at("lacking").get<std::vector<std::uint64_t>>(), wheel.entries.size());
  if (answer.at("zstd").get<bool>())
    lack.packing = StreamPacking::zstd;
  if (answer.at("part").is_object()) {
    lack.kept = answer["part"].at("bytes").get<std::uint64_t>();
    lack.kept_sha256 = answer["part"].at("sha256").get<std::string>();
  }
  return lack;
}

Streams::Streams(const RolloutOptions& options)
    : folder_(options.scratch.empty() ? std::filesystem::temp_directory_path() : options.scratch) {}

const WheelStream& Streams::of(const Wheel& wheel, const Lack& lack) {
  Key key{&wheel, lack.files, lack.packing};
  if (made_.size() >= most_streams && !made_.contains(key))
    std::get<1>(key).assign(lack.files.size(), true);
  const auto found = made_.find(key);
  if (found != made_.end())
    return found->second;
  WheelStream stream = make_stream(wheel, std::get<1>(key), lack.packing, folder_);
  return made_.emplace(std::move(key), std::move(stream)).first->second;
}

Deliveries make_deliveries(std::size_t at, const Lacks& lacks, Streams& streams) {
  Deliveries deliveries;
  std::map<const WheelStream*, std::set<std::uint64_t>> sizes;
  for (const auto& [host, lack] : lacks) {
    const WheelStream& stream = streams.of(wheel_of(*host, at), lack);
    deliveries[host] = {&stream, 0, sha256_hex("")};
    if (lack.kept > 0 && lack.kept <= stream.bytes)
      sizes[&stream].insert(lack.kept);
  }
  std::map<const WheelStream*, std::map<std::uint64_t, Digest>> beginnings;
  for (const auto& [stream, of_stream] : sizes)
    beginnings[stream] = sha256_beginnings(stream->file, of_stream);
  for (auto& [host, delivery] : deliveries) {
    const Lack& lack = lacks.at(host);
    const auto& digests = beginnings[delivery.stream];
    const auto ours = digests.find(lack.kept);
    // What is no beginning of this stream is sent anew.
    if (ours == digests.end() || hex(ours->second) != lack.kept_sha256)
      continue;
    delivery.kept = lack.kept;
    delivery.kept_sha256 = lack.kept_sha256;
  }
  return deliveries;
}

json stream_json(const WheelStream& stream) {
  return {{"bytes", stream.bytes},
          {"sha256", stream.sha256},
          {"packing", stream.packing == StreamPacking::zstd ? "zstd" : "none"},
          {"files", as_runs(stream.files)}};
}

}  // namespace ds
