// SPDX-License-Identifier: Apache-2.0
#include "cli/last_run.h"

#include <fmt/format.h>

#include <set>

#include "base/error.h"
#include "base/text.h"

namespace ds {
namespace {

constexpr const char* deploy_again =
    "deploy its wheel again: ds-deploy --wheel FILE, with --mode pip if it had that; what hosts "
    "hold already is not sent again";

/// All that a host notes, the latest first.
std::vector<const Activation*> activations_of(const HostFacts& facts) {
  const Activations& notes = facts.installed.activations;
  std::vector<const Activation*> all;
  for (const std::optional<Activation>* note :
       {&notes.trial, &notes.rolled_back, &notes.confirmed}) {
    if (*note)
      all.push_back(&**note);
  }
  return all;
}

std::string latest(const Fleet& fleet) {
  std::int64_t epoch = 0;
  std::string id;
  for (const HostFacts& facts : fleet.hosts) {
    if (facts.installed.epoch > epoch) {
      epoch = facts.installed.epoch;
      id = facts.installed.last_run;
    }
  }
  if (id.empty())
    throw UsageError("no run has changed these hosts, so that there is none to go on with",
                     "deploy: ds-deploy --hostfile FILE");
  return id;
}

std::string known(const Fleet& fleet, const std::string& beginning) {
  std::set<std::string> ids;
  for (const HostFacts& facts : fleet.hosts) {
    ids.insert(facts.installed.last_run);
    for (const Activation* activation : activations_of(facts))
      ids.insert(activation->id);
  }
  if (ids.contains(beginning))
    return beginning;
  // What a host was taken back to has a name of its own.
  std::erase_if(ids, [&](const std::string& id) {
    return !id.starts_with(beginning) || id.ends_with(".back");
  });
  if (ids.size() == 1)
    return *ids.begin();
  throw UsageError(ids.empty() ? "neither a journal nor a host knows a run " + beginning
                               : "several runs begin with " + beginning,
                   ids.empty() ? "see: ds-deploy status" : "write more of it");
}

}  // namespace

LastRun last_run(const Fleet& fleet, const std::string& id) {
  LastRun run;
  run.id = id.empty() ? latest(fleet) : known(fleet, id);
  std::set<std::vector<std::string>> sets;
  for (const HostFacts& facts : fleet.hosts) {
    for (const Activation* activation : activations_of(facts)) {
      if (activation->id != run.id || run.wanted.contains(facts.host))
        continue;
      run.wanted[facts.host] = activation->releases;
      run.back |= activation->back;
      sets.insert(activation->releases);
    }
  }
  if (sets.empty()) {
    throw UsageError("no host has begun to activate what run " + run.id +
                         " was to bring, so that nobody knows what that was",
                     deploy_again);
  }
  for (const HostFacts& facts : fleet.hosts) {
    if (run.wanted.contains(facts.host))
      continue;
    if (sets.size() > 1) {
      throw UsageError(fmt::format("run {} brought different releases to hosts, and which one {} "
                                   "was to get is not noted",
                                   run.id, facts.host),
                       fmt::format("leave it out: --exclude {}; or {}", facts.host, deploy_again));
    }
    run.wanted[facts.host] = *sets.begin();
  }
  return run;
}

}  // namespace ds
