// SPDX-License-Identifier: Apache-2.0
#include "cli/treatments.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <set>

#include "base/file.h"
#include "base/interrupt.h"
#include "base/text.h"

namespace ds {
namespace {

using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr seconds longest_pause{15};

void pause(steady_clock::duration time) {
  pollfd interrupt{interrupt_fd(), POLLIN, 0};
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(time).count();
  ::poll(&interrupt, 1, static_cast<int>(ms) + 1);
  check_interrupt();
}

/// Until no host is `meant` any more, or the limit is over. True if any was asked anew.
bool wait_for(const std::string& what, seconds limit, Session& session,
              const std::function<bool(const HostFacts&)>& meant) {
  if (limit.count() == 0 || !session.options().facts.empty())
    return false;
  const auto latest = steady_clock::now() + limit;
  const seconds step = std::clamp(limit / 20, seconds(1), longest_pause);
  std::vector<std::string> before;
  bool asked = false;
  while (true) {
    std::vector<std::string> names;
    for (const HostFacts& facts : session.fleet().hosts) {
      if (meant(facts))
        names.push_back(facts.host);
    }
    const auto left = latest - steady_clock::now();
    if (names.empty() || left <= steady_clock::duration::zero())
      return asked;
    if (names != before) {
      session.status().remark(
          fmt::format("waits for {} ({}), {} at most", some_of(names), what,
                      human_seconds(std::chrono::duration<double>(left).count())));
      before = names;
    }
    pause(std::min<steady_clock::duration>(left, step));
    session.ask_again({names.begin(), names.end()});
    asked = true;
  }
}

}  // namespace

Policy policy_of(const Options& options) {
  const std::string& file = options.policy;
  Policy policy =
      file.empty() ? Policy{} : read_policy(read_file(expand_home(file), 1u << 20), file);
  apply_flags(options, policy);
  return policy;
}

Policy policy_of_removal(const Options& options) {
  Policy policy;
  leave_out_what_hinders(policy);
  policy.strategy = Policy::Strategy::rolling;
  policy.max_failures = {100, true};
  policy.on_failure = Policy::OnFailure::stop;
  apply_flags(options, policy);
  return policy;
}

void leave_out_what_hinders(Policy& policy) {
  using Treatment = Policy::Treatment;
  for (const TreatmentKey& key : treatment_keys()) {
    Treatment& treatment = policy.*key.place;
    if (treatment.what != Treatment::What::proceed)
      treatment = Treatment{.what = Treatment::What::leave_out};
  }
}

void apply_flags(const Options& options, Policy& policy) {
  for (const TreatmentKey& key : treatment_keys()) {
    const auto said = options.treatments.find(key.name);
    if (said != options.treatments.end())
      apply_treatment(policy, key, said->second);
  }
  policy.accept_left_out |= options.accept_left_out;
  policy.prove_rollback |= options.prove_rollback;
  if (options.prove_rollback && policy.strategy != Policy::Strategy::canary) {
    throw UsageError("--prove-rollback is for a canary, and the policy has none",
                     "give a policy with strategy: canary, such as deploy/canary.yaml");
  }
}

std::string flags_to_leave_out(const std::vector<HostOutcome>& hosts) {
  std::set<std::string> kinds;
  for (const HostOutcome& host : hosts) {
    if (!host.left_out)
      kinds.insert(hindrance_of(host));
  }
  std::vector<std::string> flags;
  for (const TreatmentKey& key : treatment_keys()) {
    if (kinds.contains(key.name))
      flags.push_back(key.flag() + " leave-out");
  }
  return join(flags, " ");
}

void wait_for_unreachable(const Policy& policy, Session& session) {
  wait_for("no answer", policy.unreachable.wait, session, [](const HostFacts& facts) {
    return facts.state != HostFacts::State::reached && facts.state != HostFacts::State::key_refused;
  });
}

bool wait_for_busy(const Policy& policy, const std::vector<ReleaseSet>& sets, Session& session) {
  return wait_for("in use", policy.busy.wait, session, [&sets](const HostFacts& facts) {
    return facts.state == HostFacts::State::reached && !users_of(facts).empty() &&
           facts.installed.active != wanted_on(sets, facts.host);
  });
}

}  // namespace ds
