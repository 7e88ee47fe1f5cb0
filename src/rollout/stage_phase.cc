// SPDX-License-Identifier: Apache-2.0
//
// How a wheel comes to a host: it says what it lacks, and gets that as one stream. Hosts that lack
// the same share one stream, which is made once.
#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "base/sha256.h"
#include "rollout/rollout_state.h"

namespace ds {
namespace {

using nlohmann::json;

// Each takes disk on this machine; hosts that lack what no others do get the whole wheel instead.
constexpr std::size_t most_streams = 16;

/// What a host said of one wheel.
struct Lack {
  std::vector<bool> files;  ///< for each of Wheel::entries
  StreamPacking packing = StreamPacking::none;
  std::uint64_t kept = 0;   ///< bytes that an interrupted run left
  std::string kept_sha256;  ///< of these
};

using Lacks = std::map<const RolloutHost*, Lack>;  ///< without those that have the release

const Wheel& wheel_of(const RolloutHost& host, std::size_t at) {
  return *host.set->parcels[at].wheel;
}

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

/// What all hosts that get a parcel are told of it.
class Contents {
 public:
  const SharedText& of(const Parcel& parcel) {
    SharedText& text = made_[&parcel];
    if (text == nullptr) {
      text = shared_text(
          {{"manifest", manifest_of(*parcel.wheel)}, {"record", release_record(parcel)}});
    }
    return text;
  }

 private:
  std::map<const Parcel*, SharedText> made_;
};

class Streams {
 public:
  explicit Streams(const RolloutOptions& options)
      : folder_(options.scratch.empty() ? std::filesystem::temp_directory_path()
                                        : options.scratch) {}

  const WheelStream& of(const Wheel& wheel, const Lack& lack) {
    Key key{&wheel, lack.files, lack.packing};
    if (made_.size() >= most_streams && !made_.contains(key))
      std::get<1>(key).assign(lack.files.size(), true);
    const auto found = made_.find(key);
    if (found != made_.end())
      return found->second;
    WheelStream stream = make_stream(wheel, std::get<1>(key), lack.packing, folder_);
    return made_.emplace(std::move(key), std::move(stream)).first->second;
  }

 private:
  using Key = std::tuple<const Wheel*, std::vector<bool>, StreamPacking>;
  std::filesystem::path folder_;
  std::map<Key, WheelStream> made_;
};

/// What a host gets.
struct Delivery {
  const WheelStream* stream = nullptr;
  std::uint64_t kept = 0;  ///< bytes of its beginning that are there
  std::string kept_sha256 = sha256_hex("");
};

using Deliveries = std::map<const RolloutHost*, Delivery>;

Deliveries make_deliveries(std::size_t at, const Lacks& lacks, Streams& streams) {
  Deliveries deliveries;
  std::map<const WheelStream*, std::set<std::uint64_t>> sizes;
  for (const auto& [host, lack] : lacks) {
    const WheelStream& stream = streams.of(wheel_of(*host, at), lack);
    deliveries[host].stream = &stream;
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

PhaseDescription lacking_phase(std::size_t at, bool again, Contents& contents, Lacks& lacks) {
  PhaseDescription phase;
  phase.name = "stage";
  phase.command = [at, again, &contents](const RolloutHost& host) {
    return PhaseCommand{.request = {{"phase", "lacking"}, {"again", again}},
                        .more = contents.of(host.set->parcels[at])};
  };
  phase.accept = [at, &lacks](RolloutHost& host, const json& answer) {
    if (!answer.value("ok", false))
      return;
    const Wheel& wheel = wheel_of(host, at);
    if (answer.at("sealed").get<bool>())
      host.held.insert(wheel.sha256);
    else
      lacks[&host] = read_lack(answer, wheel);
  };
  return phase;
}

PhaseDescription stage_phase(std::size_t at, const RolloutOptions& options, bool again,
                             Contents& contents, const Deliveries& deliveries) {
  PhaseDescription phase;
  phase.name = "stage";
  phase.done_word = "staged";
  phase.time_limit = options.policy.time_limits.stage;
  phase.command = [at, run = options.run, again, &contents, &deliveries](const RolloutHost& host) {
    const Delivery& delivery = deliveries.at(&host);
    PhaseCommand command{{{"phase", "stage"},
                          {"run", run},
                          {"again", again},
                          {"kept", {{"bytes", delivery.kept}, {"sha256", delivery.kept_sha256}}},
                          {"stream", stream_json(*delivery.stream)}}};
    command.more = contents.of(host.set->parcels[at]);
    if (delivery.kept < delivery.stream->bytes) {
      command.file = delivery.stream->file;
      command.offset = delivery.kept;
    }
    return command;
  };
  phase.accept = [at](RolloutHost& host, const json& answer) {
    host.changed |= answer.value("changed", false);
    if (answer.value("ok", false))
      host.held.insert(wheel_of(host, at).sha256);
  };
  return phase;
}

}  // namespace

void stage_parcel(std::size_t at, bool again, const std::vector<RolloutHost*>& hosts,
                  const RolloutOptions& options, Transport& transport, Status& status) {
  if (hosts.empty())
    return;
  Contents contents;
  Lacks lacks;
  run_phase(lacking_phase(at, again, contents, lacks), hosts, transport, status);
  Streams streams(options);
  const Deliveries deliveries = make_deliveries(at, lacks, streams);
  std::vector<RolloutHost*> waiting = hosts;
  std::erase_if(waiting, [&deliveries](const RolloutHost* host) {
    return !host->good || !deliveries.contains(host);
  });
  run_phase(stage_phase(at, options, again, contents, deliveries), waiting, transport, status);
}

}  // namespace ds
