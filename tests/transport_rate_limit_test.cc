// SPDX-License-Identifier: Apache-2.0
//
// The limit of bandwidth in imagined time, then what it does to an upload over a real sshd.
#include <doctest/doctest.h>
#include <sys/resource.h>

#include <map>
#include <memory>
#include <vector>

#include "base/file.h"
#include "support/sshd_host.h"
#include "transport/command_io.h"
#include "transport/rate_limit.h"

using namespace ds;
using Outcome = ExecResult::Outcome;
using namespace std::chrono_literals;

namespace {

const Clock::time_point kStart = Clock::time_point(1h);

double seconds(Clock::duration time) {
  return std::chrono::duration<double>(time).count();
}

struct Sent {
  Clock::time_point at;
  std::size_t bytes = 0;
};

/// Uploads that have bytes without end and send each piece the moment it may go, at one time.
struct Uploads {
  RateLimit limit;
  std::multimap<Clock::time_point, std::pair<int, std::size_t>> waiting;
  std::vector<Sent> sent;
  std::map<int, std::size_t> of;
  Clock::time_point now = kStart;

  Uploads(std::uint64_t rate, int number) : limit(rate) {
    for (int i = 0; i < number; ++i)
      ask(i);
  }
  void ask(int upload) {
    const RateLimit::Piece piece = limit.next(1u << 20, now);
    REQUIRE(piece.bytes > 0);
    REQUIRE(piece.from >= now);
    waiting.insert({piece.from, {upload, piece.bytes}});
  }
  /// Each piece is sent `late` after it might have been.
  void run(Clock::duration time, Clock::duration late = {}) {
    const Clock::time_point end = now + time;
    while (!waiting.empty() && waiting.begin()->first + late < end) {
      const auto [upload, bytes] = waiting.begin()->second;
      now = std::max(now, waiting.begin()->first + late);
      waiting.erase(waiting.begin());
      sent.push_back({now, bytes});
      of[upload] += bytes;
      ask(upload);
    }
    now = end;
  }
  /// The most that went in any window of `length`.
  std::size_t most_in(Clock::duration length) const {
    std::size_t most = 0, sum = 0, first = 0;
    for (const Sent& last : sent) {
      sum += last.bytes;
      while (sent[first].at + length < last.at)
        sum -= sent[first++].bytes;
      most = std::max(most, sum);
    }
    return most;
  }
  std::size_t all() const {
    std::size_t sum = 0;
    for (const Sent& one : sent)
      sum += one.bytes;
    return sum;
  }
};

std::size_t piece_of(std::uint64_t rate) {
  return RateLimit(rate).next(1u << 30, kStart).bytes;
}

/// What one that is fed as the sessions do it has got after `time`, at the moments it asks for.
struct Fed {
  CommandIo& io;
  Clock::time_point now;
  std::size_t bytes = 0, turns = 0;

