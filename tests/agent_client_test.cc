// SPDX-License-Identifier: Apache-2.0
//
// The agent client against a real ssh-agent, and against sockets that play a bad one.
#include "transport/agent_client.h"

#include <doctest/doctest.h>

#include <functional>
#include <memory>

#include "support/test_agent.h"
#include "transport/host_key.h"
#include "transport/ssh_wire.h"

using namespace ds;
using Failure = AgentClient::Failure;

namespace {

bool possible(const std::string& test) {
  return needs("command -v ssh-agent && command -v ssh-add && command -v ssh-keygen", test,
               "no ssh-agent (openssh-client)");
}

std::vector<pollfd> waits_of(const AgentClient& client) {
  std::vector<pollfd> waits;
  client.wants(waits);
  return waits;
}

SshProgress to_the_end(const AgentClient& client, const std::function<SshProgress()>& step) {
  SshProgress progress = SshProgress::waiting;
  while ((progress = step()) == SshProgress::waiting) {
    std::vector<pollfd> waits = waits_of(client);
    REQUIRE(waits.size() == 1);
    REQUIRE(::poll(waits.data(), 1, 10'000) == 1);
  }
  return progress;
}

SshProgress list(AgentClient& client, std::vector<AgentKey>& keys) {
  return to_the_end(client, [&] { return client.list(keys); });
}

/// What the client makes of an agent that answers these bytes, then hangs up if told so.
Failure answered(const std::string& bytes, bool hangs_up = false) {
  FakeAgent agent;
  AgentClient client(agent.socket());
  std::vector<AgentKey> keys;
  CHECK(client.list(keys) == SshProgress::waiting);
  agent.accept();
  agent.say(bytes);
  if (hangs_up)
    agent.hang_up();
  CHECK(list(client, keys) == SshProgress::failed);
  CHECK(keys.empty());
  CHECK(client.problem().find(agent.socket()) != std::string::npos);
  CHECK(waits_of(client).empty());
  return client.failure();
}

std::string message(const std::string& body) {
  std::string framed;
  put_string(framed, body);
  return framed;
}

}  // namespace

TEST_CASE("agent client: lists and signs with every type of key") {
  if (!possible("agent client: lists and signs"))
    return;
  const TestAgent agent;
  const TempDir folder;
  const std::string file = (folder.path() / "key").string();
  for (const char* type : {"ed25519", "ecdsa -b 256", "ecdsa -b 384", "ecdsa -b 521", "rsa"}) {
    agent.run("rm -f " + file + "; ssh-keygen -q -t " + type + " -N '' -C 'my key' -f " + file);
    agent.add(file);
  }
  AgentClient client(agent.socket());
  std::vector<AgentKey> keys;
  REQUIRE(list(client, keys) == SshProgress::done);
  REQUIRE(keys.size() == 5);
  for (const AgentKey& key : keys) {
    CHECK(key.comment == "my key");
    const std::string type = key_type(key.blob);
    const std::string algorithm = type == "ssh-rsa" ? "rsa-sha2-512" : type;
    std::string signature;
    CHECK(to_the_end(client, [&] { return client.sign(key.blob, "data", algorithm, signature); }) ==
          SshProgress::done);
    CHECK(signature.size() >= 64);
  }
  std::string signature;
  CHECK(to_the_end(client, [&] {
          return client.sign("no such key", "data", "ssh-ed25519", signature);
        }) == SshProgress::failed);
  CHECK(client.failure() == Failure::declined);
  // An agent that ignores the flags would sign with SHA-1; here another type stands for it.
  CHECK(to_the_end(client, [&] {
          return client.sign(keys[0].blob, "data", "rsa-sha2-512", signature);
        }) == SshProgress::failed);
  CHECK(client.problem().find("signs with ssh-ed25519, not with rsa-sha2-512") !=
        std::string::npos);
}

TEST_CASE("agent client: empty and locked agents list nothing") {
  if (!possible("agent client: empty and locked"))
    return;
  const TestAgent agent;
  AgentClient client(agent.socket());
  std::vector<AgentKey> keys;
  CHECK(list(client, keys) == SshProgress::done);
  CHECK(keys.empty());
  const TempDir folder;
  const std::string file = (folder.path() / "key").string();
  agent.run("ssh-keygen -q -t ed25519 -N '' -f " + file);
  agent.add(file);
  agent.run("ssh-add -q -x");
  CHECK(list(client, keys) == SshProgress::done);
  CHECK(keys.empty());
  agent.run("ssh-add -q -X");
  CHECK(list(client, keys) == SshProgress::done);
  CHECK(keys.size() == 1);
}

TEST_CASE("agent client: no socket, and nobody behind it") {
  std::vector<AgentKey> keys;
  AgentClient absent("/nonexistent/agent");
  CHECK(absent.list(keys) == SshProgress::failed);
  CHECK(absent.failure() == Failure::no_socket);
  CHECK(absent.problem() == "the ssh agent /nonexistent/agent: No such file or directory");
  AgentClient endless("/" + std::string(200, 'x'));
  CHECK(endless.list(keys) == SshProgress::failed);
  CHECK(endless.failure() == Failure::no_socket);
  FakeAgent agent;
  agent.stop_listening();
  AgentClient refused(agent.socket());
  CHECK(refused.list(keys) == SshProgress::failed);
  CHECK(refused.failure() == Failure::refused);
}

TEST_CASE("agent client: an agent that hangs is waited for, without a spin") {
  const FakeAgent agent;
  AgentClient client(agent.socket());
  std::vector<AgentKey> keys;
  for (int i = 0; i < 3; ++i)
    CHECK(client.list(keys) == SshProgress::waiting);
  std::vector<pollfd> waits = waits_of(client);
  REQUIRE(waits.size() == 1);
  CHECK(waits[0].events == POLLIN);
  CHECK(::poll(waits.data(), 1, 50) == 0);
}

TEST_CASE("agent client: a full queue is tried again") {
  FakeAgent agent(0);
  std::vector<AgentKey> keys;
  std::vector<std::unique_ptr<AgentClient>> clients;
  // The kernel lets in one more than the queue is long.
  for (int i = 0; i < 2; ++i) {
    clients.push_back(std::make_unique<AgentClient>(agent.socket()));
    CHECK(clients.back()->list(keys) == SshProgress::waiting);
  }
  std::vector<pollfd> waits = waits_of(*clients.back());
  REQUIRE(waits.size() == 1);
  CHECK(::poll(waits.data(), 1, 1000) == 1);
  agent.accept();
  CHECK(clients.back()->list(keys) == SshProgress::waiting);
  waits = waits_of(*clients.back());
  CHECK(waits[0].events == POLLIN);
}

TEST_CASE("agent client: hostile answers") {
  const std::string list_answer(1, '\x0c');
  CHECK(answered(std::string(4, '\0')) == Failure::malformed);
  CHECK(answered("\xff\xff\xff\xff") == Failure::malformed);
  CHECK(answered("SSH-2.0-OpenSSH_9.2\r\n") == Failure::malformed);
  CHECK(answered(message("\x63what")) == Failure::malformed);
  CHECK(answered(message(list_answer)) == Failure::malformed);
  CHECK(answered(message(list_answer + "\xff\xff\xff\xff" + std::string(100, '\0'))) ==
        Failure::malformed);
  CHECK(answered(message(list_answer + std::string("\0\0\0\1\0\0\0\xff", 8) +
                         std::string(20, 'x'))) == Failure::malformed);
  CHECK(answered(message("\x05")) == Failure::declined);
  CHECK(answered("", true) == Failure::closed);
  CHECK(answered(message(list_answer).substr(0, 3), true) == Failure::closed);
}

TEST_CASE("agent client: an answer in pieces, its comment cleaned") {
  FakeAgent agent;
  AgentClient client(agent.socket());
  std::vector<AgentKey> keys;
  CHECK(client.list(keys) == SshProgress::waiting);
  agent.accept();
  std::string body = std::string("\x0c\0\0\0\1", 5);
  put_string(body, "blob");
  put_string(body, "red \x1b[31m key");
  for (const char byte : message(body)) {
    CHECK(client.list(keys) == SshProgress::waiting);
    agent.say(std::string(1, byte));
  }
  CHECK(list(client, keys) == SshProgress::done);
  REQUIRE(keys.size() == 1);
  CHECK(keys[0].blob == "blob");
  CHECK(keys[0].comment == "red \\x1b[31m key");
}
