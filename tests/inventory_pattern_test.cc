// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "base/error.h"
#include "base/text.h"
#include "inventory/host_pattern.h"
#include "inventory/inventory.h"

using namespace ds;

namespace {

std::string expanded(const std::string& list, std::size_t most = 100) {
  try {
    return join(expand_nodelist(list, most), " ");
  } catch (const UsageError& error) {
    return error.what();
  }
}

std::string limited(const std::string& limit) {
  const Inventory inventory = parse_hostfile(
      "node01 slots=1 tags=a100\nnode02 slots=1\nnode16 slots=1\nnode9 slots=1\nnode10 slots=1\n"
      "node123 slots=1\nrack2-node01-ib slots=1\n[fe80::1] slots=1\n",
      "h");
  std::vector<std::string> names;
  try {
    for (const Host& host : select_hosts(inventory, {{}, {}, {limit}}).hosts)
      names.push_back(host.name);
  } catch (const UsageError& error) {
    return error.what();
  }
  return join(names, " ");
}

}  // namespace

TEST_CASE("inventory: ranges choose hosts, in the notation of reports") {
  CHECK(limited("node[01-16]") == "node01 node02 node16 node10");
  CHECK(limited("node[9-10]") == "node9 node10");
  CHECK(limited("node[09-10]") == "node10");
  CHECK(limited("node[01-02,123]") == "node01 node02 node123");
  CHECK(limited("node[1-200]") == "node16 node9 node10 node123");
  CHECK(limited("rack[1-8]-node[01-16]-ib") == "rack2-node01-ib");
  CHECK(limited("rack[1-8]-*") == "rack2-node01-ib");
  CHECK(limited("node[01-02],node9") == "node01 node02 node9");
  CHECK(limited("node[01-02], @a100,node123") == "node01 node02 node123");
  CHECK(limited("node0[1-2]") == "node01 node02");
  CHECK(limited("node0[a-c1]") == "node01");  // no numbers alone: characters of a glob
  CHECK(limited("[fe80::1]") == "[fe80::1]");
  CHECK(limited("node[20-30]").starts_with("--limit: 'node[20-30]' matches no host of h"));
  CHECK(limited("node[").starts_with("--limit: "));
}

TEST_CASE("inventory: node lists of Slurm") {
  CHECK(expanded("n[1-3],m7") == "n1 n2 n3 m7");
  CHECK(expanded("n[08-11,20]") == "n08 n09 n10 n11 n20");
  CHECK(expanded("r[1-2]n[1-2]-ib") == "r1n1-ib r1n2-ib r2n1-ib r2n2-ib");
  CHECK(expanded("login") == "login");
  CHECK(expanded("n[1-3]", 2) == "'n3' names more than 2 nodes");
  CHECK(expanded("n[3-1]") == "'n[3-1]' is no list of nodes");
  CHECK(expanded("") == "'' is no list of nodes");
  CHECK(expanded("n1,,n2") == "'' is no list of nodes");
  CHECK(expanded("n*") == "'n*' is no list of nodes");
  const Inventory inventory = slurm_inventory("gpu[01-02]", "Slurm job 7", 8);
  REQUIRE(inventory.hosts.size() == 2);
  CHECK(inventory.hosts[1].name == "gpu02");
  CHECK(inventory.hosts[1].slots == 8);
  CHECK(inventory.hosts[1].selected_slots.size() == 8);
  CHECK_THROWS_AS(slurm_inventory("a b", "SLURM_JOB_NODELIST", 1), UsageError);
}

TEST_CASE("inventory: several hostfiles are one list") {
  const Inventory first = parse_hostfile("n1 slots=8\nn2 slots=8\n", "a"),
                  second = parse_hostfile("\nn3 slots=8\n", "b");
  const Inventory all = join_inventories({first, second});
  CHECK(all.file == "a, b");
  CHECK(all.hosts.size() == 3);
  try {
    join_inventories({first, second, parse_hostfile("n2 slots=1\n", "c")});
    FAIL("joined");
  } catch (const InputError& error) {
    CHECK(std::string(error.what()) ==
          "c:1: host 'n2' is in a:2 already; remove one of the two lines");
  }
}
