// SPDX-License-Identifier: Apache-2.0
#include "transport/loop.h"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/error.h"
#include "base/interrupt.h"

namespace ds {
Loop::Loop() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
  if (!epoll_)
    throw Error("cannot make an event loop: " + errno_text(errno));
}

void Loop::arm(Member& member) {
  const auto [known, added] = ids_.try_emplace(&member, next_id_);
  const std::uint64_t id = known->second;
  if (added)
    ++next_id_;
  Entry& entry = entries_[id];
  if (!added)
    deadlines_.erase({entry.deadline, id});
  entry = {&member, member.deadline()};
  if (entry.deadline != Clock::time_point::max())
    deadlines_.insert({entry.deadline, id});
  waits_.clear();
  member.wants(waits_);
  for (const pollfd& wait : waits_)
    watch(wait, id);
}

/// One event, then silence until the member is armed again: a descriptor that a member no longer
/// wants disturbs at most once.
void Loop::watch(const pollfd& wait, std::uint64_t id) {
  epoll_event event{};
  event.events = EPOLLONESHOT;
  if ((wait.events & POLLIN) != 0)
    event.events |= EPOLLIN;
  if ((wait.events & POLLOUT) != 0)
    event.events |= EPOLLOUT;
  event.data.u64 = id;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, wait.fd, &event) == 0)
    return;
  if (errno != ENOENT || ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wait.fd, &event) != 0)
    throw Error("cannot wait for a descriptor: " + errno_text(errno));
}

void Loop::wake(Member& member) {
  if (!ids_.contains(&member))
    arm(member);
  woken_.insert(ids_.at(&member));
}

void Loop::forget(Member& member) {
  const auto known = ids_.find(&member);
  if (known == ids_.end())
    return;
  const std::uint64_t id = known->second;
  deadlines_.erase({entries_.at(id).deadline, id});
  entries_.erase(id);
  woken_.erase(id);
  ids_.erase(known);
}

int Loop::time_left() const {
  const Clock::time_point moment = now();
  if (!woken_.empty() || !due_.empty())
    return 0;
  if (deadlines_.empty())
    return AwakeClock::longest_wait.count();
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(deadlines_.begin()->first - moment);
  return static_cast<int>(
      std::clamp<std::int64_t>(left.count(), 0, AwakeClock::longest_wait.count()));
}

bool Loop::round(Wait wait) {
  std::array<epoll_event, 256> events;
  pollfd interrupt{interrupt_fd(), POLLIN, 0};
  if (interrupt.fd >= 0)
    watch(interrupt, 0);
  const int most = wait == Wait::yes ? time_left() : 0;
  const int ready = ::epoll_wait(epoll_.get(), events.data(), events.size(), most);
  const Clock::time_point moment = clock_.after(std::chrono::milliseconds(most));
  due_.merge(woken_);
  woken_.clear();
  // An event is told once.
  for (int i = 0; i < ready; ++i)
    due_.insert(events[static_cast<std::size_t>(i)].data.u64);
  check_interrupt();
  for (auto at = deadlines_.begin(); at != deadlines_.end() && at->first <= moment; ++at)
    due_.insert(at->second);
  const bool any = !due_.empty();
  while (!due_.empty())
    give_turn(due_.extract(due_.begin()).value());
  return any;
}

void Loop::give_turn(std::uint64_t id) {
  const auto entry = entries_.find(id);
  if (entry == entries_.end())
    return;
  Member* const member = entry->second.member;
  member->turn();
  if (entries_.contains(id))
    arm(*member);
}

}  // namespace ds
