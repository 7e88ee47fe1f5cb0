// SPDX-License-Identifier: Apache-2.0
#include "inventory/inventory.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace {

std::string errors_of(std::string_view text) {
  try {
    ds::parse_hostfile(text, "hosts");
  } catch (const ds::InputError& error) {
    return error.what();
  }
  return "no error";
}

ds::Host only_host(std::string_view text) {
  const ds::Inventory inventory = ds::parse_hostfile(text, "hosts");
  REQUIRE(inventory.hosts.size() == 1);
  return inventory.hosts.front();
}

ds::Inventory four_hosts() {
  return ds::parse_hostfile(
      "w0 slots=4 tags=a100,rack1\nw1 slots=4 tags=a100\nfe80::1 slots=2\nlast slots=1 tags=h100\n",
      "hosts");
}

std::string selected(const ds::Selection& selection) {
  std::string text;
  for (const ds::Host& host : ds::select_hosts(four_hosts(), selection).hosts) {
    text += host.name + ":";
    for (const int slot : host.selected_slots)
      text += std::to_string(slot);
    text += " ";
  }
  return text;
}

std::string refusal(const ds::Selection& selection) {
  try {
    selected(selection);
  } catch (const ds::UsageError& error) {
    return error.what() + " | " + error.fix();
  }
  return "no error";
}

}  // namespace

TEST_CASE("hostfile: the sample at the top of the tree is one local host") {
  const ds::Host host = only_host(ds::read_file(DS_SOURCE_DIR "/hostfile"));
  CHECK(host.name == "localhost");
  CHECK(host.slots == 1);
  CHECK(host.endpoint.kind == ds::Endpoint::Kind::local);
}

TEST_CASE("hostfile: comments, blank lines, CRLF, BOM, tabs, order") {
  const ds::Inventory inventory = ds::parse_hostfile(
      "\xEF\xBB\xBF# cluster\r\n\r\n\tzeta\tslots=2  # last rack\r\n  alpha slots=04\r\n \t \r\n",
      "hosts");
  REQUIRE(inventory.hosts.size() == 2);
  CHECK(inventory.hosts[0].name == "zeta");
  CHECK(inventory.hosts[0].line == 3);
  CHECK(inventory.hosts[0].selected_slots == std::vector<int>{0, 1});
  CHECK(inventory.hosts[1].name == "alpha");
  CHECK(inventory.hosts[1].slots == 4);
}

TEST_CASE("hostfile: every key") {
  const ds::Host host = only_host(
      "root@n1 slots=8 transport=ssh addr=10.0.0.7 port=2222 identity=~/.ssh/id#1 "
      "python=/opt/a=b/bin/python env-script=~/env.sh tags=a,b,a writer=yes");
  CHECK(host.name == "n1");
  CHECK(host.endpoint ==
        ds::Endpoint{ds::Endpoint::Kind::ssh, "n1", "10.0.0.7", "root", 2222, "~/.ssh/id#1"});
  CHECK(host.python == "/opt/a=b/bin/python");
  CHECK(host.env_script == "~/env.sh");
  CHECK(host.tags == std::vector<std::string>{"a", "b"});
  CHECK(host.writer);
  CHECK_FALSE(only_host("n1 slots=1 writer=no").writer);
}

TEST_CASE("hostfile: users and IPv6 names") {
  CHECK(only_host("a@dom@n1 slots=1").endpoint.user == "a@dom");
  CHECK(only_host("n1 slots=1").endpoint.address == "n1");
  for (const std::string text :
       {"fe80::1%eth0 slots=1", "[fe80::1%eth0] slots=1", "root@[fe80::1%eth0] slots=1"}) {
    CAPTURE(text);
    CHECK(only_host(text).name == "[fe80::1%eth0]");
    CHECK(only_host(text).endpoint.name == "fe80::1%eth0");
    CHECK(only_host(text).endpoint.address == "fe80::1%eth0");
  }
  CHECK(only_host("n1 slots=1 addr=[::1]").endpoint.address == "::1");
}

TEST_CASE("hostfile: what DeepSpeed reads without a key reads the same here") {
  CHECK(only_host("  n1   slots=4 ").slots == 4);
  CHECK(only_host("\tn-1.x_y slots=04").slots == 4);
}

TEST_CASE("hostfile: golden messages, all at once") {
  const std::string folder = DS_TESTS_DIR "/data/inventory/";
  CHECK(errors_of(ds::read_file(folder + "bad")) + "\n" == ds::read_file(folder + "bad.errors"));
}

TEST_CASE("hostfile: files that name no host") {
  CHECK(errors_of("") == "hosts: no host is named; write one line for each host: NAME slots=N");
  CHECK(errors_of("# all gone\n\n").find("no host is named") != std::string::npos);
  const std::string utf16("a\n\xFF\xFEn\0o\0", 8);
  CHECK(errors_of(utf16).starts_with("hosts:2: a NUL byte"));
}

