// SPDX-License-Identifier: Apache-2.0
//
// Logins at a real sshd, with real agents and key files. What needs somebody at a terminal is in
// ssh_login_terminal_test.cc.
#include "transport/ssh_login.h"

#include <doctest/doctest.h>

#include <cstdlib>

#include "support/login_driver.h"
#include "support/test_agent.h"

using namespace ds;
using namespace std::chrono_literals;

namespace {

bool possible(const std::string& test) {
  return SshdHost::possible(test) &&
         needs("command -v ssh-agent && command -v ssh-add", test, "no ssh-agent");
}

bool has(const std::string& text, const std::string& piece) {
  const bool found = text.find(piece) != std::string::npos;
  if (!found)
    MESSAGE("it says: ", text);
  return found;
}

std::string public_half(const SshdHost& host, const std::string& name) {
  return read_file(host.path(name) + ".pub");
}

const std::vector<std::pair<std::string, std::string>> types = {
    {"ed25519", "ed25519"},       {"ecdsa256", "ecdsa -b 256"}, {"ecdsa384", "ecdsa -b 384"},
    {"ecdsa521", "ecdsa -b 521"}, {"rsa", "rsa -b 3072"},       {"pem", "rsa -b 2048 -m PEM"}};

/// A server that takes a key of each type.
struct AllTypes {
  SshdHost host;
  AllTypes() {
    std::string authorized;
    for (const auto& [name, type] : types) {
      host.make_key(name, type);
      authorized += public_half(host, name);
    }
    host.write("user_key.pub", authorized);
  }
};

}  // namespace

TEST_CASE("ssh login: key files of every type, with and without a public half") {
  if (!possible("ssh login: key files"))
    return;
  const AllTypes all;
  KeyRing ring;
  for (const auto& [name, type] : types) {
    CAPTURE(name);
    const std::string file = all.host.path(name);
    CHECK(log_in(login_settings(all.host.port(), {file}), ring).problem.empty());
    shell("cp " + file + " " + file + "_alone");
    CHECK(log_in(login_settings(all.host.port(), {file + "_alone"}), ring).ok());
  }
}

TEST_CASE("ssh login: agent keys of every type") {
  if (!possible("ssh login: agent keys"))
    return;
  const AllTypes all;
  for (const auto& [name, type] : types) {
    CAPTURE(name);
    const TestAgent agent;
    agent.add(all.host.path(name));
    KeyRing ring;
    SshSettings settings = login_settings(all.host.port(), {});
    settings.agent = agent.socket();
    const LoginOutcome outcome = log_in(settings, ring);
    CHECK(outcome.ok());
    CHECK(ring.own_socket().empty());
  }
}

TEST_CASE("ssh login: an encrypted file without a terminal") {
  if (!possible("ssh login: an encrypted file"))
    return;
  SshdHost host;
  host.make_key("locked", "ed25519", "geheim");
  host.write("user_key.pub", public_half(host, "locked"));
  KeyRing ring;
  // setsid would be needed to lose this test's terminal, if it has one.
  if (open_terminal())
    return;
  const LoginOutcome outcome = log_in(login_settings(host.port(), {host.path("locked")}), ring);
  CHECK(outcome.progress == SshProgress::failed);
  CHECK(has(outcome.problem, host.path("locked") +
                                 " (cannot be used without its passphrase; run ssh-add " +
                                 host.path("locked") + " first, or start from a terminal)"));
  CHECK(outcome.after_acceptance == false);
  const TestAgent agent;
  agent.run("ssh-add -q " + host.path("locked"));
  SshSettings settings = login_settings(host.port(), {host.path("locked")});
  settings.agent = agent.socket();
  settings.identities_only = true;
  CHECK(log_in(settings, ring).ok());
}

TEST_CASE("ssh login: the order of keys is ssh's") {
  if (!possible("ssh login: the order of keys"))
    return;
  const SshdHost host;
  const TestAgent agent;
  SshdHost& keys = const_cast<SshdHost&>(host);
  for (const char* name : {"in_agent", "other", "in_file"}) {
    keys.make_key(name, "ed25519");
    shell("ssh-keygen -q -c -C " + std::string(name) + " -f " + host.path(name));
  }
  agent.add(host.path("other"));
  agent.add(host.path("in_agent"));
  KeyRing ring;
  SshSettings settings = login_settings(
      host.port(), {host.path("in_file"), host.path("in_agent"), host.path("absent")});
  settings.agent = agent.socket();
  CHECK(has(log_in(settings, ring).problem, "tried " + host.path("in_agent") +
                                                ", agent key 'other', " + host.path("in_file") +
                                                "; it takes publickey"));
  settings.identities_only = true;
  CHECK(has(log_in(settings, ring).problem,
            "tried " + host.path("in_agent") + ", " + host.path("in_file") + "; it takes"));
}

TEST_CASE("ssh login: an agent with 20 keys") {
  if (!possible("ssh login: an agent with 20 keys"))
    return;
  SshdHost host;
  const TestAgent agent;
  for (int i = 0; i < 20; ++i)
    host.make_key("key" + std::to_string(i), "ed25519");
  agent.run("ssh-add -q " + host.path("key?") + " " + host.path("key1?"));
  KeyRing ring;
  SshSettings settings = login_settings(host.port(), {});
  settings.agent = agent.socket();
  const LoginOutcome outcome = log_in(settings, ring);
  CHECK(outcome.progress == SshProgress::failed);
  CHECK(has(outcome.problem, "Too many authentication failures"));
  CHECK(has(outcome.problem, "after 6 keys"));
  CHECK(has(outcome.problem, "IdentitiesOnly yes"));
  CHECK(outcome.after_acceptance == false);
  settings.identities = {host.path("user_key")};
  settings.identities_only = true;
  CHECK(log_in(settings, ring).ok());
}

