// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <ctime>

#include "base/error.h"
#include "base/random.h"
#include "base/text.h"
#include "facts/facts.h"

namespace ds {
namespace {

Exec probe_exec(const Host& host, const std::string& python, const std::string& nonce,
                std::chrono::milliseconds limit) {
  std::string source;
  for (const char* part :
       {"layout.py", "ask_child.py", "probe_driver.py", "probe_place.py", "probe_runtime.py",
        "activation.py", "holder.py", "probe_use.py", "probe.py"})
    source += template_text(part);
  // What a login shell would have is asked where commands and logins differ: over SSH.
  const bool asks_login = host.endpoint.kind == Endpoint::Kind::ssh && host.env_script.empty();
  const Replacement values[] = {{"NONCE", nonce},
                                {"LOGIN", asks_login ? "ask" : ""},
                                {"PYTHON", shell_path(python)},
                                {"ENV_SCRIPT", shell_path(host.env_script)},
                                {"SOURCE_BYTES", std::to_string(source.size())}};
  Exec exec;
  exec.script = render(template_text("probe.sh"), values);
  exec.input.bytes = source;
  exec.time_limit = limit;
  exec.output_limit = 4u << 20;
  return exec;
}

HostFacts::State state_of(ExecResult::Outcome outcome) {
  switch (outcome) {
    case ExecResult::Outcome::unreachable:
      return HostFacts::State::unreachable;
    case ExecResult::Outcome::login_refused:
      return HostFacts::State::login_refused;
    case ExecResult::Outcome::host_key_refused:
      return HostFacts::State::key_refused;
    default:
      return HostFacts::State::failed;
  }
}

/// Seconds that `clock` was ahead of ours within the last `seconds`; 0 if it lay in them.
std::int64_t ahead(std::int64_t clock, double seconds) {
  const std::int64_t now = std::time(nullptr);
  const std::int64_t asked = now - static_cast<std::int64_t>(seconds) - 1;
  return clock > now ? clock - now : std::min<std::int64_t>(clock - asked, 0);
}

HostFacts facts_from(const ExecResult& result, const std::string& nonce) {
  // A whole answer is an answer, also where the session ended badly after it.
  HostFacts facts = parse_probe_answer(result.out, nonce);
  if (result.outcome == ExecResult::Outcome::exited) {
    const std::vector<std::string> said = lines(result.err);
    if (facts.state == HostFacts::State::failed && !said.empty()) {
      facts.problem += ": " + clean_line(said.back());
    }
  } else if (facts.state == HostFacts::State::failed) {
    facts = HostFacts();
    facts.state = state_of(result.outcome);
    facts.problem = clean_line(result.message, 2000);
  } else {
    facts.notes.push_back("the answer was whole, but then: " + clean_line(result.message));
  }
  facts.seconds = result.seconds;
  // The host's clock was read somewhere between the question and its answer.
  if (facts.clock > 0)
    facts.clock_ahead = ahead(facts.clock, result.seconds);
  return facts;
}

}  // namespace

const HostFacts* Fleet::find(const std::string& host) const {
  for (const HostFacts& facts : hosts) {
    if (facts.host == host)
      return &facts;
  }
  return nullptr;
}

std::string target_python(const Host& host, const ProbeOptions& options) {
  if (!options.python.empty())
    return options.python;
  return host.python.empty() ? options.inherited_python : host.python;
}

Fleet gather_facts(const Inventory& inventory, const ProbeOptions& options, Transport& transport,
                   Status& status) {
  Fleet fleet;
  fleet.hosts.resize(inventory.hosts.size());
  status.stage_started("facts", inventory.hosts.size());
  for (std::size_t i = 0; i < inventory.hosts.size(); ++i) {
    const Host& host = inventory.hosts[i];
    const std::string python = target_python(host, options);
    const std::string nonce = random_nonce();
    status.item_started(host.name);
    transport.start(host.endpoint, probe_exec(host, python, nonce, options.time_limit),
                    [&, i, nonce, python](const ExecResult& result) {
                      HostFacts& facts = fleet.hosts[i];
                      facts = facts_from(result, nonce);
                      facts.host = inventory.hosts[i].name;
                      facts.python.asked = python;
                      if (facts.use && !options.own_job.empty())
                        std::erase(facts.use->jobs, "Slurm job " + options.own_job);
                      const bool reached = facts.state == HostFacts::State::reached;
                      status.item_finished(facts.host, reached ? "reached" : facts.problem,
                                           !reached);
                    });
  }
  transport.run();
  status.stage_finished();
  return fleet;
}

}  // namespace ds
