// SPDX-License-Identifier: Apache-2.0
#include "journal/journal.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/stat.h>

#include <chrono>
#include <map>
#include <random>

#include "support/journal_fixture.h"

using namespace ds;

namespace {

struct Folder {
  TempDir temporary;
  std::filesystem::path path = temporary.path() / "state" / "ds-deploy";
  std::filesystem::path file = path / "journal.db";
};

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::vector<std::string> ids(const std::vector<RunRecord>& runs) {
  std::vector<std::string> ids;
  for (const RunRecord& run : runs)
    ids.push_back(run.id);
  return ids;
}

}  // namespace

TEST_CASE("journal: a run, from its beginning to its end") {
  const Folder folder;
  CHECK_FALSE(JournalReader::open(folder.path));
  Journal journal = Journal::open(folder.path);
  CHECK(journal.network().empty());
  RunRecord run = some_run();
  const std::vector<ArtifactRecord> artifacts = {
      {sha('b'), "two.whl", "/home/eve/dist/two.whl", 5'000'000'000},
      {sha('a'), "one.whl", "/home/eve/dist/one.whl", 0}};
  journal.begin_run(run, artifacts, some_hosts(2));

  std::optional<JournalReader> reader = JournalReader::open(folder.path);
  REQUIRE(reader);
  CHECK(reader->runs(10) == std::vector<RunRecord>{run});
  CHECK(reader->run(run.id) == run);
  CHECK(reader->artifacts(run.id) == artifacts);
  CHECK(reader->hosts(run.id) == some_hosts(2));
  CHECK(reader->transitions(run.id).empty());
  CHECK(reader->text(run.id, RunText::policy).empty());

  journal.set_epoch(run.id, 8);
  journal.keep(run.id, RunText::policy, "strategy: rolling\n# second line\n");
  journal.keep(run.id, RunText::inventory, "n0 slots=8\nn1 slots=8\n");
  journal.keep(run.id, RunText::audit, "{}");
  journal.keep(run.id, RunText::audit, R"({"hosts":[]})");
  journal.keep(run.id, RunText::facts, R"({"classes":[]})");
  journal.announce(run.id, some_wave(2, "staged", "active", "activate"));
  journal.announce(run.id, {{"n1", "active", "failed", "confirm", "self-test failed", 0, 0}});
  journal.decide(run.id, {"roll-back", {"n1", "n0"}, "n1 failed", 0, 0});
  journal.announce(run.id, {{"n1", "failed", "rolled-back", "rollback", "", 0, 0}});
  journal.finish_run(run.id, 4, R"({"exit_status":4})");

  run = reader->run(run.id);
  CHECK(run.epoch == 8);
  CHECK(run.exit_status == 4);
  REQUIRE(run.ended);
  CHECK(*run.ended > 1'700'000'000);
  CHECK(reader->text(run.id, RunText::policy) == "strategy: rolling\n# second line\n");
  CHECK(reader->text(run.id, RunText::inventory) == "n0 slots=8\nn1 slots=8\n");
  CHECK(reader->text(run.id, RunText::audit) == R"({"hosts":[]})");
  CHECK(reader->text(run.id, RunText::report) == R"({"exit_status":4})");
  CHECK(reader->text(run.id, RunText::facts) == R"({"classes":[]})");

  const std::vector<TransitionRecord> all = reader->transitions(run.id);
  REQUIRE(all.size() == 4);
  CHECK(all[0].sequence == 1);
  CHECK(all[1].from == "staged");
  CHECK(all[2].message == "self-test failed");
  CHECK(all[3].sequence == 5);  // the decision is the fourth record
  CHECK(all[0].time_ms / 1000 <= *run.ended);
  CHECK(reader->transitions(run.id, "n1").size() == 3);
  const std::vector<DecisionRecord> decisions = reader->decisions(run.id);
  REQUIRE(decisions.size() == 1);
  CHECK(decisions[0].sequence == 4);
  CHECK(decisions[0].what == "roll-back");
  CHECK(decisions[0].because == "n1 failed");
  CHECK(decisions[0].hosts == std::vector<std::string>{"n1", "n0"});
  const std::vector<HostRecord> hosts = reader->hosts(run.id);
  CHECK(hosts[0].state == "active");
  CHECK(hosts[0].before == std::vector<std::string>{sha('0')});
  CHECK(hosts[1].state == "rolled-back");
  CHECK(hosts[1].step == "rollback");
  CHECK(hosts[1].time_ms == all[3].time_ms);
}

TEST_CASE("journal: the folder is private, and where XDG says") {
  const Folder folder;
  Journal::open(folder.path);
  struct stat status {};
  REQUIRE(::stat(folder.path.c_str(), &status) == 0);
  CHECK((status.st_mode & 07777) == 0700);
  CHECK(state_home().filename() == "ds-deploy");
  // With a slash at its end, and there already.
  CHECK(Journal::open(folder.path.string() + "/").runs(1).empty());
}

TEST_CASE("journal: targets can come later, and the last word counts") {
  const Folder folder;
  Journal journal = Journal::open(folder.path);
  const RunRecord run = some_run();
  journal.begin_run(run, {}, {});
  CHECK(journal.hosts(run.id).empty());
  journal.set_targets(run.id, {{sha('a'), "a.whl", "/a.whl", 1}}, some_hosts(3));
  journal.set_targets(run.id, {{sha('a'), "a.whl", "/moved/a.whl", 1}, {sha('b'), "b", "/b", 2}},
                      {{"n1", {sha('c')}, {}, {}, {}, {}, 0}, {"new", {}, {}, {}, {}, {}, 0}});
  journal.set_targets(run.id, {}, {{"newer", {}, {}, {}, {}, {}, 0}});
  const std::vector<HostRecord> hosts = journal.hosts(run.id);
  REQUIRE(hosts.size() == 5);
  CHECK(hosts[1].name == "n1");
  CHECK(hosts[1].wanted == std::vector<std::string>{sha('c')});
  CHECK(hosts[1].before.empty());
  CHECK(hosts[3].name == "new");
  CHECK(hosts[4].name == "newer");
  CHECK(journal.artifacts(run.id)[0].path == "/moved/a.whl");
  CHECK(journal.artifacts(run.id).size() == 2);
}

TEST_CASE("journal: runs are found by the beginning of their id") {
  const Folder folder;
  Journal journal = Journal::open(folder.path);
  CHECK(has(refusal_of([&] { journal.run("2026"); }),
            "2: the journal has no run '2026'; it has none"));
  for (const char* id : {"20261123-1", "20261124-1", "20261124-12", "20261125-%_"})
    journal.begin_run(some_run(id), {}, {});
  CHECK(ids(journal.runs(2)) == std::vector<std::string>{"20261125-%_", "20261124-12"});
  CHECK(journal.run("20261123").id == "20261123-1");
  CHECK(journal.run("20261124-1").id == "20261124-1");
  CHECK(refusal_of([&] { journal.run("20261124"); }) ==
        "2: several runs begin with '20261124'; write more of one: 20261124-12, 20261124-1");
  CHECK(refusal_of([&] { journal.run("2027"); }) ==
        "2: the journal has no run '2027'; the newest are 20261125-%_, 20261124-12 and 2 more");
  CHECK(has(refusal_of([&] { journal.run(""); }), "no run ''"));
  CHECK(has(refusal_of([&] { journal.run("2026%"); }), "no run"));
  CHECK(has(refusal_of([&] { journal.run("'; DROP TABLE runs; --"); }), "no run"));
  CHECK(journal.runs(10).size() == 4);
}

TEST_CASE("journal: what runs left to do, until a decision says that it is done") {
  const Folder folder;
  Journal journal = Journal::open(folder.path);
  CHECK(journal.debts().empty());
  std::vector<HostRecord> hosts = some_hosts(4);
  for (HostRecord& host : hosts)
    host.environment = "/opt/venv/bin/python";
  const std::string env = hosts[0].environment;
  journal.begin_run(some_run("r1"), {}, hosts);
  journal.decide("r1", {"leave-out", {"n1", "n2"}, "unreachable", 0, 0});
  journal.decide("r1", {"owe-gpu-proof", {"n0", "n3"}, "", 0, 0});
  journal.decide("r1", {"confirm", {"n0", "n3"}, "", 0, 0});
  journal.decide("r1", {"owe-nothing", {"n3"}, "", 0, 0});
  const DebtRecord n1{"n1", env, "r1"}, n2{"n2", env, "r1"}, n0{"n0", env, "r1", true};
  CHECK(journal.debts() == std::vector<DebtRecord>{n1, n2, n0});
  CHECK(JournalReader::open(folder.path)->hosts("r1")[2].environment == env);
  // A run that only targets them changes nothing of it, and another environment is another matter.
  HostRecord other = hosts[1];
  other.environment = "/opt/other/bin/python";
  journal.begin_run(some_run("r2"), {}, {other, hosts[2], hosts[0]});
  CHECK(journal.debts() == std::vector<DebtRecord>{n1, n2, n0});
  journal.decide("r2", {"served", {"n2"}, "", 0, 0});
  journal.decide("r2", {"leave-out", {"n1"}, "busy", 0, 0});
  const DebtRecord again{"n1", other.environment, "r2"};
  CHECK(journal.debts() == std::vector<DebtRecord>{n1, n0, again});
  // A newer run's release in place of an older one's; one host can owe both.
  journal.begin_run(some_run("r3"), {}, {hosts[1]});
  journal.decide("r3", {"leave-out", {"n1"}, "", 0, 0});
  journal.decide("r3", {"owe-gpu-proof", {"n1"}, "", 0, 0});
  const DebtRecord newer{"n1", env, "r3"}, proof{"n1", env, "r3", true};
  CHECK(journal.debts() == std::vector<DebtRecord>{n0, again, newer, proof});
}

TEST_CASE("journal: one of the first version is read, and brought up to date by the next run") {
  const Folder folder;
  {
    Journal journal = Journal::open(folder.path);
    journal.begin_run(some_run(), {}, some_hosts(2));
  }
  by_hand(folder.file, "ALTER TABLE hosts DROP COLUMN environment");
  by_hand(folder.file, "PRAGMA user_version = 1");
  {
    const auto reader = JournalReader::open(folder.path);
    REQUIRE(reader);
    CHECK(reader->hosts(some_run().id) == some_hosts(2));
    CHECK(reader->debts().empty());
  }
  Journal journal = Journal::open(folder.path);
  CHECK(journal.hosts(some_run().id) == some_hosts(2));
  journal.begin_run(some_run("next-1"), {}, some_hosts(1));
  CHECK(by_hand(folder.file, "PRAGMA user_version") == "2\n");
}

TEST_CASE("journal: what contradicts itself is refused, and leaves nothing") {
  const Folder folder;
  Journal journal = Journal::open(folder.path);
  const RunRecord run = some_run();
  journal.begin_run(run, {}, some_hosts(1));
  CHECK(has(refusal_of([&] { journal.begin_run(run, {}, {}); }), "1: the journal "));
  std::vector<TransitionRecord> wave = some_wave(2, "a", "b", "s");
  CHECK(has(refusal_of([&] { journal.announce(run.id, wave); }), "FOREIGN KEY"));
  CHECK(journal.transitions(run.id).empty());
  CHECK(has(refusal_of([&] {
              journal.decide(run.id, {"confirm", {"n0", "n7"}, "", 0, 0});
            }),
            "FOREIGN KEY"));
  CHECK(journal.decisions(run.id).empty());
  CHECK(has(refusal_of([&] { journal.set_epoch("other", 1); }), "has no run other"));
  CHECK(has(refusal_of([&] { journal.keep("other", RunText::audit, ""); }), "FOREIGN KEY"));
  CHECK(has(refusal_of([&] { journal.keep(run.id, RunText::audit, std::string(65 << 20, 'x')); }),
            "1: a text of 68.2 MB is too long for the journal"));
  journal.finish_run(run.id, 0, "{}");
  CHECK(has(refusal_of([&] { journal.finish_run(run.id, 1, "no"); }), "that goes on"));
  CHECK(journal.run(run.id).exit_status == 0);
  CHECK(journal.text(run.id, RunText::report) == "{}");
}

TEST_CASE("journal: any bytes go in, clean text comes out") {
  const Folder folder;
  Journal journal = Journal::open(folder.path);
  RunRecord run = some_run();
  run.words = {std::string("nul\0\xff", 5), "two\nlines", "\x1b[31mred"};
  journal.begin_run(run, {}, {{"n\x1b]0;x", {}, {}, {}, {}, {}, 0}});
  journal.keep(run.id, RunText::inventory, "n0 \xe2\x80\xae#\n\x1b[2J");
  CHECK(journal.run(run.id).words ==
        std::vector<std::string>{"nul\\x00\\xff", "two lines", "\\x1b[31mred"});
  CHECK(journal.hosts(run.id)[0].name == "n\\x1b]0;x");
  CHECK(journal.text(run.id, RunText::inventory) == "n0 \xEF\xBF\xBD#\n\\x1b[2J");
  // Kept as they were given.
  CHECK(by_hand(folder.file, "SELECT hex(word) FROM words WHERE position = 0") == "6E756C00FF\n");
}

TEST_CASE("journal: a wave of a thousand hosts is announced within 100 ms") {
  const Folder folder;
  Journal journal = Journal::open(folder.path);
  const RunRecord run = some_run();
  journal.begin_run(run, {}, some_hosts(1000));
  double best = 1e9;
  for (int round = 0; round < 5; ++round) {
    const std::vector<TransitionRecord> wave = some_wave(1000, "staged", "active", "activate");
    const auto start = std::chrono::steady_clock::now();
    journal.announce(run.id, wave);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    best = std::min(best, took.count());
  }
  CHECK(best < 100);
  CHECK(journal.transitions(run.id).size() == 5000);
  CHECK(journal.hosts(run.id).back().state == "active");
}

TEST_CASE("journal: transitions, replayed in order, give the states of the hosts") {
  const std::vector<std::string> states = {"pending",   "ready",       "staged",
                                           "verified",  "active",      "failed",
                                           "confirmed", "rolled-back", "unknown"};
  for (unsigned seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    const auto below = [&](std::size_t limit) { return random() % limit; };
    const Folder folder;
    Journal journal = Journal::open(folder.path);
    const int hosts = 1 + static_cast<int>(below(30));
    std::vector<std::string> runs = {"a-1", "a-2"};
    for (const std::string& id : runs)
      journal.begin_run(some_run(id), {}, some_hosts(hosts));
    for (std::size_t round = below(40); round > 0; --round) {
      const std::string& run = runs[below(2)];
      std::vector<TransitionRecord> wave;
      for (std::size_t left = below(50); left > 0; --left) {
        wave.push_back({"n" + std::to_string(below(hosts)), states[below(states.size())],
                        states[below(states.size())], "step", std::to_string(random()), 0, 0});
      }
      journal.announce(run, wave);
      if (below(4) == 0)
        journal.decide(run, {"confirm", {"n0"}, "", 0, 0});
    }
    for (const std::string& run : runs) {
      std::map<std::string, TransitionRecord> replayed;
      std::int64_t sequence = 0;
      for (const TransitionRecord& transition : journal.transitions(run)) {
        CHECK(transition.sequence > sequence);
        sequence = transition.sequence;
        replayed[transition.host] = transition;
      }
      for (const HostRecord& host : journal.hosts(run)) {
        const TransitionRecord& last = replayed[host.name];
        CHECK(host.state == last.to);
        CHECK(host.message == last.message);
        CHECK(host.time_ms == last.time_ms);
      }
    }
  }
}

TEST_CASE("journal: a run that goes on is told from one that died") {
  RunRecord run = some_run();
  CHECK(life_of(run) == RunLife::runs);
  run.machine = "elsewhere";
  CHECK(life_of(run) == RunLife::unknown);
  run.machine = host_name();
  run.process.started += 1;  // the number was given again
  CHECK(life_of(run) == RunLife::died);
  run.process = this_process();
  run.process.boot = "00000000-0000-0000-0000-000000000000";
  CHECK(life_of(run) == RunLife::died);
  run.process.boot.clear();
  CHECK(life_of(run) == RunLife::unknown);
  run.ended = 1;
  CHECK(life_of(run) == RunLife::ended);

  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const ProcessRecord self = this_process();
    const bool told = ::write(ends[1], &self.started, sizeof self.started) > 0;
    ::pause();
    ::_exit(told ? 0 : 1);
  }
  run = some_run();
  run.process.pid = child;
  REQUIRE(::read(ends[0], &run.process.started, sizeof run.process.started) > 0);
  CHECK(life_of(run) == RunLife::runs);
  ::kill(child, SIGKILL);
  siginfo_t ended{};
  ::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOWAIT);
  CHECK(life_of(run) == RunLife::died);  // not asked for yet: a zombie
  ::waitpid(child, nullptr, 0);
  CHECK(life_of(run) == RunLife::died);
  ::close(ends[0]);
  ::close(ends[1]);
}
