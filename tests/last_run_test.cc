// SPDX-License-Identifier: Apache-2.0
#include "cli/last_run.h"

#include <doctest/doctest.h>

#include "base/error.h"

using namespace ds;

namespace {

const std::string old_release(64, 'a'), new_release(64, 'b');

HostFacts host(const std::string& name, std::int64_t epoch, const std::string& run) {
  HostFacts facts;
  facts.host = name;
  facts.state = HostFacts::State::reached;
  facts.installed.epoch = epoch;
  facts.installed.last_run = run;
  return facts;
}

Activation forward(const std::string& run, const std::string& release) {
  return {.id = run, .releases = {release}, .previous = {old_release}, .before = {{old_release}}};
}

std::string refusal(const Fleet& fleet, const std::string& id = {}) {
  try {
    last_run(fleet, id);
  } catch (const UsageError& error) {
    return error.what();
  }
  return {};
}

}  // namespace

TEST_CASE("last run: hosts that it had not reached go where the others went") {
  Fleet fleet;
  fleet.hosts = {host("n1", 4, "run-4"), host("n2", 3, "run-3"), host("n3", 4, "run-4")};
  fleet.hosts[0].installed.activations.trial = forward("run-4", new_release);
  fleet.hosts[1].installed.activations.confirmed = forward("run-3", old_release);
  fleet.hosts[2].installed.activations.rolled_back = forward("run-4", new_release);
  const LastRun run = last_run(fleet, "");
  CHECK(run.id == "run-4");
  CHECK_FALSE(run.back);
  for (const char* name : {"n1", "n2", "n3"})
    CHECK(run.wanted.at(name) == std::vector<std::string>{new_release});
  CHECK(last_run(fleet, "run-3").wanted.at("n1") == std::vector<std::string>{old_release});
  fleet.hosts[1].installed.activations.confirmed->id = "run-3.back";
  CHECK(last_run(fleet, "run-4").id == "run-4");
  CHECK(refusal(fleet, "run-5") == "neither a journal nor a host knows a run run-5");
  CHECK(refusal(fleet, "run-") == "several runs begin with run-");
}

TEST_CASE("last run: one that went further back") {
  Fleet fleet;
  fleet.hosts = {host("n1", 4, "run-4")};
  fleet.hosts[0].installed.activations.confirmed = {.id = "run-4",
                                                    .releases = {old_release},
                                                    .previous = {new_release},
                                                    .before = {},
                                                    .back = true};
  CHECK(last_run(fleet, "").back);
}

TEST_CASE("last run: what the notes do not tell is not guessed") {
  Fleet fleet;
  fleet.hosts = {host("n1", 0, ""), host("n2", 0, "")};
  CHECK(refusal(fleet) == "no run has changed these hosts, so that there is none to go on with");
  fleet.hosts[0] = host("n1", 2, "run-2");
  CHECK(refusal(fleet).starts_with("no host has begun to activate what run run-2 was to bring"));
  fleet.hosts.push_back(host("n3", 2, "run-2"));
  fleet.hosts[0].installed.activations.trial = forward("run-2", new_release);
  fleet.hosts[2].installed.activations.trial = forward("run-2", std::string(64, 'c'));
  CHECK(refusal(fleet).starts_with("run run-2 brought different releases to hosts"));
}
