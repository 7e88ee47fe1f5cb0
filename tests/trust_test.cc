// SPDX-License-Identifier: Apache-2.0
#include "cli/trust.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/text.h"

using namespace ds;
using Outcome = ExecResult::Outcome;
using State = TrustedHost::State;

namespace {

std::string key_of(char fill) {
  return std::string("\0\0\0\x0bssh-ed25519\0\0\0\x20", 19) + std::string(32, fill);
}

struct Bench {
  TempDir folder;
  std::filesystem::path file = folder.path() / "known_hosts";
  std::vector<Host> hosts;
  std::vector<ExecResult> results;

  void host(const std::string& name, Outcome outcome, const std::string& message = "") {
    Host host;
    host.name = name;
    host.endpoint.name = name;
    hosts.push_back(host);
    ExecResult result;
    result.outcome = outcome;
    result.message = message;
    results.push_back(result);
  }
  void unknown(const std::string& name, const std::string& known_as, char fill) {
    host(name, Outcome::host_key_refused, "not known");
    results.back().host_key = SeenHostKey{known_as, 22, key_of(fill), {}, file, false};
  }
  std::vector<TrustedHost> sorted() const { return sort_host_keys(hosts, results); }
};

}  // namespace

TEST_CASE("trust: new keys are shown as ssh-keygen shows them, counted once, and added") {
  Bench bench;
  bench.host("n1", Outcome::exited);
  bench.host("n2", Outcome::login_refused, "no");
  bench.unknown("node03", "n3", 'a');
  bench.unknown("n4", "bastion", 'b');
  bench.unknown("n5", "bastion", 'b');
  std::vector<TrustedHost> hosts = bench.sorted();
  CHECK(trust_text(hosts) == "node03  new          " + keygen_line(key_of('a'), "n3") +
                                 "\nn4      new          " + keygen_line(key_of('b'), "bastion") +
                                 "\nn5      new          " + keygen_line(key_of('b'), "bastion") +
                                 "\n2 hosts have a key that is on file\n");
  CHECK(trust_question(hosts) == "Add these 2 keys to " + bench.file.string() + "?");
  CHECK(trust_status(hosts) == ExitStatus::key_refused);

  add_host_keys(hosts);
  CHECK(hosts[2].state == State::added);
  CHECK(hosts[4].state == State::added);
  CHECK(trust_status(hosts) == ExitStatus::ok);
  CHECK(trust_question(hosts).empty());
  CHECK(lines(read_file(bench.file)).size() == 2);
  const auto json = nlohmann::json::parse(trust_json(hosts));
  CHECK(json["exit"] == 0);
  CHECK(json["hosts"][2]["state"] == "added");
  CHECK(json["hosts"][2]["known_as"] == "n3");
  CHECK(json["hosts"][2]["fingerprint"] == key_fingerprint(key_of('a')));
}

TEST_CASE("trust: changed and revoked keys are shown and never added") {
  Bench bench;
  bench.unknown("n1", "n1", 'a');
  bench.results[0].host_key->check.verdict = KeyVerdict::changed;
  bench.unknown("n2", "n2", 'a');
  bench.results[1].host_key->check.verdict = KeyVerdict::revoked;
  bench.host("n3", Outcome::host_key_refused, "ssh refuses it");
  bench.host("n4", Outcome::unreachable, "no route");
  std::vector<TrustedHost> hosts = bench.sorted();
  CHECK(trust_text(hosts) ==
        "n1  refused      not known\nn2  refused      not known\nn3  refused      ssh refuses "
        "it\nn4  unreachable  no route\n");
  CHECK(trust_question(hosts).empty());
  add_host_keys(hosts);
  CHECK_FALSE(std::filesystem::exists(bench.file));
  CHECK(trust_status(hosts) == ExitStatus::key_refused);
  CHECK(trust_status({hosts.back()}) == ExitStatus::unreachable);
}

TEST_CASE("trust: what was put on file meanwhile wins") {
  Bench bench;
  bench.unknown("n1", "n1", 'a');
  bench.unknown("n2", "n2", 'a');
  std::vector<TrustedHost> hosts = bench.sorted();
  CHECK(trust_question(hosts).starts_with("Add these 2 keys"));
  const std::string text = "n1 " + key_text(key_of('a')) + "\nn2 " + key_text(key_of('b')) + "\n";
  write_file(bench.file, text);
  add_host_keys(hosts);
  CHECK(hosts[0].state == State::known);
  CHECK(hosts[1].state == State::refused);
  CHECK(hosts[1].message.find("changed") != std::string::npos);
  CHECK(read_file(bench.file) == text);
}

TEST_CASE("trust: a name that shows two keys, and no file to add to") {
  Bench bench;
  bench.unknown("n1", "alias", 'a');
  bench.unknown("n2", "alias", 'b');
  bench.unknown("n3", "n3", 'c');
  bench.results.back().host_key->file.clear();
  bench.unknown("n4", "n4", 'd');
  bench.results.back().host_key->file = "/dev/null";
  for (const TrustedHost& host : bench.sorted()) {
    CAPTURE(host.host);
    CHECK(host.state == State::refused);
    CHECK_FALSE(host.message.empty());
  }
}
