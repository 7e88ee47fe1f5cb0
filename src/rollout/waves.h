// SPDX-License-Identifier: Apache-2.0
//
// From the first host that is activated to the last that stays or went back, as Pace decides.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "rollout/pace.h"
#include "rollout/readers.h"
#include "rollout/records.h"
#include "rollout/rollout_state.h"
#include "rollout/wave_plan.h"

namespace ds {

class Waves {
 public:
  /// `hosts`, in the order in which they change, hold their releases, verified; `unavailable`
  /// others are not at a confirmed release.
  Waves(const std::vector<RolloutHost*>& hosts, const PaceLimits& limits, std::size_t unavailable,
        const std::vector<ReleaseSet>& sets, const RolloutOptions& options, Records& records,
        Transport& transport, Status& status);

  /// Until nothing is under way. What the transport throws leaves hosts as they were.
  void run();
  /// After run() threw: who is not decided goes back, who is hears it.
  void take_back(const std::string& because);

  /// Why this host was not activated; empty: for want of room in the budget.
  std::string because_for(const RolloutHost& host) const;

 private:
  enum class Move { activate, prove, keep, take_back, rehearse, watch };
  struct Mover {
    RolloutHost* host = nullptr;
    int attempts = 0;    ///< of the move that it makes now
    bool shown = false;  ///< its line of progress has ended
  };
  void run_all();
  void go_on();
  void record(const PaceOrders& orders);
  std::vector<RolloutHost*> hosts_of(const std::vector<std::size_t>& numbers) const;
  void begin(Move move, const PhaseDescription& phase, std::size_t at);
  void ended(Move move, std::size_t at, const std::string& word);
  void prepare(std::size_t at);
  void give_back();
  bool again(Move move, std::size_t at);
  void mind_the_time();
  void hold_if_late();
  void rehearsed(std::size_t at);
  void watch();
  bool asks_more(std::size_t at, std::function<void()> then);
  bool judge(std::size_t at);
  void watched(std::size_t at);
  void proved(std::size_t at, const std::string& word);
  void blame(std::size_t at) { blame(*movers_[at].host, at); }
  void blame(RolloutHost& host, std::size_t at);
  void show(std::size_t at, const std::string& word);

  std::vector<Mover> movers_;
  const RolloutOptions& options_;
  Records& records_;
  Transport& transport_;
  Status& status_;
  std::size_t at_once_;  ///< hosts, at most
  Pace pace_;
  std::string because_;
  std::map<std::size_t, std::string> because_of_class_;
  std::optional<std::chrono::steady_clock::time_point> began_;  ///< the first was activated
  std::vector<std::map<std::string, double>> took_;  ///< seconds by step, of those that stay
  std::string held_because_;  ///< no more were begun: the time would not have been enough
  std::int64_t looks_ = 0;    ///< at the canary, while it was watched
  bool decided_ = false;      ///< some were told that they stay, or all that they go back
  std::vector<std::string> culprits_;
  PhaseDescription activate_, confirm_, keep_, rehearsal_;
  Readers readers_;
  std::deque<PhaseDescription> rollbacks_;  ///< each with its reason
};

}  // namespace ds
