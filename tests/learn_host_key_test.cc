// SPDX-License-Identifier: Apache-2.0
#include "transport/learn_host_key.h"

#include <doctest/doctest.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <thread>

#include "base/error.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"
#include "support/shell.h"

using namespace ds;

namespace {

/// Keys that are none, but have the form of ed25519 keys.
std::string key_of(char fill) {
  return std::string("\0\0\0\x0bssh-ed25519\0\0\0\x20", 19) + std::string(32, fill);
}

struct Bench {
  TempDir folder;
  std::filesystem::path file = folder.path() / "home" / "ssh" / "known_hosts";
  std::string text() const { return read_file(file); }
  KeyVerdict add(const std::string& name, int port, const std::string& key, bool hashed = false) {
    return append_host_key(file, name, port, key, hashed).verdict;
  }
};

int mode_of(const std::filesystem::path& path) {
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return static_cast<int>(status.st_mode & 0777);
}

}  // namespace

TEST_CASE("known_hosts: a key is added once, to a file that is made for it") {
  Bench bench;
  CHECK(bench.add("Node1", 22, key_of('a')) == KeyVerdict::unknown);
  CHECK(bench.text() == "node1 " + key_text(key_of('a')) + "\n");
  CHECK(mode_of(bench.file) == 0600);
  CHECK(mode_of(bench.file.parent_path()) == 0700);
  CHECK(mode_of(bench.file.parent_path().parent_path()) == 0700);

  CHECK(bench.add("node1", 22, key_of('a')) == KeyVerdict::match);
  CHECK(bench.add("node1", 22, key_of('b')) == KeyVerdict::changed);
  CHECK(bench.add("node1", 2222, key_of('b')) == KeyVerdict::unknown);
  CHECK(bench.add("alias", 0, key_of('b')) == KeyVerdict::unknown);
  CHECK(bench.text() == "node1 " + key_text(key_of('a')) + "\n[node1]:2222 " +
                            key_text(key_of('b')) + "\nalias " + key_text(key_of('b')) + "\n");
}

TEST_CASE("known_hosts: what is on file stays as it is") {
  Bench bench;
  std::filesystem::create_directories(bench.file.parent_path());
  const std::string before =
      "# mine\n\nbad line\n@revoked * " + key_text(key_of('r')) + "\nold " + key_text(key_of('o'));
  write_file(bench.file, before, 0644);
  CHECK(bench.add("node1", 22, key_of('r')) == KeyVerdict::revoked);
  CHECK(bench.text() == before);
  CHECK(bench.add("node1", 22, key_of('a')) == KeyVerdict::unknown);
  CHECK(bench.text() == before + "\nnode1 " + key_text(key_of('a')) + "\n");
  CHECK(mode_of(bench.file) == 0644);
  CHECK(KnownHosts({bench.file}).check("old", 22, key_of('o')).verdict == KeyVerdict::match);
}

TEST_CASE("known_hosts: hashed names, as HashKnownHosts wants them") {
  Bench bench;
  CHECK(bench.add("node1", 2222, key_of('a'), true) == KeyVerdict::unknown);
  CHECK(bench.add("node1", 2222, key_of('a'), true) == KeyVerdict::match);
  CHECK(bench.text().starts_with("|1|"));
  CHECK(bench.text().find("node1") == std::string::npos);
  CHECK(lines(bench.text()).size() == 1);
  if (!needs("command -v ssh-keygen", "known_hosts: hashed names", "no ssh-keygen"))
    return;
  CHECK(shell("ssh-keygen -F '[node1]:2222' -f " + bench.file.string()).status == 0);
}

TEST_CASE("known_hosts: several keys at once, and two for one name") {
  Bench bench;
  const std::vector<NewHostKey> keys = {{"node1", 22, key_of('a'), false},
                                        {"node2", 22, key_of('b'), false},
                                        {"node1", 22, key_of('a'), false},
                                        {"node1", 22, key_of('c'), false}};
  const std::vector<KeyCheck> checks = append_host_keys(bench.file, keys);
  REQUIRE(checks.size() == 4);
  CHECK(checks[0].verdict == KeyVerdict::unknown);
  CHECK(checks[1].verdict == KeyVerdict::unknown);
  CHECK(checks[2].verdict == KeyVerdict::match);
  CHECK(checks[3].verdict == KeyVerdict::changed);
  CHECK(lines(bench.text()).size() == 2);
}

