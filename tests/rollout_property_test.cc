// SPDX-License-Identifier: Apache-2.0
//
// Whatever goes wrong, and in whatever order: what the report says of each host is true, the exit
// status is the brief's, and no more hosts are out than the policy lets be.
#include <doctest/doctest.h>

#include <cstdlib>

#include "support/imagined_run.h"
#include "support/journal_fixture.h"

using namespace ds;

namespace {

/// By the words of the design brief alone.
int status_by_the_brief(const Report& report) {
  std::set<int> applies;
  bool all_there = true, some_back = false;
  for (const HostOutcome& host : report.hosts) {
    switch (host.state) {
      case HostState::confirmed:
      case HostState::unchanged:
        continue;
      case HostState::rolled_back:
        some_back = true;
        if (host.step != "rollback")  // else it went back with those that failed
          applies.insert(4);
        break;
      case HostState::failed:
        applies.insert(host.step == "rollback" ? 6 : host.step == "facts" ? 5 : 4);
        break;
      case HostState::refused:
        if (host.step == "audit")
          applies.insert(3);
        if (host.step == "connect")
          applies.insert(5);
        break;
      case HostState::unreachable:
      case HostState::unknown:
      case HostState::skipped:
        applies.insert(5);
        break;
      default:  // good, and held back by others or by the end of the run
        break;
    }
    all_there = false;
  }
  for (const HostOutcome& host : report.hosts) {
    if (host.key_refused || host.checksum_refused)
      applies.insert(8);
    if (host.lock_held)
      applies.insert(7);
  }
  if (report.interrupted || report.stopped)
    applies.insert(130);
  for (const int status : {6, 8, 7, 4, 130, 5, 3}) {
    if (!applies.contains(status))
      continue;
    return status == 130 && !report.interrupted ? static_cast<int>(report.stopped->status())
                                                : status;
  }
  return all_there ? 0 : some_back ? 4 : 5;
}

void check_status(const ImaginedRun& run) {
  const int status = static_cast<int>(exit_status(run.report));
  if (run.script.goal == RolloutOptions::Goal::confirmed || status != 5)
    CHECK(status == status_by_the_brief(run.report));
}

/// What is said of a host that is decided holds now, and once all time is over.
void check_decided(const ImaginedRun& run, std::size_t at, const std::string& when) {
  const HostOutcome& said = run.report.hosts[at];
  const ImaginedHost& host = run.fleet.entries[at].host;
  CAPTURE(when);
  CAPTURE(said.host);
  CAPTURE(to_string(said.state));
  CAPTURE(said.step);
  CAPTURE(said.message);
  CHECK(host.whole());
  switch (said.state) {
    case HostState::confirmed:
    case HostState::unchanged:
      if (run.missed_a_move(at))
        break;
      CHECK(host.active == run.wanted);
      CHECK_FALSE(host.trial);
      CHECK(said.release == join(host.active, "+"));
      break;
    case HostState::unknown:
      break;
    case HostState::active:
      CHECK(said.state != HostState::active);
      break;
    case HostState::failed:
      if (said.step == "rollback")
        break;
      [[fallthrough]];
    default:
      CHECK(run.had(at).contains(host.active));
      CHECK_FALSE(run.ours(host));
      // Where an earlier run left it undecided it may go back meanwhile.
      if (run.had(at).size() == 1 && said.release != "" && !run.missed_a_move(at))
        CHECK(said.release == join(host.active, "+"));
  }
}

void check_together(const ImaginedRun& run) {
  if (!run.strict() || run.decided)
    return;
  for (std::size_t at = 0; at < run.fleet.entries.size(); ++at) {
    if (run.takes_part(at) && !run.had(at).contains(run.wanted) &&
        run.report.hosts[at].state != HostState::unknown && run.report.hosts[at].step != "rollback")
      CHECK(run.fleet.entries[at].host.active != run.wanted);
  }
}

/// Nothing is said to have happened that did not.
void check_causes(const ImaginedRun& run) {
  const ImaginedScript& script = run.script;
  const auto any_at = [&script](const std::string& step) {
    return std::any_of(script.events.begin(), script.events.end(), [&](const FaultEvent& event) {
      return event.happened && event.step == step;
    });
  };
  const bool any_hit = std::any_of(run.fleet.entries.begin(), run.fleet.entries.end(),
                                   [](const ImaginedHosts::Entry& entry) { return entry.hit; });
  using Bad = ImaginedStart::Bad;
  switch (exit_status(run.report)) {
    case ExitStatus::ok:
      CHECK_FALSE(run.report.interrupted);
      CHECK_FALSE(run.report.stopped);
      break;
    case ExitStatus::rollback_failed:
      CHECK((any_at("rollback") || script.has({Fault::previous_gone})));
      break;
    case ExitStatus::key_refused:
      CHECK((any_hit || script.has_bad(Bad::key)));
      break;
    case ExitStatus::lock_held:
      CHECK(script.has({Fault::other_run, Fault::overtaken, Fault::moved_on, Fault::moved_away}));
      break;
    case ExitStatus::host_failed:
      CHECK(any_hit);
      break;
    case ExitStatus::interrupted:
      CHECK(script.has({Fault::interrupt, Fault::interrupt_after}));
      break;
    case ExitStatus::internal:
      CHECK((script.has({Fault::error, Fault::error_after, Fault::exception_after}) ||
             run.id != "run-1"));
      break;
    case ExitStatus::incompatible:
      CHECK(script.has_bad(Bad::audit));
      break;
    default:
      break;
  }
}

/// Who nothing happened to gets there, as long as no more fail than may. One that fails may be of
/// the canary.
void check_progress(const ImaginedRun& run) {
  const ImaginedScript& script = run.script;
  std::size_t hit = 0;
  for (const ImaginedHosts::Entry& entry : run.fleet.entries)
    hit += entry.hit;
  for (const ImaginedStart& start : script.hosts) {
    if (start.bad != ImaginedStart::Bad::no)
      return;
  }
  // One that says no, whatever for, has no dead-man's switch.
  const bool said_no =
      std::any_of(script.events.begin(), script.events.end(), [](const FaultEvent& event) {
        return event.happened && event.step == "show-outliving" &&
               (event.fault == Fault::no || event.fault == Fault::damaged ||
                event.fault == Fault::hostile);
      });
  const bool undefended = (said_no || script.has({Fault::unstarted, Fault::undefended})) &&
                          script.policy.without_dead_man.what == Policy::Treatment::What::stop;
  if (run.report.interrupted || run.report.stopped || undefended ||
      script.has({Fault::other_run, Fault::overtaken, Fault::moved_on, Fault::moved_away}) ||
      hit > script.policy.most_failures(script.hosts.size()) || !run.room_for(hit + 1) ||
      (hit > 0 && script.policy.strategy == Policy::Strategy::canary))
    return;
  for (std::size_t at = 0; at < run.fleet.entries.size(); ++at) {
    const HostState state = run.report.hosts[at].state;
    CAPTURE(at);
    CAPTURE(to_string(state));
    if (script.goal == RolloutOptions::Goal::staged)
      CHECK((run.fleet.entries[at].hit || !run.takes_part(at) || state == HostState::staged ||
             state == HostState::unchanged));
    else
      CHECK((run.fleet.entries[at].hit || !run.takes_part(at) || state == HostState::confirmed ||
             state == HostState::unchanged));
  }
}

void check_sent(const ImaginedRun& run) {
  bool any_bad = false;
  for (const ImaginedStart& start : run.script.hosts)
    any_bad |= start.bad != ImaginedStart::Bad::no;
  for (std::size_t at = 0; at < run.fleet.entries.size(); ++at)
    CHECK_FALSE((run.fleet.entries[at].asked && (any_bad || !run.takes_part(at))));
}

void check_journal(const ImaginedRun& run, const Journal& journal) {
  const std::string script = run.script.text();
  CAPTURE(script);
  CAPTURE(run.fleet.trace);
  const std::vector<DecisionRecord> decisions = journal.decisions(run.id);
  const bool recorded =
      std::any_of(decisions.begin(), decisions.end(),
                  [](const DecisionRecord& decision) { return decision.what == "confirm"; });
  if (run.decided)
    CHECK(recorded);
  const std::vector<HostRecord> hosts = journal.hosts(run.id);
  REQUIRE(hosts.size() == run.report.hosts.size());
  for (std::size_t at = 0; at < hosts.size(); ++at) {
    if (!run.report.stopped)
      CHECK(hosts[at].state == to_string(run.report.hosts[at].state));
  }
}

void check_run(ImaginedRun& run) {
  const std::string script = run.script.text();
  CAPTURE(script);
  CAPTURE(run.fleet.trace);
  REQUIRE(run.report.hosts.size() == run.fleet.entries.size());
  CHECK(run.fleet.contacts <= ImaginedHosts::most_contacts);
  for (const std::string& broken : run.broken)
    CHECK(broken == "");
  check_status(run);
  check_causes(run);
  check_progress(run);
  check_sent(run);
  check_together(run);
  for (std::size_t at = 0; at < run.fleet.entries.size(); ++at) {
    if (run.takes_part(at))
      check_decided(run, at, "now");
  }
  run.fleet.let_time_pass();
  for (std::size_t at = 0; at < run.fleet.entries.size(); ++at) {
    if (run.takes_part(at))
      check_decided(run, at, "later");
  }
}

/// Three hosts, all as one would hope for, but for these.
void run_three(bool rolling, std::vector<FaultEvent> events) {
  ImaginedScript script;
  script.hosts.resize(3);
  script.events = std::move(events);
  script.policy.health.command = "test -e /run/healthy";
  script.hosts[0].lacks_packages = script.hosts[0].undecided = true;
  if (rolling) {
    script.policy.strategy = Policy::Strategy::rolling;
    script.policy.max_in_flight = {1, false};
    script.policy.on_failure = Policy::OnFailure::stop;
  }
  ImaginedRun run(std::move(script));
  check_run(run);
}

/// A run "fails-012-x" gets no more than 11 records.
void limit_records(const std::filesystem::path& journal) {
  for (const std::string table : {"transitions", "decisions"}) {
    std::string sql =
        by_hand(journal, "SELECT sql FROM sqlite_master WHERE name = '" + table + "'");
    sql.insert(sql.rfind(')'), ", CHECK (sequence < CAST(substr(run, 7, 3) AS INTEGER))");
    CHECK(by_hand(journal, "DROP TABLE " + table + "; " + sql) == "");
  }
}

}  // namespace

