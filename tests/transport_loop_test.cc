// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <functional>
#include <string>

#include "base/fd.h"
#include "transport/loop.h"

using namespace ds;
using namespace std::chrono_literals;

namespace {

struct Pipe {
  Pipe() {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    read = Fd(ends[0]);
    write = Fd(ends[1]);
  }
  void fill() const { REQUIRE(::write(write.get(), "x", 1) == 1); }
  Fd read, write;
};

/// Remembers its turns in a log that several share.
class Remembering : public Loop::Member {
 public:
  Remembering(std::string name, std::string& log) : name_(std::move(name)), log_(log) {}
  void wants(std::vector<pollfd>& waits) const override {
    if (fd >= 0)
      waits.push_back({fd, events, 0});
  }
  Clock::time_point deadline() const override { return due; }
  void turn() override {
    log_ += name_;
    if (on_turn)
      on_turn();
  }

  int fd = -1;
  short events = POLLIN;
  Clock::time_point due = Clock::time_point::max();
  std::function<void()> on_turn;

 private:
  std::string name_;
  std::string& log_;
};

}  // namespace

TEST_CASE("loop: deadlines come when they are due, earliest first") {
  Loop loop;
  std::string log;
  Remembering a("a", log), b("b", log), c("c", log);
  const Clock::time_point began = loop.now();
  a.due = began + 60ms;
  b.due = began + 20ms;
  for (Remembering* member : {&a, &b, &c}) {
    member->on_turn = [member] { member->due = Clock::time_point::max(); };
    loop.arm(*member);
  }
  while (log.size() < 2)
    loop.round();
  CHECK(log == "ba");
  CHECK(loop.now() - began >= 60ms);
  CHECK(loop.now() - began < 450ms);
}

TEST_CASE("loop: an earlier deadline counts from the moment it is armed") {
  Loop loop;
  std::string log;
  Remembering a("a", log);
  a.due = loop.now() + 10s;
  loop.arm(a);
  a.due = loop.now() + 10ms;
  loop.arm(a);
  a.on_turn = [&a] { a.due = Clock::time_point::max(); };
  const Clock::time_point began = loop.now();
  while (log.empty())
    loop.round();
  CHECK(loop.now() - began < 450ms);
}

TEST_CASE("loop: who is woken has one turn in the next round, ready or not") {
  Loop loop;
  std::string log;
  Pipe pipe;
  Remembering a("a", log), b("b", log);
  a.fd = pipe.read.get();
  pipe.fill();
  loop.wake(a);
  loop.wake(a);
  loop.arm(b);
  loop.round();
  CHECK(log == "a");

  SUBCASE("who is woken during a turn waits for the next round") {
    a.fd = -1;
    loop.arm(a);
    log.clear();
    a.on_turn = [&] {
      loop.wake(b);
      log += "-";
    };
    loop.wake(a);
    loop.round();
    CHECK(log == "a-");
    loop.round();
    CHECK(log == "a-b");
  }
}

TEST_CASE("loop: who is forgotten has no turn any more, not even in the round under way") {
  Loop loop;
  std::string log;
  Remembering a("a", log), b("b", log), c("c", log);
  a.on_turn = [&] { loop.forget(b); };
  c.on_turn = [&] { loop.forget(c); };
  for (Remembering* member : {&a, &b, &c})
    loop.wake(*member);
  loop.round();
  CHECK(log == "ac");
  loop.wake(a);
  loop.round();
  CHECK(log == "aca");

  loop.forget(b);
  b.due = loop.now();
  loop.arm(b);
  loop.round();
  CHECK(log == "acab");
}

TEST_CASE("loop: a descriptor disturbs once for each time that its member is armed") {
  Loop loop;
  std::string log;
  Pipe pipe, other;
  Remembering a("a", log), b("b", log);
  a.fd = pipe.read.get();
  b.fd = other.read.get();
  loop.arm(a);
  loop.arm(b);
  pipe.fill();
  loop.round();
  CHECK(log == "a");
  loop.round();
  CHECK(log == "aa");

  // It wants the descriptor no longer: one more turn at most.
  a.fd = -1;
  loop.round();
  loop.wake(b);
  loop.round();
  loop.wake(b);
  loop.round();
  CHECK(log == "aaabb");
}

TEST_CASE("loop: a member that waits for writing hears nothing of what can be read") {
  Loop loop;
  std::string log;
  Pipe pipe;
  Remembering a("a", log), tick("t", log);
  a.fd = pipe.write.get();
  a.events = POLLOUT;
  loop.arm(a);
  loop.round();
  CHECK(log == "a");
  while (::write(pipe.write.get(), "x", 1) == 1) {
  }
  a.events = POLLOUT;
  loop.arm(a);
  log.clear();
  tick.due = loop.now() + 20ms;
  tick.on_turn = [&tick] { tick.due = Clock::time_point::max(); };
  loop.arm(tick);
  while (log.find('t') == std::string::npos)
    loop.round();
  CHECK(log == "t");
}

TEST_CASE("loop: the number of a closed descriptor may come back with another member") {
  Loop loop;
  std::string log;
  Remembering a("a", log), b("b", log);
  auto first = std::make_unique<Pipe>();
  a.fd = first->read.get();
  loop.arm(a);
  const int number = a.fd;
  first.reset();
  a.fd = -1;
  Pipe second;
  REQUIRE(second.read.get() == number);
  b.fd = second.read.get();
  loop.arm(b);
  second.fill();
  loop.round();
  CHECK(log == "b");
}

TEST_CASE("loop: time in which nobody could work is no time") {
  Loop loop;
  std::string log;
  Remembering slow("s", log), other("o", log);
  const Clock::time_point began = Clock::now(), began_here = loop.now();
  Clock::time_point later_in_the_turn;
  slow.on_turn = [&] {
    ::usleep(700'000);
    later_in_the_turn = loop.now();
  };
  other.due = began_here + 600ms;
  loop.arm(other);
  loop.wake(slow);
  loop.round();
  slow.on_turn = {};
  loop.wake(slow);
  loop.round();
  CHECK(Clock::now() - began >= 700ms);
  CHECK(later_in_the_turn - began_here < 400ms);
  CHECK(loop.now() - began_here < 400ms);
  CHECK(log == "ss");
}
