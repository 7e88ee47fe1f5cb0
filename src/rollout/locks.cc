// SPDX-License-Identifier: Apache-2.0
//
// One run at a time changes an environment, and none that a later one overtook: templates/lock.py.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "base/interrupt.h"
#include "base/random.h"
#include "base/text.h"
#include "rollout/records.h"
#include "rollout/rollout_state.h"

namespace ds {

using nlohmann::json;

namespace {

/// Epochs count runs. A host that says more has made it up; what it makes others take stays far
/// below what they call damaged.
std::int64_t highest_epoch() {
  return std::max<std::int64_t>(std::time(nullptr), 1'000'000'000);
}

}  // namespace

PhaseDescription lock_phase(const RolloutOptions& options, Status& status) {
  PhaseDescription phase;
  phase.name = "lock";
  phase.time_limit = std::chrono::minutes(2);
  const json request = {
      {"phase", "lock"},
      {"run", options.run},
      {"who", options.user},
      {"from", options.machine},
      {"since", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)))},
      {"break_lock", options.break_lock}};
  phase.command = [request](const RolloutHost&) { return PhaseCommand{request, {}}; };
  phase.accept = [&status, run = options.run](RolloutHost& host, const json& answer) {
    if (!answer.value("ok", false))
      return;
    host.trial = clean_line(answer.at("trial").get<std::string>(), 200);
    set_active(host, releases_of(answer, "active"));
    const auto epoch = answer.at("epoch").get<std::int64_t>();
    if (epoch < 0 || epoch > highest_epoch())
      throw json::other_error::create(501, "no epoch", nullptr);
    host.seen_epoch = epoch;
    host.run = run;
    add_remark(host, clean_line(answer.value("remark", ""), 500));
    const std::string before = clean_line(answer.value("taken_over", ""), 500);
    if (!before.empty())
      status.remark(host.outcome.host + ": took the lock over from " + before + ", which ended");
  };
  return phase;
}

bool take_locks(const PhaseDescription& lock, const std::vector<RolloutHost*>& hosts,
                Records& records, Transport& transport, Status& status) {
  std::vector<Endpoint> endpoints;
  for (RolloutHost* host : hosts) {
    host->lock = &lock;
    endpoints.push_back(host->host->endpoint);
  }
  transport.refuse_too_many(endpoints);
  records.announce(hosts, HostState::ready, lock.name);
  run_phase(lock, hosts, transport, status);
  std::int64_t epoch = 0;
  for (const RolloutHost* host : hosts)
    epoch = std::max(epoch, host->seen_epoch + 1);
  records.take_epoch(epoch);
  for (RolloutHost* host : hosts)
    host->epoch = epoch;
  return std::none_of(hosts.begin(), hosts.end(),
                      [](const RolloutHost* host) { return host->outcome.lock_held; });
}

void give_locks_back(const std::vector<RolloutHost*>& hosts, Transport& transport) {
  for (RolloutHost* host : hosts) {
    // One that hangs would be waited for.
    if (host->program && host->program->busy())
      host->program.reset();
    if (!host->program || !host->program->open())
      continue;
    const std::string nonce = random_nonce();
    const json request = {{"phase", "unlock"}, {"nonce", nonce}};
    host->program->ask(nonce, {request.dump() + "\n", {}, 0}, std::chrono::seconds(20),
                       [](const ExecResult&) {});
  }
  try {
    clear_interrupt();
    transport.run();
  } catch (...) {
    // Their processes end with their connections, and so do the locks.
  }
  for (RolloutHost* host : hosts)
    host->program.reset();
}

}  // namespace ds
