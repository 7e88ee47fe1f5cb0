// SPDX-License-Identifier: Apache-2.0
//
// A rollout to hosts that answer at once: what the coordinator itself costs. See rollout.py.
//
//     rollout-bench HOSTS FILES FOLDER
//
// prints {"hosts", "cpu_ms_per_host", "wall_s", "activation_s", "peak_mb",
// "again_cpu_ms_per_host"}. The journal is a real one in FOLDER.
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "journal/journal.h"
#include "rollout/rollout.h"
#include "support/fake_transport.h"
#include "support/recording_status.h"
#include "support/seeded_wheel.h"
#include "wheel/wheel.h"

using namespace ds;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

namespace {

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

double peak_mb() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

/// A host where everything goes well, and what the bench wants to know of it.
struct Answers {
  std::size_t files = 0;
  std::vector<std::string> old;
  std::size_t activations = 0;
  std::optional<Clock::time_point> announced, activated;

  std::string to(const std::string& line) {
    const json request = json::parse(line);
    const std::string phase = request.value("phase", "confirm");
    json answer = {{"ok", true}};
    if (phase == "lock")
      answer.update({{"epoch", 0}, {"taken_over", ""}, {"active", old}, {"trial", ""}});
    if (phase == "is-outlived")
      answer["outlives"] = true;
    if (phase == "lacking")
      answer.update(
          {{"sealed", false}, {"lacking", {0, files}}, {"zstd", true}, {"part", nullptr}});
    if (phase == "stage")
      answer["changed"] = true;
    if (phase == "verify")
      announced = Clock::now();
    if (phase == "activate") {
      activated = Clock::now();
      answer.update({{"previous", old}, {"changed", true}});
    }
    if (phase == "confirm")
      answer["self_tests"] = json::object();
    if (phase == "keep")
      answer["state"] = "confirmed";
    if (phase == "clean")
      answer.update({{"removed", json::array()}, {"bytes", 0}});
    return request["nonce"].get<std::string>() + " " + answer.dump();
  }
};

struct Cluster {
  Inventory inventory;
  Fleet fleet;
  AuditReport audit;
};

Cluster make_cluster(std::size_t number, const std::vector<std::string>& active) {
  Cluster cluster;
  for (std::size_t at = 0; at < number; ++at) {
    Host host;
    host.name = host.endpoint.name = "node" + std::to_string(at);
    host.python = "/opt/venv/bin/python";
    HostFacts facts;
    facts.host = host.name;
    facts.state = HostFacts::State::reached;
    facts.python.asked = facts.python.executable = host.python;
    facts.installed.active = active;
    facts.installed.sealed = active;
    facts.installed.hook = true;
    cluster.audit.hosts.push_back({host.name, Verdict::ready, {}, {}});
    cluster.inventory.hosts.push_back(std::move(host));
    cluster.fleet.hosts.push_back(std::move(facts));
  }
  return cluster;
}

FakeTransport transport_to(Answers& answers) {
  return FakeTransport(
      [&answers](const Endpoint&, const Exec& exec) {
        ExecResult result;
        result.exit_status = 0;
        if (!exec.input.bytes.empty())
          result.out = answers.to(exec.input.bytes) + "\n";
        return result;
      },
      [&answers](const Endpoint&, const ExecInput& input) {
        FakeTransport::Reply reply;
        if (!input.bytes.empty())
          reply.lines.push_back(answers.to(input.bytes));
        return reply;
      });
}

/// CPU seconds of one rollout; exits if a host did not come to `state`.
double roll(const Cluster& cluster, const Wheel& wheel, Answers& answers, Journal& journal,
            const std::string& run, HostState state) {
  Parcel parcel;
  parcel.wheel = &wheel;
  const std::vector<ReleaseSet> sets = {{{parcel}, {}}};
  RunRecord record;
  record.id = run;
  record.command = "deploy";
  std::vector<HostRecord> hosts;
  for (const Host& host : cluster.inventory.hosts) {
    HostRecord& entry = hosts.emplace_back();
    entry.name = host.name;
    entry.wanted = {wheel.sha256};
  }
  journal.begin_run(record, {{wheel.sha256, "demo.whl", "/demo.whl", 1}}, hosts);
  RolloutOptions options;
  options.run = run;
  options.journal = &journal;
  FakeTransport transport = transport_to(answers);
  RecordingStatus status;
  const double began = cpu_seconds();
  const RolloutResult result =
      roll_out(cluster.inventory, cluster.fleet, cluster.audit, sets, options, transport, status);
  const double spent = cpu_seconds() - began;
  for (const HostOutcome& host : result.hosts) {
    if (host.state == state)
      continue;
    std::fprintf(stderr, "%s: %s: %s\n", host.host.c_str(), to_string(host.state).c_str(),
                 host.message.c_str());
    std::exit(1);
  }
  return spent;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: rollout-bench HOSTS FILES FOLDER\n");
    return 2;
  }
  const auto number = static_cast<std::size_t>(std::atol(argv[1]));
  TempDir folder;
  std::map<std::string, unsigned> ops;
  for (int at = 0; at < std::atoi(argv[2]); ++at)
    ops["op" + std::to_string(at)] = static_cast<unsigned>(at);
  const Wheel wheel = seeded_wheel(folder, "2.0", ops, 100);
  Journal journal = Journal::open(argv[3]);
  Answers answers;
  answers.files = wheel.entries.size();
  answers.old = {std::string(64, 'a')};
  const auto began = Clock::now();
  const double spent = roll(make_cluster(number, answers.old), wheel, answers, journal, "run-1",
                            HostState::confirmed);
  const std::chrono::duration<double> wall = Clock::now() - began;
  const std::chrono::duration<double> activation = *answers.activated - *answers.announced;
  const double peak = peak_mb();
  answers.old = {wheel.sha256};
  const double again = roll(make_cluster(number, answers.old), wheel, answers, journal, "run-2",
                            HostState::unchanged);
  const auto per_host = [number](double seconds) {
    return seconds * 1000 / static_cast<double>(number);
  };
  const json said = {{"hosts", number},        {"cpu_ms_per_host", per_host(spent)},
                     {"wall_s", wall.count()}, {"activation_s", activation.count()},
                     {"peak_mb", peak},        {"again_cpu_ms_per_host", per_host(again)}};
  std::printf("%s\n", said.dump().c_str());
  return 0;
}
