// SPDX-License-Identifier: Apache-2.0
#include "transport/known_hosts.h"

#include <doctest/doctest.h>

#include <chrono>

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
  KnownHosts known(const std::string& text) const {
    write_file(path("known_hosts"), text);
    return KnownHosts({path("known_hosts"), path("absent")});
  }
  static std::string blob(const std::string& key) {
    return decode_base64(split_words(key)[1]).value();
  }
  KeyCheck check(const std::string& text, const std::string& name, int port,
                 const std::string& key) const {
    return known(text).check(name, port, blob(key));
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
}

TEST_CASE("known_hosts: another port") {
  if (!possible("known_hosts: another port"))
    return;
  const Bench bench;
  const auto verdict = [&](const std::string& text, const std::string& key) {
    return bench.check(text, "node1", 2222, key).verdict;
  };
  // ssh looks for [name]:port, then for the name alone, where another key is no change.
  CHECK(verdict("node1 " + bench.one, bench.one) == KeyVerdict::match);
  CHECK(verdict("node1 " + bench.two, bench.one) == KeyVerdict::unknown);
  CHECK(verdict("@revoked node1 " + bench.one, bench.one) == KeyVerdict::revoked);
  CHECK(verdict("[node1]:2222 " + bench.two + "\nnode1 " + bench.one, bench.one) ==
        KeyVerdict::changed);
  CHECK(verdict("* " + bench.two + "\nnode1 " + bench.one, bench.one) == KeyVerdict::changed);
  CHECK(verdict("[node*]:2222 " + bench.one, bench.one) == KeyVerdict::match);
  CHECK(verdict("@cert-authority node* " + bench.two, bench.one) == KeyVerdict::authority);
  // A HostKeyAlias (port 0) is taken as it is.
  CHECK(bench.check("node1 " + bench.one, "Node1", 0, bench.one).verdict == KeyVerdict::match);
  CHECK(known_host_name("NODE1", 0) == "node1");
  CHECK(known_host_name("Node1", 22) == "node1");
  CHECK(known_host_name("Node1", 2222) == "[node1]:2222");
}

TEST_CASE("known_hosts: revoked keys") {
  if (!possible("known_hosts: revoked keys"))
    return;
  const Bench bench;
  const auto verdict = [&](const std::string& text) {
    return bench.check(text, "node1", 22, bench.one).verdict;
  };
  const std::string good = "node1 " + bench.one + "\n";
  CHECK(verdict(good + "@revoked * " + bench.one) == KeyVerdict::revoked);
  CHECK(verdict("@revoked node1 " + bench.one + "\n" + good) == KeyVerdict::revoked);
  CHECK(verdict("@revoked node1 " + bench.one) == KeyVerdict::revoked);
  CHECK(verdict("@revoked node2 " + bench.one + "\n" + good) == KeyVerdict::match);
  CHECK(verdict("@revoked * " + bench.two + "\n" + good) == KeyVerdict::match);
  CHECK(verdict("@revoked * " + bench.two) == KeyVerdict::unknown);
  CHECK(verdict("@cert-authority * " + bench.two + "\n@revoked * " + bench.one) ==
        KeyVerdict::revoked);
  CHECK(bench.check(good + "@revoked * " + bench.one, "node1", 22, bench.one).where ==
        bench.path("known_hosts") + ":2");
}

TEST_CASE("known_hosts: authorities") {
  if (!possible("known_hosts: authorities"))
    return;
  const Bench bench;
  const std::string authority = "@cert-authority node* " + bench.two + "\n";
  const auto verdict = [&](const std::string& text) {
    return bench.check(text, "node1", 22, bench.one).verdict;
  };
  CHECK(verdict(authority) == KeyVerdict::authority);
  CHECK(only_ssh_can_tell(verdict(authority)));
  CHECK(verdict("@cert-authority other " + bench.two) == KeyVerdict::unknown);
  // The plain key of the host is as good as a certificate; another one may be, with a certificate.
  CHECK(verdict(authority + "node1 " + bench.one) == KeyVerdict::match);
  CHECK(verdict(authority + "node1 " + bench.two) == KeyVerdict::authority);
  // The authority's key is no host's key.
  CHECK(verdict("@cert-authority * " + bench.one) == KeyVerdict::authority);
  CHECK(bench.known(authority).key_types("node1", 22).empty());
}

