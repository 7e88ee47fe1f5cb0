// SPDX-License-Identifier: Apache-2.0
//
// How a wheel comes to a host: it says what it lacks, and gets that as one stream. Hosts that lack
// the same share one stream, which is made once.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "rollout/deliveries.h"
#include "rollout/relay.h"

namespace ds {
namespace {

using nlohmann::json;

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

/// What stage_phase() is about.
struct Staging {
  std::size_t at;  ///< the parcel
  bool again;
  const RolloutOptions& options;
  Contents& contents;
  const Deliveries& deliveries;
};

PhaseDescription stage_phase(const Staging& staging, Relay& relay,
                             std::vector<RolloutHost*>& left) {
  PhaseDescription phase;
  phase.name = "stage";
  phase.done_word = "staged";
  phase.time_limit = staging.options.policy.time_limits.stage;
  phase.command = [&staging, &relay](const RolloutHost& host) {
    const Delivery& delivery = staging.deliveries.at(&host);
    PhaseCommand command{{{"phase", "stage"},
                          {"run", staging.options.run},
                          {"again", staging.again},
                          {"kept", {{"bytes", delivery.kept}, {"sha256", delivery.kept_sha256}}},
                          {"stream", stream_json(*delivery.stream)}}};
    command.more = staging.contents.of(host.set->parcels[staging.at]);
    const bool by_hosts = relay.tell(host, *delivery.stream, command.request);
    if (by_hosts) {
      command.more_time = relay.patience(*delivery.stream);
    } else if (delivery.kept < delivery.stream->bytes) {
      command.file = delivery.stream->file;
      command.offset = delivery.kept;
    }
    return command;
  };
  phase.accept = [&staging, &relay](RolloutHost& host, const json& answer) {
    host.changed |= answer.value("changed", false);
    if (answer.value("ok", false))
      host.held.insert(wheel_of(host, staging.at).sha256);
    relay.hear(host, answer);
  };
  phase.forgive = [&left](RolloutHost& host, const json& answer) {
    if (!answer.value("relay_failed", false))
      return false;
    left.push_back(&host);
    return true;
  };
  return phase;
}

/// Asks what they lack and sends it; those of which other hosts could give the rest no more.
std::vector<RolloutHost*> stage_once(std::size_t at, bool again,
                                     const std::vector<RolloutHost*>& hosts,
                                     const RolloutOptions& options, Streams& streams, Relay& relay,
                                     Transport& transport, Status& status) {
  Contents contents;
  Lacks lacks;
  run_phase(lacking_phase(at, again, contents, lacks), hosts, transport, status);
  const Deliveries deliveries = make_deliveries(at, lacks, streams);
  std::vector<RolloutHost*> waiting = hosts;
  std::erase_if(waiting, [&deliveries](const RolloutHost* host) {
    return !host->good || !deliveries.contains(host);
  });
  relay.open(waiting, deliveries);
  std::erase_if(waiting, [](const RolloutHost* host) { return !host->good; });
  const Staging staging{at, again, options, contents, deliveries};
  std::vector<RolloutHost*> left;
  run_phase(stage_phase(staging, relay, left), waiting, transport, status);
  relay.close();
  return left;
}

}  // namespace

void stage_parcel(std::size_t at, bool again, const std::vector<RolloutHost*>& hosts,
                  const RolloutOptions& options, Transport& transport, Status& status) {
  if (hosts.empty())
    return;
  Streams streams(options);
  Relay relay(options, options.policy.relay, transport, status);
  const std::vector<RolloutHost*> left =
      stage_once(at, again, hosts, options, streams, relay, transport, status);
  if (left.empty())
    return;
  status.remark(
      fmt::format("{} of {} hosts could not get all from other hosts; the rest is sent "
                  "from here",
                  left.size(), hosts.size()));
  Relay none(options, Policy::Relay::off, transport, status);
  stage_once(at, again, left, options, streams, none, transport, status);
}

}  // namespace ds
