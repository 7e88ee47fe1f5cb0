// SPDX-License-Identifier: Apache-2.0
//
// The event loop under the engine: epoll(7), and deadlines by a clock that stands still while this
// process is stopped.
#pragma once

#include <poll.h>

#include <cstdint>
#include <map>
#include <set>
#include <unordered_map>
#include <vector>

#include "base/awake_clock.h"
#include "base/fd.h"

namespace ds {

class Loop {
 public:
  /// Something that waits for descriptors or for a time. Must be forgotten before it is destroyed.
  class Member {
   public:
    virtual ~Member() = default;
    /// Appends the descriptors that it waits for now, each once.
    virtual void wants(std::vector<pollfd>& waits) const = 0;
    /// When its turn comes without any descriptor; the far future if never.
    virtual Clock::time_point deadline() const = 0;
    /// A descriptor is ready, the deadline has passed or somebody woke it. May arm, wake and forget
    /// any member, itself too.
    virtual void turn() = 0;
  };

  Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  /// Steady time less the time that this process was stopped.
  Clock::time_point now() const { return clock_.now(); }

  /// Waits for what `member` wants now. Called by the loop after each turn; by others when a member
  /// wants something else without having had a turn.
  void arm(Member& member);
  /// `member` gets a turn in the next round, whatever it waits for.
  void wake(Member& member);
  void forget(Member& member);

  enum class Wait { no, yes };
  /// Waits until a member is due, then gives turns; false if there were none. Throws Interrupted,
  /// and what a turn throws: those who have not had their turn then get it in the next round.
  bool round(Wait wait = Wait::yes);

 private:
  struct Entry {
    Member* member = nullptr;
    Clock::time_point deadline;
  };
  void watch(const pollfd& wait, std::uint64_t id);
  int time_left() const;
  void give_turn(std::uint64_t id);

  Fd epoll_;
  std::uint64_t next_id_ = 1;  ///< 0 is the interrupt pipe
  std::unordered_map<std::uint64_t, Entry> entries_;
  std::unordered_map<const Member*, std::uint64_t> ids_;
  std::set<std::pair<Clock::time_point, std::uint64_t>> deadlines_;
  std::set<std::uint64_t> woken_;
  std::set<std::uint64_t> due_;  ///< in this round, still without a turn
  std::vector<pollfd> waits_;
  mutable AwakeClock clock_;  ///< whoever reads it may be the first to notice a stop
};

}  // namespace ds