TEST_CASE("known_hosts: a bad line is skipped, that line alone") {
  if (!possible("known_hosts: a bad line is skipped"))
    return;
  const Bench bench;
  const std::string bytes = split_words(bench.one)[1];
  const std::string good = "node1 " + bench.one;
  const auto verdict = [&](const std::string& text) {
    return bench.check(text, "node1", 22, bench.one).verdict;
  };
  const std::vector<std::string> bad = {
      "node1",
      "node1 ",
      "node1 ssh-ed25519",
      "node1 # " + bench.one,
      "node1 ssh-rsa " + bytes,
      "node1 ssh-ed25518 " + bytes,
      "node1 ssh-ed25519 !!!!",
      "node1 ssh-ed25519 " + bytes.substr(0, bytes.size() - 4),
      "node1 ssh-ed25519 " + bytes + "AAAA",
      "node1 ssh-ed25519-cert-v01@openssh.com " + bytes,
      "|1|x|y " + bench.one,
      "|2|AAAA|AAAA " + bench.one,
      "|1|" + std::string(28, 'A') + " " + bench.one,
      "@unknown " + good,
      "@revoked @cert-authority " + good,
      "@revoked",
      "@revoked\t" + good,
      std::string("node1 \0", 7) + bench.one,
      std::string(2000, 'x') + ",node1 " + bench.one,
  };
  std::string all;
  for (const std::string& line : bad) {
    CAPTURE(line);
    CHECK(verdict(line) == KeyVerdict::unknown);
    all += line + "\n";
  }
  CHECK(verdict(all + good + "\n" + all) == KeyVerdict::match);
  CHECK(bench.check(all + good, "node1", 22, bench.one).where ==
        bench.path("known_hosts") + ":" + std::to_string(bad.size() + 1));
  CHECK(verdict(" \tnode1\t" + split_words(bench.one)[0] + " \t" + bytes + "\r\n") ==
        KeyVerdict::match);
  CHECK(verdict(good + " a comment\r\n") == KeyVerdict::match);
}

TEST_CASE("known_hosts: several files, two keys, what cannot be read") {
  if (!possible("known_hosts: several files"))
    return;
  const Bench bench;
  const auto check = [&](const std::string& key) {
    return KnownHosts({bench.path("user"), bench.path("user2"), bench.path("global")})
        .check("node1", 22, Bench::blob(key));
  };
  write_file(bench.path("user"), "node1 " + bench.two + "\n");
  CHECK(check(bench.one).verdict == KeyVerdict::changed);
  write_file(bench.path("global"), "node1 " + bench.one + "\n");
  CHECK(check(bench.one).verdict == KeyVerdict::match);
  CHECK(check(bench.one).where == bench.path("global") + ":1");
  CHECK(check(bench.two).verdict == KeyVerdict::match);
  const KeyCheck other = check(bench.other_type);
  CHECK(other.verdict == KeyVerdict::changed);
  REQUIRE(other.expected.size() == 2);
  CHECK(other.expected[1].where() == bench.path("global") + ":1");
  write_file(bench.path("user2"), "@revoked * " + bench.one + "\n");
  CHECK(check(bench.one).verdict == KeyVerdict::revoked);
  CHECK(KnownHosts({bench.folder.path()}).check("node1", 22, Bench::blob(bench.one)).verdict ==
        KeyVerdict::unknown);
}

TEST_CASE("known_hosts: key types are asked for as ssh prefers them") {
  if (!possible("known_hosts: key types"))
    return;
  const Bench bench;
  using Types = std::vector<std::string>;
  const std::string rsa = bench.make_key("rsa", "rsa -b 2048");
  const std::string text = "node1 " + rsa + "\nnode1 " + bench.other_type + "\nnode1 " + bench.one +
                           "\nnode1 " + bench.two + "\n@revoked node1 " + rsa + "\n";
  CHECK(bench.known(text).key_types("node1", 22) ==
        Types{"ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"});
  CHECK(bench.known(text).key_types("node1", 2222).size() == 3);
  CHECK(bench.known("[node1]:2222 " + rsa + "\n" + text).key_types("node1", 2222) ==
        Types{"ssh-rsa"});
  CHECK(bench.known(text).key_types("node2", 22).empty());
  // The name of a signature instead of the key's, as ssh too reads it.
  const std::string signed_name = "node1 rsa-sha2-512 " + split_words(rsa)[1];
  CHECK(bench.check(signed_name, "node1", 22, rsa).verdict == KeyVerdict::match);
}

