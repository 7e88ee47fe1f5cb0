// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <functional>

#include "report/summary.h"

namespace ds {

bool is_goal(HostState state, const Report& report) {
  if (state == HostState::unchanged || (report.dry_run && state == HostState::ready))
    return true;
  return state == report.goal;
}

namespace {

bool rollback_failed(const HostOutcome& host) {
  return host.state == HostState::failed && host.step == "rollback";
}

bool host_failed(const HostOutcome& host) {
  return (host.state == HostState::failed && host.step != "facts") ||
         (host.state == HostState::rolled_back && host.step != "rollback");
}

bool incompatible(const HostOutcome& host) {
  return host.state == HostState::refused && host.step == "audit";
}

}  // namespace

ExitStatus exit_status(const Report& report) {
  const bool accepted =
      report.accept_left_out &&
      std::any_of(report.hosts.begin(), report.hosts.end(),
                  [&report](const HostOutcome& host) { return is_goal(host.state, report); });
  const auto any = [&](const std::function<bool(const HostOutcome&)>& test) {
    return std::any_of(report.hosts.begin(), report.hosts.end(), [&](const HostOutcome& host) {
      return !(accepted && host.left_out) && test(host);
    });
  };
  if (any(rollback_failed))
    return ExitStatus::rollback_failed;
  if (any([](const HostOutcome& host) { return host.key_refused || host.checksum_refused; }))
    return ExitStatus::key_refused;
  if (any([](const HostOutcome& host) { return host.lock_held; }))
    return ExitStatus::lock_held;
  if (any(host_failed))
    return ExitStatus::host_failed;
  if (report.interrupted)
    return ExitStatus::interrupted;
  if (report.stopped)
    return report.stopped->status();
  // Good hosts that a bad one holds back are told apart from hosts that are themselves out of
  // reach.
  const auto out_of_reach = [&](const HostOutcome& host) {
    return host.state == HostState::unreachable || host.state == HostState::unknown ||
           host.state == HostState::skipped || host.state == HostState::failed ||
           (host.state == HostState::refused && host.step == "connect");
  };
  const auto out_of_work = [](const HostOutcome& host) {
    return std::find(host.owed.begin(), host.owed.end(), owed_undrain) != host.owed.end();
  };
  if (any(out_of_reach) || any(out_of_work))
    return ExitStatus::unreachable;
  if (any(incompatible))
    return ExitStatus::incompatible;
  const bool done = !any([&](const HostOutcome& host) { return !is_goal(host.state, report); });
  if (done)
    return ExitStatus::ok;
  const bool back =
      any([](const HostOutcome& host) { return host.state == HostState::rolled_back; });
  return back ? ExitStatus::host_failed : ExitStatus::unreachable;
}

}  // namespace ds
