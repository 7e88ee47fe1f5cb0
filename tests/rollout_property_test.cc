// SPDX-License-Identifier: Apache-2.0
//
// Whatever goes wrong, and in whatever order: what the report says of each host is true, the exit
// status is the brief's, and no more hosts are out than the policy lets be.
#include <doctest/doctest.h>

#include <cstdlib>

#include "support/imagined_run.h"

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
      CHECK(run.before[at].contains(host.active));
      CHECK_FALSE(run.ours(host));
      // Where an earlier run left it undecided it may go back meanwhile.
      if (run.before[at].size() == 1 && said.release != "")
        CHECK(said.release == join(host.active, "+"));
  }
}

void check_together(const ImaginedRun& run) {
  if (!run.strict() || run.decided)
    return;
  for (std::size_t at = 0; at < run.fleet.entries.size(); ++at) {
    if (run.takes_part(at) && run.moves(at) && run.report.hosts[at].state != HostState::unknown &&
        run.report.hosts[at].step != "rollback")
      CHECK(run.fleet.entries[at].host.active != run.wanted);
  }
}

void check_sent(const ImaginedRun& run) {
  bool any_bad = false;
  for (const ImaginedStart& start : run.script.hosts)
    any_bad |= start.bad != ImaginedStart::Bad::no;
  for (std::size_t at = 0; at < run.fleet.entries.size(); ++at)
    CHECK_FALSE((run.fleet.entries[at].asked && (any_bad || !run.takes_part(at))));
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

}  // namespace

TEST_CASE("rollout property: a thousand scripts of faults") {
  constexpr unsigned first = 20261126;
  const unsigned number = std::getenv("DS_DEPLOY_LONG") != nullptr ? 20'000 : 1000;
  for (unsigned seed = first; seed < first + number; ++seed) {
    CAPTURE(seed);
    ImaginedRun run(ScriptWriter(seed).write());
    check_run(run);
  }
}
