// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/text.h"
#include "report/report.h"
#include "rollout/rollout.h"
#include "support/recording_status.h"
#include "support/shell_transport.h"

namespace ds {

/// A host whose environment is a real virtual environment in a folder of the test.
struct TestHost {
  std::string name;
  std::filesystem::path prefix;
  std::filesystem::path root() const {
    return prefix.parent_path() / ".ds-deploy" / prefix.filename();
  }
  std::string python() const { return prefix / "bin/python"; }
};

/// Environments are copies of one, because making one takes long.
inline TestHost make_host(const TempDir& folder, const std::string& name) {
  static const TempDir first;
  const std::filesystem::path origin = first.path() / "env";
  if (!std::filesystem::exists(origin)) {
    const std::string command = "python3 -m venv --without-pip " + origin.string();
    REQUIRE(std::system(command.c_str()) == 0);
  }
  TestHost host{name, folder.path() / name / "env"};
  std::filesystem::create_directories(host.prefix.parent_path());
  std::filesystem::copy(
      origin, host.prefix,
      std::filesystem::copy_options::recursive | std::filesystem::copy_options::copy_symlinks);
  return host;
}

inline std::vector<std::string> pointer(const TestHost& host) {
  if (!std::filesystem::exists(host.root() / "active"))
    return {};
  std::vector<std::string> names = lines(read_file(host.root() / "active"));
  return names == std::vector<std::string>{"none"} ? std::vector<std::string>{} : names;
}

inline HostFacts facts_of(const TestHost& host) {
  HostFacts facts;
  facts.host = host.name;
  facts.state = HostFacts::State::reached;
  facts.python.asked = facts.python.executable = host.python();
  facts.installed.active = pointer(host);
  if (std::filesystem::exists(host.root() / "releases")) {
    for (const auto& entry : std::filesystem::directory_iterator(host.root() / "releases")) {
      if (entry.path().extension() == ".json")
        facts.installed.sealed.push_back(entry.path().stem());
    }
  }
  for (const char* name : {"unconfirmed.json", "overdue.json"}) {
    if (!std::filesystem::exists(host.root() / name))
      continue;
    const nlohmann::json record = nlohmann::json::parse(read_file(host.root() / name));
    facts.installed.activations.trial = {.id = record.at("id").get<std::string>()};
  }
  facts.installed.hook = !facts.installed.active.empty();
  return facts;
}

inline Wheel make_wheel(const TempDir& folder, const std::string& version,
                        const std::string& code) {
  WheelSpec spec;
  spec.name = "demo";
  spec.version = version;
  spec.tag = "py3-none-linux_x86_64";
  spec.summary = "a package for tests";
  spec.files = {{"demo/__init__.py", "VERSION = '" + version + "'\n" + code, {}, false},
                {"demo/data.txt", "data\n", {}, false}};
  return open_wheel(write_wheel(spec, folder.path()));
}

struct World {
  TempDir folder;
  std::vector<TestHost> hosts;
  RecordingStatus status;
  std::vector<std::string> unreachable;
  std::vector<std::string> refused;                   ///< by the audit
  std::map<std::string, std::string> drivers;         ///< by host; empty: it has none
  std::size_t gpus = 0;                               ///< that each host has
  std::optional<std::vector<std::string>> processes;  ///< on each GPU
  RolloutOptions options;
  Report report;  ///< of the last roll

  explicit World(int number = 1) {
    for (int i = 1; i <= number; ++i)
      hosts.push_back(make_host(folder, "n" + std::to_string(i)));
  }

  std::vector<HostOutcome> roll(const Wheel& wheel, Transport& transport) {
    return roll(std::vector<ReleaseSet>{{{parcel_of(wheel)}, {}}}, transport);
  }

  static Parcel parcel_of(const Wheel& wheel) {
    Parcel parcel;
    parcel.wheel = &wheel;
    parcel.imports = {"demo"};
    parcel.self_tests = {{"demo", "demo:self_test"}};
    return parcel;
  }

  std::vector<HostOutcome> roll(const std::vector<ReleaseSet>& sets, Transport& transport) {
    Inventory inventory;
    Fleet fleet;
    AuditReport audit;
    for (const TestHost& host : hosts) {
      Host entry;
      entry.name = entry.endpoint.name = host.name;
      entry.python = host.python();
      inventory.hosts.push_back(entry);
      fleet.hosts.push_back(facts_of(host));
      if (drivers.contains(host.name))
        fleet.hosts.back().driver = drivers.at(host.name);
      fleet.hosts.back().gpus.resize(gpus);
      for (Gpu& gpu : fleet.hosts.back().gpus)
        gpu.processes = processes;
      audit.hosts.push_back({host.name, Verdict::ready, {}, {}});
      if (std::find(refused.begin(), refused.end(), host.name) != refused.end())
        audit.hosts.back().verdict = Verdict::refused;
      for (const std::string& dead : unreachable) {
        if (dead != host.name)
          continue;
        fleet.hosts.back().state = HostFacts::State::unreachable;
        fleet.hosts.back().problem = "no route";
        audit.hosts.back().verdict = Verdict::unreachable;
      }
    }
    options.run = "run-" + std::to_string(++runs_);
    RolloutResult result = roll_out(inventory, fleet, audit, sets, options, transport, status);
    report = {};
    report.hosts = result.hosts;
    report.interrupted = result.interrupted;
    report.stopped = result.stopped;
    return result.hosts;
  }

  int exit() const { return static_cast<int>(exit_status(report)); }

 private:
  int runs_ = 0;
};

inline constexpr const char* good = "def self_test():\n    pass\n";
inline constexpr const char* bad = "def self_test():\n    raise AssertionError('wrong result')\n";

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Hosts at release `one`; `two` comes.
struct Upgrade : World {
  Wheel one, two;
  std::vector<HostOutcome> outcomes;

  explicit Upgrade(int number = 2) : World(number) {
    one = make_wheel(folder, "1.0", good);
    two = make_wheel(folder, "2.0", good);
    ShellTransport plain;
    roll(one, plain);
  }
  void run(ShellTransport transport) { outcomes = roll(two, transport); }
  bool at(std::size_t host, const Wheel& wheel) const {
    return pointer(hosts[host]) == std::vector<std::string>{wheel.sha256};
  }
};

/// The phase that the input of a remote command is for.
inline std::string phase_of(const std::string& input) {
  for (const char* name : {"lock", "unlock", "recover", "show-outliving", "is-outlived", "lacking",
                           "stage", "verify", "activate", "keep", "rollback", "clean"}) {
    if (input.find("\"phase\":\"" + std::string(name) + "\"") != std::string::npos)
      return name;
  }
  return "confirm";
}

}  // namespace ds
