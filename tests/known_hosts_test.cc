// SPDX-License-Identifier: Apache-2.0
#include "transport/known_hosts.h"

#include <doctest/doctest.h>

#include "base/file.h"
#include "base/text.h"
#include "support/shell.h"

using namespace ds;

namespace {

namespace fs = std::filesystem;

/// Two real keys, and a known_hosts file to write lines into.
struct Bench {
  TempDir folder;
  std::string one, two, other_type;  ///< "type base64"

  Bench()
      : one(make_key("one", "ed25519")),
        two(make_key("two", "ed25519")),
        other_type(make_key("ecdsa", "ecdsa")) {}
  std::string path(const std::string& name) const { return (folder.path() / name).string(); }
  std::string make_key(const std::string& name, const std::string& type) const {
    shell("ssh-keygen -q -t " + type + " -N '' -f " + path(name));
    const std::vector<std::string> words = split_words(read_file(path(name) + ".pub"));
    return words[0] + " " + words[1];
  }
  std::vector<KnownHostLine> known(const std::string& text) const {
    write_file(path("known_hosts"), text);
    return read_known_hosts({path("known_hosts"), path("absent")});
  }
  std::string blob(const std::string& key) const { return known("x " + key).front().key; }
  KeyCheck check(const std::string& text, const std::string& name, int port,
                 const std::string& key) const {
    const std::string bytes = blob(key);
    return check_host_key(known(text), name, port, bytes);
  }
};

bool possible(const std::string& test) {
  return needs("command -v ssh-keygen", test, "no ssh-keygen (openssh-client)");
}

}  // namespace

TEST_CASE("known_hosts: names, ports, wildcards") {
  if (!possible("known_hosts: names, ports, wildcards"))
    return;
  const Bench bench;
  const std::string& key = bench.one;
  const auto verdict = [&](const std::string& patterns, const std::string& name, int port) {
    return bench.check("# comment\n\n" + patterns + " " + key + "\n", name, port, key).verdict;
  };
  CHECK(verdict("node1", "node1", 22) == KeyVerdict::match);
  CHECK(verdict("node1,10.0.0.1", "10.0.0.1", 22) == KeyVerdict::match);
  CHECK(verdict("NODE1", "node1", 22) == KeyVerdict::match);
  CHECK(verdict("node1", "node1", 2222) == KeyVerdict::unknown);
  CHECK(verdict("[node1]:2222", "node1", 2222) == KeyVerdict::match);
  CHECK(verdict("[node1]:2222", "node1", 22) == KeyVerdict::unknown);
  CHECK(verdict("node*,!node13", "node12", 22) == KeyVerdict::match);
  CHECK(verdict("node*,!node13", "node13", 22) == KeyVerdict::unknown);
  CHECK(verdict("node?", "node12", 22) == KeyVerdict::unknown);
  CHECK(verdict("fe80::1", "fe80::1", 22) == KeyVerdict::match);
}

TEST_CASE("known_hosts: hashed names are those of ssh-keygen -H") {
  if (!possible("known_hosts: hashed names"))
    return;
  const Bench bench;
  write_file(bench.path("hashed"), "node1 " + bench.one + "\n[node2]:2222 " + bench.two + "\n");
  REQUIRE(shell("ssh-keygen -q -H -f " + bench.path("hashed")).status == 0);
  const std::string text = read_file(bench.path("hashed"));
  REQUIRE(text.find("node1") == std::string::npos);
  CHECK(bench.check(text, "node1", 22, bench.one).verdict == KeyVerdict::match);
  CHECK(bench.check(text, "node1", 22, bench.two).verdict == KeyVerdict::changed);
  CHECK(bench.check(text, "node2", 2222, bench.two).verdict == KeyVerdict::match);
  CHECK(bench.check(text, "node2", 22, bench.two).verdict == KeyVerdict::unknown);
}

TEST_CASE("known_hosts: a changed key is never taken for a new host") {
  if (!possible("known_hosts: a changed key"))
    return;
  const Bench bench;
  const std::string text = "other " + bench.two + "\nnode1 " + bench.one + "\n";
  const KeyCheck changed = bench.check(text, "node1", 22, bench.two);
  CHECK(changed.verdict == KeyVerdict::changed);
  CHECK(changed.where == bench.path("known_hosts") + ":2");
  CHECK(bench.check(text, "node1", 22, bench.other_type).verdict == KeyVerdict::changed);
  CHECK(bench.check(text + "node1 " + bench.two + "\n", "node1", 22, bench.two).verdict ==
        KeyVerdict::match);
  CHECK(known_key_types(bench.known("node1 " + bench.other_type + "\n" + text), "node1", 22) ==
        std::vector<std::string>{"ecdsa-sha2-nistp256", "ssh-ed25519"});
}

TEST_CASE("known_hosts: revoked keys, authorities and bad lines") {
  if (!possible("known_hosts: revoked keys"))
    return;
  const Bench bench;
  const std::string text = "node1 " + bench.one + "\n@revoked * " + bench.one + "\n";
  CHECK(bench.check(text, "node1", 22, bench.one).verdict == KeyVerdict::revoked);
  CHECK(bench.check("@cert-authority * " + bench.one + "\n", "node1", 22, bench.one).verdict ==
        KeyVerdict::unknown);
  CHECK(bench.check("node1\nnode1 ssh-ed25519\nnode1 ssh-rsa " + split_words(bench.one)[1] +
                        "\nnode1 ssh-ed25519 !!!!\n|1|x|y " + bench.one + "\n",
                    "node1", 22, bench.one)
            .verdict == KeyVerdict::unknown);
}

TEST_CASE("known_hosts: fingerprints are those of ssh-keygen -l") {
  if (!possible("known_hosts: fingerprints"))
    return;
  const Bench bench;
  const std::string said = shell("ssh-keygen -l -f " + bench.path("one.pub")).output;
  CHECK(key_fingerprint(bench.blob(bench.one)) == split_words(said)[1]);
}