TEST_CASE("ssh login: agents that are absent, empty, garbage or hang") {
  if (!possible("ssh login: agents that are absent"))
    return;
  const SshdHost host;
  SshSettings settings = login_settings(host.port(), {host.path("absent")});
  const auto problem = [&settings](const std::string& socket) {
    KeyRing ring;
    settings.agent = socket;
    return log_in(settings, ring).problem;
  };
  CHECK(has(problem(""), "tried nothing, for no key was found; it takes publickey"));
  CHECK(has(problem("/nowhere/agent"),
            "the ssh agent /nowhere/agent: No such file or directory; it"));
  const TestAgent agent;
  CHECK(has(problem(agent.socket()), "holds no keys, or is locked; it takes publickey"));

  settings.identities = {host.path("user_key")};
  settings.agent = "/nowhere/agent";
  KeyRing ring;
  CHECK(log_in(settings, ring).ok());

  const FakeAgent silent;
  settings.agent = silent.socket();
  const LoginOutcome late = log_in(settings, ring, 500ms);
  CHECK(late.progress == SshProgress::waiting);
  CHECK(late.waited_for_agent);
  // The others go on without it.
  CHECK(log_in(settings, ring).ok());
}

TEST_CASE("ssh login: an agent that hangs when it signs") {
  if (!possible("ssh login: an agent that hangs when it signs"))
    return;
  const SshdHost host;
  const TestAgent agent;
  agent.add(host.path("user_key"));
  KeyRing ring;
  SshSettings settings = login_settings(host.port(), {});
  settings.agent = agent.socket();
  CHECK(log_in(settings, ring).ok());
  agent.stop();
  const LoginOutcome late = log_in(settings, ring, 500ms);
  CHECK(late.progress == SshProgress::waiting);
  CHECK(late.waited_for_agent);
}

TEST_CASE("ssh login: certificates") {
  if (!possible("ssh login: certificates"))
    return;
  const TempDir folder;
  const std::string authority = (folder.path() / "ca").string();
  shell("ssh-keygen -q -t ed25519 -N '' -f " + authority);
  SshdHost host("TrustedUserCAKeys " + authority + ".pub\nAuthorizedKeysFile none\n");
  const std::string user(trim(shell("id -un").output));
  for (const auto& [name, type] : types) {
    CAPTURE(name);
    host.make_key(name, type);
    shell("ssh-keygen -q -s " + authority + " -I me -n " + user + " " + host.path(name) + ".pub");
    KeyRing ring;
    SshSettings settings = login_settings(host.port(), {host.path(name)});
    const bool able = name.starts_with("ecdsa") || !SshConnection::older_than(1, 11, 1);
    const LoginOutcome beside = log_in(settings, ring);
    CHECK(beside.ok() == able);
    CHECK(beside.by_openssh.empty() == able);
    if (!able)
      CHECK(has(beside.problem, "-cert.pub (libssh2 " + SshConnection::library_version() +
                                    " cannot use this certificate)"));
    shell("mv " + host.path(name) + "-cert.pub " + host.path(name) + ".certificate");
    KeyRing another;
    settings.certificates = {host.path(name) + ".certificate"};
    CHECK(log_in(settings, another).ok() == able);
  }
}

TEST_CASE("ssh login: without ssh-agent libssh2 reads what it can") {
  if (!possible("ssh login: without ssh-agent"))
    return;
  AllTypes all;
  all.host.make_key("locked", "ed25519", "geheim");
  const std::string path = std::getenv("PATH"), user(trim(shell("id -un").output));
  ::setenv("PATH", "/nonexistent", 1);
  KeyRing ring;
  const auto outcome = [&](const std::string& name) {
    SshSettings settings = login_settings(all.host.port(), {all.host.path(name)});
    settings.user = user;
    return log_in(settings, ring);
  };
  std::vector<LoginOutcome> outcomes;
  // ECDSA works as well, but libssh2 1.10 loses 76 bytes of memory for each such file.
  for (const char* name : {"ed25519", "rsa", "locked"})
    outcomes.push_back(outcome(name));
  ::setenv("PATH", path.c_str(), 1);
  CHECK(outcomes[0].problem.empty());
  if (SshConnection::older_than(1, 11, 0))
    CHECK(has(outcomes[1].problem, "rsa (needs ssh-agent, which is not installed)"));
  CHECK(has(outcomes[2].problem, "locked (cannot be used without its passphrase)"));
}

TEST_CASE("ssh login: refused by what the server takes") {
  if (!possible("ssh login: refused"))
    return;
  SshdHost host("PubkeyAuthentication no\nPasswordAuthentication yes\n");
  KeyRing ring;
  const LoginOutcome outcome = log_in(login_settings(host.port(), {host.path("user_key")}), ring);
  CHECK(outcome.progress == SshProgress::failed);
  CHECK(has(outcome.problem, "tried nothing, for the server takes no keys; it takes password"));
  CHECK(outcome.by_openssh.empty());
}

TEST_CASE("ssh login: a key that is not readable says why") {
  if (!possible("ssh login: a key that is not readable"))
    return;
  const SshdHost host;
  shell("chmod 644 " + host.path("user_key"));
  KeyRing ring;
  const LoginOutcome outcome = log_in(login_settings(host.port(), {host.path("user_key")}), ring);
  CHECK(has(outcome.problem, "are too open"));
}