TEST_CASE("known_hosts: names and keys that have no place in the file") {
  Bench bench;
  for (const std::string name : {"", "a b", "a,b", "no*", "!a", "@revoked", "#a", "a\nb", "|1|a"}) {
    CAPTURE(name);
    CHECK_THROWS_AS(bench.add(name, 22, key_of('a')), Error);
  }
  CHECK_THROWS_AS(bench.add("node1", 22, "nonsense"), Error);
  CHECK_FALSE(std::filesystem::exists(bench.file));
  std::filesystem::create_directories(bench.file);
  CHECK_THROWS_AS(bench.add("node1", 22, key_of('a')), Error);
}

TEST_CASE("known_hosts: writers wait for each other, and see what the other added") {
  Bench bench;
  CHECK(bench.add("node0", 22, key_of('a')) == KeyVerdict::unknown);
  Fd held(::open(bench.file.c_str(), O_RDWR | O_APPEND | O_CLOEXEC));
  REQUIRE(::flock(held.get(), LOCK_EX) == 0);
  KeyVerdict verdict = KeyVerdict::revoked;
  std::thread other([&] { verdict = bench.add("node1", 22, key_of('a')); });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const std::string line = "node1 " + key_text(key_of('a')) + "\n";
  CHECK(::write(held.get(), line.data(), line.size()) == static_cast<ssize_t>(line.size()));
  held.close();
  other.join();
  CHECK(verdict == KeyVerdict::match);

  std::vector<std::thread> writers;
  for (int i = 0; i < 8; ++i) {
    writers.emplace_back([&bench, i] {
      for (int k = 0; k < 10; ++k)
        bench.add("n" + std::to_string(k), 22, key_of(static_cast<char>('a' + i % 2)));
    });
  }
  for (std::thread& writer : writers)
    writer.join();
  CHECK(lines(bench.text()).size() == 12);
}

TEST_CASE("known_hosts: a refusal says what was seen, what is on file and the way out") {
  SeenHostKey seen{"node1", 2222, key_of('a'), {}, "/home/known_hosts", false};
  const auto print = [](char fill) { return describe_key(key_of(fill)); };
  CHECK(host_key_refusal(seen) == "the host key of [node1]:2222 is not known: it shows " +
                                      print('a') +
                                      "; if that is the right one, add it: ds-deploy trust "
                                      "--hostfile FILE");

  KnownKey old{"/home/known hosts", 3, KnownKey::Marker::none, false, {key_of('b')}};
  KnownKey wild{"/etc/known_hosts", 7, KnownKey::Marker::none, true, {key_of('c')}};
  seen.check = {KeyVerdict::changed, old.where(), {old, old, wild}};
  const std::string changed = host_key_refusal(seen);
  CHECK(changed.find("it shows " + print('a') + ", on file is " + print('b') +
                     " (/home/known hosts:3)") != std::string::npos);
  CHECK(changed.find("ssh-keygen -R '[node1]:2222' -f '/home/known hosts' and edit "
                     "/etc/known_hosts:7; then") != std::string::npos);

  seen.check = {KeyVerdict::revoked, "/etc/known_hosts:9", {}};
  CHECK(host_key_refusal(seen).find("is revoked: " + print('a') + " by /etc/known_hosts:9") !=
        std::string::npos);
  seen.check = {KeyVerdict::unreadable, "/etc/revoked:2", {}};
  CHECK(host_key_refusal(seen).find("/etc/revoked:2 cannot be read") != std::string::npos);
  seen.check = {KeyVerdict::authority, "/etc/known_hosts:1", {}};
  CHECK(host_key_refusal(seen).find("the authority of /etc/known_hosts:1") != std::string::npos);
  seen.check = {KeyVerdict::key_list, "/etc/krl", {}};
  CHECK(host_key_refusal(seen).find("revoked keys /etc/krl") != std::string::npos);
}
