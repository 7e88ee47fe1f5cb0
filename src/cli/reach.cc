// SPDX-License-Identifier: Apache-2.0
#include "cli/reach.h"

namespace ds {

std::vector<ExecResult> reach_all(Session& session, const std::vector<Host>& hosts,
                                  std::string_view stage, std::string_view well,
                                  const std::function<bool(const ExecResult&)>& is_well) {
  std::vector<ExecResult> results(hosts.size());
  session.status().stage_started(stage, hosts.size());
  for (std::size_t i = 0; i < hosts.size(); ++i) {
    Exec exec{":", {}, std::chrono::seconds(60), 1u << 16};
    exec.guarded = false;  // it starts nothing that could stay
    session.transport().start(hosts[i].endpoint, std::move(exec), [&, i](ExecResult result) {
      const bool fine = is_well(result);
      session.status().item_finished(hosts[i].name, fine ? well : result.message, !fine);
      results[i] = std::move(result);
    });
  }
  session.transport().run();
  session.status().stage_finished();
  return results;
}

ExitStatus status_of(const Fleet& fleet) {
  bool unreachable = false, key = false;
  for (const HostFacts& host : fleet.hosts) {
    key |= host.state == HostFacts::State::key_refused;
    unreachable |= host.state != HostFacts::State::reached;
  }
  return key ? ExitStatus::key_refused : unreachable ? ExitStatus::unreachable : ExitStatus::ok;
}

}  // namespace ds
