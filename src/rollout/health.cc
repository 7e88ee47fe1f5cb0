// SPDX-License-Identifier: Apache-2.0
//
// The policy's own question to each host: the same for all, there or here.
#include <fmt/format.h>

#include "base/text.h"
#include "rollout/rollout_state.h"

namespace ds {
namespace {

std::string why_unhealthy(const ExecResult& result) {
  if (result.outcome != ExecResult::Outcome::exited)
    return "the health command: " + result.message;
  const std::vector<std::string> said = lines(result.err.empty() ? result.out : result.err);
  return fmt::format("the health command ended with status {}{}", result.exit_status,
                     said.empty() ? "" : ": " + clean_line(said.back(), 300));
}

}  // namespace

void ask_health(RolloutHost& host, const RolloutOptions& options, Transport& transport,
                std::function<void()> done) {
  const Policy::Health& health = options.policy.health;
  Exec exec;
  exec.script = "cd /\n";
  if (!health.on_coordinator && !host.host->env_script.empty())
    exec.script += ". " + shell_path(host.host->env_script) + " < /dev/null\n";
  exec.script += fmt::format(
      "export DS_DEPLOY_RUN={} DS_DEPLOY_HOST={} DS_DEPLOY_RELEASE={} DS_DEPLOY_PHASE=confirm\n"
      "exec /bin/sh -c {}",
      shell_quote(options.run), shell_quote(host.outcome.host), shell_quote(join(host.wanted, "+")),
      shell_quote(health.command));
  exec.time_limit = health.time_limit;
  exec.output_limit = 1u << 20;
  exec.as_self = health.on_coordinator;
  Endpoint here;
  here.kind = Endpoint::Kind::local;
  here.name = "coordinator for " + host.outcome.host;  // each its own, so that none waits
  transport.start(health.on_coordinator ? here : host.host->endpoint, std::move(exec),
                  [&host, done = std::move(done)](const ExecResult& result) {
                    host.outcome.seconds["health"] += result.seconds;
                    if (!result.ok()) {
                      host.good = false;
                      host.outcome.state = HostState::failed;
                      host.outcome.step = "health";
                      host.outcome.message = why_unhealthy(result);
                    }
                    done();
                  });
}

}  // namespace ds