static bool is_long() {
  const char* asked = std::getenv("DS_DEPLOY_LONG");
  return asked != nullptr && *asked != '\0';
}

/// To look at one that failed: DS_DEPLOY_SEED=20261130.
static std::optional<unsigned> asked_seed() {
  const char* asked = std::getenv("DS_DEPLOY_SEED");
  return asked != nullptr ? std::optional<unsigned>(std::atoi(asked)) : std::nullopt;
}

TEST_CASE("rollout property: a thousand scripts of faults") {
  const unsigned first = asked_seed().value_or(20261126);
  const unsigned number = asked_seed() ? 1 : is_long() ? 20'000 : 1000;
  std::set<int> statuses;
  std::set<std::string> states;
  for (unsigned seed = first; seed < first + number; ++seed) {
    CAPTURE(seed);
    ImaginedRun run(ScriptWriter(seed).write());
    check_run(run);
    statuses.insert(static_cast<int>(exit_status(run.report)));
    for (const HostOutcome& host : run.report.hosts)
      states.insert(to_string(host.state));
  }
  if (asked_seed())
    return;
  // The scripts come everywhere.
  CHECK(statuses == std::set<int>{0, 1, 3, 4, 5, 6, 7, 8, 130});
  CHECK(states == std::set<std::string>{"ready", "staged", "confirmed", "unchanged", "refused",
                                        "unreachable", "failed", "rolled-back", "skipped",
                                        "unknown"});
}

