// SPDX-License-Identifier: Apache-2.0
//
// The user's own commands: what takes a host out of a scheduler's work and brings it back, what
// comes before and after it changes, and whether it is healthy. On the host or here, the same for
// all.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "base/interrupt.h"
#include "base/text.h"
#include "rollout/readers.h"
#include "rollout/records.h"
#include "rollout/rollout_state.h"

namespace ds {
namespace {

constexpr int left_alone_status = 75;  ///< EX_TEMPFAIL of sysexits.h: somebody else drained it

/// "the drain hook ended with status 1: no such node"; empty: it ended well.
std::string why_failed(const ExecResult& result, const std::string& what) {
  if (result.ok())
    return "";
  if (result.outcome != ExecResult::Outcome::exited)
    return fmt::format("the {}: {}", what, result.message);
  const std::vector<std::string> said = lines(result.err.empty() ? result.out : result.err);
  return fmt::format("the {} ended with status {}{}", what, result.exit_status,
                     said.empty() ? "" : ": " + clean_line(said.back(), 300));
}

std::string variables(const RolloutOptions& options, const std::string& run,
                      const std::string& phase) {
  std::string reason = fmt::format("ds-deploy {} by {}", run, options.user);
  if (!options.message.empty())
    reason += ": " + options.message;
  return fmt::format(
      "export DS_DEPLOY_RUN={} DS_DEPLOY_USER={} DS_DEPLOY_REASON={} DS_DEPLOY_PHASE={}\n",
      shell_quote(run), shell_quote(options.user), shell_quote(clean_line(reason, 200)),
      shell_quote(phase));
}

Exec exec_of(const Policy::Hook& hook, const std::string& before) {
  Exec exec;
  exec.script = "cd /\n" + before + "exec /bin/sh -c " + shell_quote(hook.command);
  exec.time_limit = hook.time_limit;
  exec.output_limit = 1u << 20;
  exec.as_self = hook.on_coordinator;
  return exec;
}

HostState state_of(const RolloutHost& host) {
  return host.confirmed && host.good && host.outcome.state != HostState::rolled_back
             ? HostState::confirmed
             : host.outcome.state;
}

/// For a name of its own, so that none waits for another one.
Endpoint this_machine(const std::string& name) {
  Endpoint here;
  here.kind = Endpoint::Kind::local;
  here.name = name;
  return here;
}

void run_hook(const Policy::Hook& hook, const std::string& phase, RolloutHost& host,
              const RolloutOptions& options, Transport& transport,
              std::function<void(const ExecResult&)> done) {
  const std::string& name = host.outcome.host;
  const bool drains = phase == "drain" || phase == "undrain";
  const std::string& run = drains ? host.drained_by : options.run;
  std::string before;
  if (!hook.on_coordinator && !host.host->env_script.empty())
    before = ". " + shell_path(host.host->env_script) + " < /dev/null\n";
  before += variables(options, run, phase);
  before += fmt::format(
      "export DS_DEPLOY_HOST={} DS_DEPLOY_RELEASE={} DS_DEPLOY_STATE={} DS_DEPLOY_FOUND={}\n",
      shell_quote(name), shell_quote(join(host.wanted, "+")),
      shell_quote(to_string(state_of(host))), shell_quote(host.drain_before));
  const std::string step = phase == "confirm" ? "health" : phase;
  transport.start(
      hook.on_coordinator ? this_machine("coordinator for " + name) : host.host->endpoint,
      exec_of(hook, before), [&host, step, done = std::move(done)](const ExecResult& result) {
        host.outcome.seconds[step] += result.seconds;
        done(result);
      });
}

void refuse(RolloutHost& host, HostState state, const std::string& step,
            const std::string& message) {
  host.good = false;
  host.outcome.state = state;
  host.outcome.step = step;
  host.outcome.message = message;
}

void before_host(RolloutHost& host, const RolloutOptions& options, Transport& transport,
                 std::function<void(Prepared)> done) {
  host.prepared = true;
  if (options.policy.hooks.before_host.command.empty())
    return done(Prepared::yes);
  run_hook(options.policy.hooks.before_host, "before_host", host, options, transport,
           [&host, done = std::move(done)](const ExecResult& result) {
             const std::string failed = why_failed(result, "before_host hook");
             if (!failed.empty())
               refuse(host, HostState::failed, "before_host", failed);
             done(failed.empty() ? Prepared::yes : Prepared::failed);
           });
}

/// What the drain hook said; true: the host is out of work now.
bool take_drain(const ExecResult& result, RolloutHost& host, Records& records) {
  if (result.ok()) {
    const std::vector<std::string> said = lines(result.out);
    // A run that goes on with another one found what that one had made of it.
    if (host.drain_before.empty() && !said.empty())
      host.drain_before = clean_line(said.back(), 300);
    records.decide({&host}, "drained", host.drain_before);
    return true;
  }
  const std::string failed = why_failed(result, "drain hook");
  if (result.outcome != ExecResult::Outcome::exited || result.exit_status != left_alone_status) {
    refuse(host, HostState::failed, "drain", failed);
    return false;
  }
  host.drained = false;  // by no run of ours
  records.decide({&host}, "undrained", "");
  refuse(host, HostState::skipped, "drain", "somebody else drained it: " + failed);
  return false;
}

void undrain(RolloutHost& host, const RolloutOptions& options, Records& records,
             Transport& transport, std::function<void()> done) {
  if (!host.drained)
    return done();
  run_hook(options.policy.hooks.undrain, "undrain", host, options, transport,
           [&host, &records, done = std::move(done)](const ExecResult& result) {
             host.stays_drained = why_failed(result, "undrain hook");
             host.drained = !host.stays_drained.empty();
             if (!host.drained)
               records.decide({&host}, "undrained", "");
             done();
           });
}

}  // namespace

void ask_health(RolloutHost& host, const RolloutOptions& options, Transport& transport,
                std::function<void()> done) {
  run_hook(options.policy.health, "confirm", host, options, transport,
           [&host, done = std::move(done)](const ExecResult& result) {
             const std::string failed = why_failed(result, "health command");
             if (!failed.empty())
               refuse(host, HostState::failed, "health", failed);
             done();
           });
}

void prepare_host(RolloutHost& host, const RolloutOptions& options, Records& records,
                  Transport& transport, std::function<void(Prepared)> done) {
  const Policy::Hooks& hooks = options.policy.hooks;
  if (hooks.drain.command.empty())
    return before_host(host, options, transport, std::move(done));
  if (!host.drained) {
    host.drained = true;
    host.drained_by = options.run;
    records.decide({&host}, "drain", "");
  }
  run_hook(
      hooks.drain, "drain", host, options, transport,
      [&host, &options, &records, &transport, done = std::move(done)](const ExecResult& result) {
        const bool taken = take_drain(result, host, records);
        const bool others = !taken && host.outcome.state == HostState::skipped;
        if (others && options.policy.hooks.takes_drained) {
          host.good = true;
          host.outcome.state = HostState::staged;
          host.outcome.message.clear();
          add_remark(host, "somebody else drained it, and it stays so");
        }
        if (host.good)
          before_host(host, options, transport, done);
        else
          done(others ? Prepared::left_alone : Prepared::failed);
      });
}

void prepare_unit(RolloutHost& writer, const RolloutOptions& options, Records& records,
                  Transport& transport, std::function<void(Prepared)> done) {
  const std::vector<RolloutHost*> hosts = unit_of(writer);
  struct Outcome {
    std::size_t left;
    Prepared worst = Prepared::yes;
  };
  const auto outcome = std::make_shared<Outcome>(Outcome{hosts.size()});
  for (RolloutHost* host : hosts) {
    prepare_host(*host, options, records, transport, [&writer, host, outcome, done](Prepared one) {
      outcome->worst = std::max(outcome->worst, one);
      if (one != Prepared::yes && host != &writer && writer.good) {
        refuse(writer, host->outcome.state, host->outcome.step,
               "it has one environment with " + host->outcome.host + ": " + host->outcome.message);
      }
      if (--outcome->left == 0)
        done(outcome->worst);
    });
  }
}

void give_unit_back(RolloutHost& writer, const RolloutOptions& options, Records& records,
                    Transport& transport, std::function<void()> done) {
  const std::vector<RolloutHost*> hosts = unit_of(writer);
  const auto left = std::make_shared<std::size_t>(hosts.size());
  for (RolloutHost* host : hosts) {
    give_host_back(*host, options, records, transport, [left, done] {
      if (--*left == 0)
        done();
    });
  }
}

void give_host_back(RolloutHost& host, const RolloutOptions& options, Records& records,
                    Transport& transport, std::function<void()> done) {
  host.given_back = true;
  const auto then = [&host, &options, &records, &transport, done = std::move(done)] {
    undrain(host, options, records, transport, done);
  };
  if (options.policy.hooks.after_host.command.empty() || !host.prepared)
    return then();
  run_hook(options.policy.hooks.after_host, "after_host", host, options, transport,
           [&host, then](const ExecResult& result) {
             const std::string failed = why_failed(result, "after_host hook");
             if (!failed.empty())
               add_remark(host, failed);
             then();
           });
}

std::string run_hook_of_run(const Policy::Hook& hook, const std::string& phase,
                            const RolloutOptions& options, Transport& transport) {
  std::string failed;
  if (hook.command.empty())
    return failed;
  transport.start(this_machine("coordinator"),
                  exec_of(hook, variables(options, options.run, phase)),
                  [&failed, &phase](const ExecResult& result) {
                    failed = why_failed(result, phase + " hook");
                  });
  transport.run();
  return failed;
}

namespace {

/// Hosts that this run, or one that it goes on with, took out of a scheduler's work and that no
/// wave brought back; where nobody knows what is there, they stay out of it.
void return_drained(std::vector<RolloutHost>& hosts, const RolloutOptions& options,
                    Records& records, Transport& transport) {
  for (RolloutHost& host : hosts) {
    if (!host.drained || !host.stays_drained.empty())
      continue;
    if (is_lost(host.outcome.state) && host.activated)
      host.stays_drained = "nobody knows what is there";
    else
      give_host_back(host, options, records, transport, [] {});
  }
  transport.run();
}

}  // namespace

void end_hooks(std::vector<RolloutHost>& hosts, bool began, const RolloutOptions& options,
               Records& records, Transport& transport, Status& status) {
  const auto warn = [&status](const std::string& problem) {
    if (!problem.empty())
      status.warning(problem);
  };
  try {
    clear_interrupt();
    return_drained(hosts, options, records, transport);
    if (began)
      warn(run_hook_of_run(options.policy.hooks.run_end, "run_end", options, transport));
  } catch (const Interrupted&) {
    warn("hooks: they were interrupted");
  } catch (const Error& error) {
    warn("hooks: " + error.what());
  }
  for (RolloutHost& host : hosts) {
    if (!host.drained)
      continue;
    if (host.stays_drained.empty())
      host.stays_drained = "it was not brought back";
    host.outcome.owed.emplace_back(owed_undrain);
    host.outcome.message +=
        (host.outcome.message.empty() ? "" : "; ") + ("it stays drained: " + host.stays_drained);
  }
}

}  // namespace ds