  void run(Clock::duration time) {
    for (const Clock::time_point end = now + time;; ++turns) {
      for (std::string_view piece; !(piece = io.next(now)).empty(); io.consume(piece.size(), now))
        bytes += piece.size();
      REQUIRE(io.too_late(now) == "");
      if (io.resumes() >= end)
        break;
      REQUIRE(io.resumes() > now);
      CHECK_FALSE(io.feeds());
      CHECK_FALSE(io.input_over());
      now = io.resumes();
    }
  }
};

Exec upload(const std::filesystem::path& file, std::chrono::milliseconds limit) {
  Exec exec;
  exec.script = "cksum";
  exec.input.bytes = "the beginning\n";
  exec.input.file = file;
  exec.time_limit = limit;
  return exec;
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

}  // namespace

TEST_CASE("rate limit: is kept in every window, and used") {
  const std::pair<std::uint64_t, Clock::duration> rates[] = {
      {1024, 3600s}, {300'000, 60s}, {20u << 20, 3s}, {3ull << 30, 20ms}};
  for (const auto& [rate, time] : rates) {
    for (const int number : {1, 3, 64}) {
      CAPTURE(rate);
      CAPTURE(number);
      Uploads uploads(rate, number);
      uploads.run(time);
      for (const auto length : {1ms, 10ms, 100ms, 1000ms, 30'000ms}) {
        const double most = static_cast<double>(rate) * seconds(length + RateLimit::kCatchUp) +
                            static_cast<double>(piece_of(rate));
        CHECK(static_cast<double>(uploads.most_in(length)) <= most + 1);
      }
      CHECK(static_cast<double>(uploads.all()) >= static_cast<double>(rate) * seconds(time) * 0.99);
    }
  }
  // The highest that an option can say.
  RateLimit fast(1'000'000'000'000'000'000);
  for (int i = 0; i < 100; ++i)
    CHECK(fast.next(1u << 20, kStart).from == kStart);
}

TEST_CASE("rate limit: a loop that turns late loses nothing, and a pause gives no burst") {
  const std::uint64_t rate = 100u << 20;
  Uploads uploads(rate, 1);
  uploads.run(5s, 1ms);
  CHECK(static_cast<double>(uploads.all()) >= 5.0 * static_cast<double>(rate) * 0.99);
  // Nobody sends for a minute; only kCatchUp of it is made up for.
  uploads.waiting.clear();
  uploads.now += 60s;
  uploads.sent.clear();
  uploads.ask(0);
  uploads.run(1s);
  CHECK(static_cast<double>(uploads.all()) <=
        static_cast<double>(rate) * seconds(1s + RateLimit::kCatchUp) +
            static_cast<double>(piece_of(rate)));
}

TEST_CASE("rate limit: uploads take turns, and one that takes nothing holds up nobody") {
  const std::uint64_t rate = 1u << 20;
  Uploads uploads(rate, 64);
  uploads.run(60s);
  REQUIRE(uploads.of.size() == 64);
  const auto [least, most] =
      std::minmax_element(uploads.of.begin(), uploads.of.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; });
  CHECK(most->second - least->second <= piece_of(rate));
  // 63 of them stop to take what is theirs: the last one has the whole line.
  std::erase_if(uploads.waiting, [](const auto& piece) { return piece.second.first != 7; });
  uploads.of.clear();
  uploads.run(60s);
  CHECK(static_cast<double>(uploads.of[7]) >= 0.96 * 60 * static_cast<double>(rate));
}

TEST_CASE("rate limit: what is held back is not late") {
  TempDir folder;
  const std::filesystem::path file = folder.path() / "file";
  write_file(file, std::string(1'000'000, 'x'));
  // 10 KiB/s: a piece of 4 KiB takes longer than the stall limit.
  RateLimit limit(10 * 1024);
  WholeIo whole(upload(file, 1s), "sudo\n", 300ms, &limit);
  whole.start(kStart);
  whole.begin(kStart);
  CHECK(whole.next(kStart) == "sudo\n");
  Fed fed{whole, kStart};
  fed.run(30s);
  CHECK(fed.bytes > 300'000);
  CHECK(fed.bytes < 312'000);
  CHECK(fed.turns <= 2 * fed.bytes / 4096);
  // The piece is his, and he does not take it.
  fed.now = whole.resumes();
  REQUIRE_FALSE(whole.next(fed.now).empty());
  CHECK(whole.resumes() == Clock::time_point::max());
  CHECK(whole.deadline() == fed.now + 300ms);
  CHECK(whole.too_late(fed.now + 299ms) == "");
  CHECK(whole.too_late(fed.now + 300ms) == "no byte of the upload moved in 0.3 s");

  // The command's own time runs on: from the end of what was held back a second is left, at most.
  RateLimit other(100 * 1024);
  WholeIo second(upload(file, 1s), "", 300ms, &other);
  second.start(kStart);
  second.begin(kStart);
  Fed rest{second, kStart};
  rest.run(20s);
  CHECK(rest.bytes == 1'000'014);
  CHECK(second.input_over());
  second.input_closed(rest.now);
  CHECK(second.resumes() == Clock::time_point::max());
  CHECK(second.too_late(rest.now + 900ms) == "");
  CHECK(second.too_late(rest.now + 1s) == "the command took longer than 1 s");
}

TEST_CASE("rate limit: of a conversation holds back files alone, and no answer's limit") {
  TempDir folder;
  const std::filesystem::path file = folder.path() / "file";
  write_file(file, std::string(200'000, 'x'));
  RateLimit limit(10 * 1024);
  ConversationIo io(Exec{}, 300ms, &limit);
  io.set_preamble("sudo\n");
  io.start(kStart);
  io.begin(kStart);
  io.send({std::string(1'000'000, 'r') + "\n", {}, 0}, 1s, kStart);
  Fed fed{io, kStart};
  CHECK(io.wants_turn());
  io.admit(kStart);
  fed.run(1ms);
  CHECK(fed.bytes == 1'000'006);
  io.answered();
  io.send({"put\n", file, 0}, 1s, fed.now);
  CHECK(io.wants_turn());
  io.admit(fed.now);
  // A line behind an upload stands in line, as ever.
  io.send({"line\n", {}, 0}, 1s, fed.now);
  fed.run(10s);
  CHECK(fed.bytes > 1'100'000);
  CHECK(io.sent() < 110'000);
  CHECK(io.under_way());
  CHECK(io.deadline() == Clock::time_point::max());
  fed.run(20s);
  CHECK(io.sent() == 200'000);
  CHECK(fed.bytes == 1'200'015);
  CHECK(io.resumes() == Clock::time_point::max());
  CHECK(io.deadline() == fed.now + 1s);
  io.answered();

  // One whose turn has come and who does not take it stands still.
  io.send({"put\n", file, 0}, 1s, fed.now);
  io.admit(fed.now);
  fed.run(1s);
  fed.now = io.resumes();
  REQUIRE_FALSE(io.next(fed.now).empty());
  CHECK(io.deadline() == fed.now + 300ms);
  CHECK(io.too_late(fed.now + 300ms) == "no byte of the upload moved in 0.3 s");
}

TEST_CASE("rate limit: over sshd, but not of commands without a file nor on this machine") {
  if (!SshdHost::possible("rate limit: over sshd"))
    return;
  SshdHost host;
  TempDir folder;
  const std::filesystem::path file = folder.path() / "file", large = folder.path() / "large";
  write_file(file, std::string(24'000, 'x'));
  write_file(large, std::string(3'000'000, 'x'));
  const std::string sum =
      split_words(shell("(echo the beginning; cat " + file.string() + ") | cksum").output).front() +
      " 24014";
  Endpoint here = SshdHost::endpoint("here");
  here.kind = Endpoint::Kind::local;
  for (const SshBackend backend : {SshBackend::libssh2, SshBackend::openssh}) {
    CAPTURE(static_cast<int>(backend));
    TransportOptions options = host.options();
    options.backend = backend;
    // 3 x 24 kB at 30 kB/s; between two pieces of one host pass 0.4 s.
    options.bytes_per_second = 30'000;
    options.stall_timeout = 250ms;
    const std::unique_ptr<Transport> transport = make_transport(options);
    std::map<std::string, ExecResult> ends;
    const auto start = [&](const Endpoint& endpoint, Exec exec) {
      transport->start(endpoint, std::move(exec), [&ends, name = endpoint.name](ExecResult result) {
        ends[name] = std::move(result);
      });
    };
    start(SshdHost::endpoint("n1"), upload(file, 20s));
    start(SshdHost::endpoint("n2"), upload(file, 20s));
    Exec quick;
    quick.script = "cat";
    quick.input.bytes = "quick";
    start(SshdHost::endpoint("n3"), std::move(quick));
    start(here, upload(large, 20s));
    std::vector<std::string> heard;
    const std::unique_ptr<Conversation> talk = transport->converse(
        SshdHost::endpoint("n4"), upload(file, 20s),
        [&heard](std::string_view line) { heard.emplace_back(line); },
        [&ends](ExecResult result) { ends["n4"] = std::move(result); });
    talk->end(20s);
    const double cpu = cpu_seconds();
    const auto began = Clock::now();
    transport->run();
    CHECK(seconds(Clock::now() - began) > 72'000 / 30'000.0 - 0.3);
    CHECK(cpu_seconds() - cpu < 1);
    REQUIRE(ends.size() == 5);
    for (const auto& [name, end] : ends) {
      CAPTURE(name);
      CAPTURE(end.message);
      CHECK(end.ok());
    }
    CHECK(ends["n1"].out.starts_with(sum));
    CHECK(ends["n2"].out.starts_with(sum));
    CHECK(ends["n3"].out == "quick");
    REQUIRE(heard.size() == 1);
    CHECK(heard.front().starts_with(sum));
    // At that rate it would take a hundred.
    CHECK(ends["here"].seconds < 20);
  }
}