TEST_CASE("hostfile: names that could hurt are refused and shown harmless") {
  for (const std::string name :
       {"-oProxyCommand=x", "n1;reboot", "$(id)", "n*", "a/b", "n1`", "..\\x", "root@-n1", "-l@n1",
        "n\xC3\xB6", "n1:", "[n1]", "node[1-4]"}) {
    CAPTURE(name);
    const std::string text = errors_of(name + " slots=1");
    CHECK(text != "no error");
    CHECK(std::count(text.begin(), text.end(), '\n') == 0);
  }
  CHECK(errors_of("n\x1b[31m slots=1").find('\x1b') == std::string::npos);
  CHECK(errors_of(std::string(300, 'a') + " slots=1").find("253 at most") != std::string::npos);
}

TEST_CASE("selection: NODE_SPEC as documented") {
  CHECK(selected({}) == "w0:0123 w1:0123 [fe80::1]:01 last:0 ");
  CHECK(selected({.include = "w0", .exclude = {}, .limit = {}}) == "w0:0123 ");
  CHECK(selected({.include = "w1:2,0@w0", .exclude = {}, .limit = {}}) == "w0:0123 w1:02 ");
  CHECK(selected({.include = "w1:0@w1:3@w1:0", .exclude = {}, .limit = {}}) == "w1:03 ");
  CHECK(selected({.include = "[fe80::1]:1", .exclude = {}, .limit = {}}) == "[fe80::1]:1 ");
  CHECK(selected({.include = "[fe80::1]@last", .exclude = {}, .limit = {}}) ==
        "[fe80::1]:01 last:0 ");
  CHECK(selected({.include = "fe80::1", .exclude = {}, .limit = {}}) == "[fe80::1]:01 ");
  CHECK(selected({.include = {}, .exclude = "w0@w1:1@last:0", .limit = {}}) ==
        "w1:023 [fe80::1]:01 ");
}

TEST_CASE("selection: refusals") {
  CHECK(refusal({.include = "w0", .exclude = "w1", .limit = {}}).find("cannot be used together") !=
        std::string::npos);
  CHECK(refusal({.include = "w2", .exclude = {}, .limit = {}}).find("did you mean 'w0'?") !=
        std::string::npos);
  CHECK(refusal({.include = "root@w0", .exclude = {}, .limit = {}}).find("without user@") !=
        std::string::npos);
  CHECK(refusal({.include = "w0:9", .exclude = {}, .limit = {}}) ==
        "--include: host 'w0' has no slot '9' | its slots are 0 to 3");
  CHECK(refusal({.include = {}, .exclude = "w0:0-2", .limit = {}}).find("such as 0,1,2") !=
        std::string::npos);
  CHECK(refusal({.include = "w0:", .exclude = {}, .limit = {}}) != "no error");
  CHECK(refusal({.include = "w0@", .exclude = {}, .limit = {}}).find("name is missing") !=
        std::string::npos);
  CHECK(refusal({.include = {}, .exclude = "w0@w1@[fe80::1]@last", .limit = {}}).find("is left") !=
        std::string::npos);
}

TEST_CASE("selection: --limit takes names, globs and tags, and they add up") {
  CHECK(selected({.include = {}, .exclude = {}, .limit = {"w*"}}) == "w0:0123 w1:0123 ");
  CHECK(selected({.include = {}, .exclude = {}, .limit = {"last", "@rack1"}}) == "w0:0123 last:0 ");
  CHECK(selected({.include = {}, .exclude = {}, .limit = {"[fe80::1],w1"}}) ==
        "w1:0123 [fe80::1]:01 ");
  for (const std::string pattern : {"fe80::1", "[fe80::1]", "fe80*", "*::?"})
    CHECK(selected({.include = {}, .exclude = {}, .limit = {pattern}}) == "[fe80::1]:01 ");
  CHECK(selected({.include = "w0:1@w1", .exclude = {}, .limit = {"@a100"}}) == "w0:1 w1:0123 ");
  CHECK(refusal({.include = {}, .exclude = {}, .limit = {"w0", "x*"}})
            .find("--limit: 'x*' matches no host") != std::string::npos);
  CHECK(refusal({.include = {}, .exclude = {}, .limit = {"@h10"}}).find("did you mean '@h100'?") !=
        std::string::npos);
  CHECK(refusal({.include = {}, .exclude = "w0", .limit = {"w0"}}).find("matches no host") !=
        std::string::npos);
}

TEST_CASE("local inventory") {
  const ds::Inventory inventory = ds::local_inventory();
  REQUIRE(inventory.hosts.size() == 1);
  CHECK(inventory.hosts[0].name == "localhost");
  CHECK(inventory.hosts[0].endpoint.kind == ds::Endpoint::Kind::local);
}