TEST_CASE("rollout property: three hosts, a fault at each step of each") {
  const bool all = is_long();
  const std::vector<std::string> changing = {"activate", "confirm", "health", "keep", "rollback"};
  for (const bool rolling : {false, true}) {
    // Until the first is activated both do the same.
    for (const std::string& step : rolling && !all ? changing : imagined_steps()) {
      for (int fault = 0; fault < fault_count; ++fault) {
        if (moves_a_host(static_cast<Fault>(fault)) && step != "begin")
          continue;
        // Where one goes after the other each place is another one; together the first will do.
        for (std::size_t host = 0; host < (all ? 3u : 1u); ++host)
          run_three(rolling, {{all || !rolling ? host : 1, step, 0, static_cast<Fault>(fault)}});
      }
    }
  }
}

TEST_CASE("rollout property: three hosts, and another fault on the way back") {
  const bool all = is_long();
  const std::vector<Fault> second = {Fault::lost,  Fault::lost_after, Fault::late,
                                     Fault::later, Fault::dead,       Fault::interrupt};
  for (const std::string step : {"activate", "confirm", "keep"}) {
    for (const Fault fault : {Fault::silent_after, Fault::late, Fault::later, Fault::time_over,
                              Fault::interrupt, Fault::error_after, Fault::dead_after}) {
      for (const Fault other : second) {
        for (std::size_t host = 0; host < (all ? 3u : 1u); ++host) {
          for (const std::string way : {"keep", "rollback"})
            run_three(all && host == 1, {{0, step, 0, fault}, {host, way, 0, other}});
        }
      }
    }
  }
}

TEST_CASE("rollout property: what the journal has, also where it fails in the middle") {
  const TempDir folder;
  Journal journal = Journal::open(folder.path());
  limit_records(folder.path() / "journal.db");
  constexpr unsigned first = 20271126;
  const unsigned number = is_long() ? 2000 : 100;
  unsigned stopped = 0;
  for (unsigned seed = first; seed < first + number; ++seed) {
    CAPTURE(seed);
    const ImaginedScript script = ScriptWriter(seed).write();
    // The number of the record that it cannot take.
    const std::string id = fmt::format("fails-{:03}-{}", seed % 3 == 0 ? 999 : seed % 53, seed);
    journal.begin_run(some_run(id), {}, some_hosts(static_cast<int>(script.hosts.size())));
    ImaginedRun run(script, id, &journal);
    check_run(run);
    check_journal(run, journal);
    stopped += run.report.stopped.has_value();
  }
  CHECK(stopped > number / 5);
}