TEST_CASE("known_hosts: RevokedHostKeys") {
  if (!possible("known_hosts: RevokedHostKeys"))
    return;
  const Bench bench;
  write_file(bench.path("known_hosts"), "node1 " + bench.one + "\n");
  const auto check = [&](const std::string& key) {
    return KnownHosts({bench.path("known_hosts")}, {bench.path("revoked")})
        .check("node1", 22, Bench::blob(key));
  };
  CHECK(check(bench.one).verdict == KeyVerdict::unreadable);
  write_file(bench.path("revoked"), "");
  CHECK(check(bench.one).verdict == KeyVerdict::match);
  write_file(bench.path("revoked"), "# old\n" + bench.two + " comment\n" + bench.one + "\n");
  CHECK(check(bench.one).verdict == KeyVerdict::revoked);
  CHECK(check(bench.one).where == bench.path("revoked") + ":3");
  CHECK(check(bench.two).verdict == KeyVerdict::revoked);
  CHECK(check(bench.other_type).verdict == KeyVerdict::changed);
  write_file(bench.path("revoked"), bench.two + "\nnonsense\n" + bench.one + "\n");
  CHECK(check(bench.two).verdict == KeyVerdict::revoked);
  CHECK(check(bench.one).verdict == KeyVerdict::unreadable);
  CHECK(check(bench.one).where == bench.path("revoked") + ":2");
  REQUIRE(shell("rm " + bench.path("revoked") + "; ssh-keygen -q -k -f " + bench.path("revoked") +
                " " + bench.path("two.pub"))
              .status == 0);
  CHECK(check(bench.one).verdict == KeyVerdict::key_list);
  CHECK(check(bench.other_type).verdict == KeyVerdict::changed);
  CHECK(only_ssh_can_tell(KeyVerdict::key_list));
}

TEST_CASE("known_hosts: 4000 hosts and 10000 lines") {
  if (!possible("known_hosts: 4000 hosts and 10000 lines"))
    return;
  const Bench bench;
  std::string text = "@revoked * " + bench.two + "\nrack?-*,!rack1-* " + bench.two + "\n";
  for (int i = 0; i < 10'000; ++i)
    text += "node" + std::to_string(i) + ",10.0.0." + std::to_string(i) + " " + bench.one + "\n";
  const KnownHosts known = bench.known(text);
  const std::string key = Bench::blob(bench.one);
  int matched = 0;
  const auto began = std::chrono::steady_clock::now();
  for (int i = 0; i < 4'000; ++i)
    matched += known.check("node" + std::to_string(i), 22, key).verdict == KeyVerdict::match;
  CHECK(matched == 4'000);
  // Reading the file for each host would take a minute.
  CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(5));
}

TEST_CASE("known_hosts: fingerprints are those of ssh-keygen -l") {
  if (!possible("known_hosts: fingerprints"))
    return;
  const Bench bench;
  const std::string rsa = bench.make_key("rsa", "rsa -b 2048");
  for (const auto& [name, key] :
       {std::pair(std::string("one"), bench.one), std::pair(std::string("ecdsa"), bench.other_type),
        std::pair(std::string("rsa"), rsa)}) {
    const std::string said = shell("ssh-keygen -l -f " + bench.path(name + ".pub")).output;
    const std::string bytes = Bench::blob(key);
    CHECK(key_fingerprint(bytes) == split_words(said)[1]);
    CHECK(keygen_line(bytes, split_words(said)[2]) + "\n" == said);
    CHECK(key_text(bytes) == key);
  }
  CHECK(describe_key(Bench::blob(bench.one)).starts_with("ED25519 SHA256:"));
  CHECK(describe_key("x").starts_with("unknown SHA256:"));
}

TEST_CASE("known_hosts: one key is one spelling") {
  if (!possible("known_hosts: one key is one spelling"))
    return;
  const Bench bench;
  const std::string rsa = bench.make_key("rsa", "rsa -b 2048");
  std::string padded = Bench::blob(rsa);
  // ssh-rsa, the exponent 65537, then the modulus' length: one more zero in front of it.
  const std::size_t length_at = 4 + 7 + 4 + 3;
  REQUIRE(padded[length_at + 4] == '\0');
  padded.insert(length_at + 4, 1, '\0');
  ++padded[length_at + 3];
  CHECK(bench.known("@revoked * " + rsa).check("node1", 22, padded).verdict == KeyVerdict::revoked);
  for (const std::string& text : {std::string(), std::string("AAA"), std::string("AB=="),
                                  std::string("A==="), std::string("AA=A"), std::string("AA A")}) {
    CAPTURE(text);
    CHECK(decode_base64(text).has_value() == text.empty());
  }
  CHECK(decode_base64("aGk=").value() == "hi");
  CHECK(encode_base64("hi") == "aGk=");
}
