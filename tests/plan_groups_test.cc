// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "plan/plan.h"
#include "support/plan_fixture.h"
#include "support/source_fixture.h"

using namespace ds;

namespace {

HostFacts host(const std::string& name, const std::string& python, const std::string& torch,
               const std::string& abi = "") {
  HostFacts host;
  host.host = name;
  host.state = HostFacts::State::reached;
  host.python.version = python;
  host.python.soabi = abi;
  host.torch.version = torch;
  return host;
}

std::vector<std::string> said(const std::vector<TargetGroup>& groups) {
  std::vector<std::string> texts;
  for (const TargetGroup& group : groups) {
    texts.push_back(to_string(group) + ":");
    for (const std::string& name : group.hosts)
      texts.back() += " " + name;
  }
  return texts;
}

using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE("plan: hosts of one Python and one torch are a group") {
  Fleet fleet{{host("a", "3.11.2", "2.11.0"), host("b", "3.10.4", "2.11.0"),
               host("c", "3.11.9", "2.11.0"), host("d", "3.11.2", "2.9.1")}};
  const std::vector<TargetGroup> groups = target_groups(fleet);
  CHECK(said(groups) == Texts{"Python 3.11 with torch 2.11.0: a c",
                              "Python 3.10 with torch 2.11.0: b",
                              "Python 3.11 with torch 2.9.1: d"});
  CHECK(fleet_of(groups[0], fleet).hosts == std::vector<HostFacts>{fleet.hosts[0], fleet.hosts[2]});
  CHECK(serves(fleet.hosts[2], groups[0]));
  CHECK_FALSE(serves(fleet.hosts[1], groups[0]));
  CHECK_FALSE(serves(fleet.hosts[3], groups[0]));
}

TEST_CASE("plan: a Python without a global lock has libraries of its own") {
  CHECK(said(target_groups({{host("a", "3.13.1", "2.11.0", "cpython-313-x86_64-linux-gnu"),
                             host("b", "3.13.1", "2.11.0", "cpython-313t-x86_64-linux-gnu")}})) ==
        Texts{"Python 3.13 with torch 2.11.0: a", "Python 3.13t with torch 2.11.0: b"});
}

TEST_CASE("plan: hosts that say less are with others, and never lost") {
  CHECK(said(target_groups({{host("dead", "", ""), host("bare", "3.10.4", ""),
                             host("a", "3.11.2", "2.11.0"), host("b", "3.10.4", "2.9.0")}})) ==
        Texts{"Python 3.11 with torch 2.11.0: a dead", "Python 3.10 with torch 2.9.0: b bare"});
  CHECK(said(target_groups({{host("dead", "", ""), host("bare", "3.10.4", "")}})) ==
        Texts{"Python 3.10: dead bare"});
  CHECK(said(target_groups({{host("dead", "", "")}})) == Texts{"any Python: dead"});
  CHECK(said(target_groups({})) == Texts{"any Python:"});
  CHECK(serves(host("here", "3.12.1", "2.11.0"), target_groups({}).front()));
}

TEST_CASE("plan: two torches are one graph, and what they make alike is made once") {
  const SourceTree tree = small_tree();
  SourceTree older = tree;
  older.torch.version = "2.9.0+cu130";
  const std::string folder = "/old/lib/torch";
  older.torch.cpp.include = {folder + "/include", folder + "/include/torch/csrc/api/include"};
  HostFacts builder = build_machine();
  builder.nvcc = {{"/opt/cuda/bin/nvcc", "13.0"}};
  const auto plan_for = [&](const SourceTree& one, const char* name) {
    HostFacts facts = host(name, "3.11.2", one.torch.version);
    facts.torch.cuda = "13.0";
    facts.torch.cxx11_abi = true;
    return make_source_plan(one, {{facts}}, builder, {{{"TORCH_CUDA_ARCH_LIST", "8.0"}}});
  };
  const BuildPlan first = plan_for(tree, "a"), second = plan_for(older, "b");
  CHECK(first.version != second.version);

  const BuildPlan twice = one_graph({&first, &first});
  CHECK(twice.jobs.size() == first.jobs.size());

  const BuildPlan whole = one_graph({&first, &second});
  std::set<std::filesystem::path> outputs, wanted;
  for (const Job& job : whole.jobs)
    CHECK(outputs.insert(job.output).second);
  for (const BuildPlan* plan : {&first, &second}) {
    for (const Job& job : plan->jobs)
      wanted.insert(job.output);
  }
  CHECK(outputs == wanted);
  for (const BuildPlan* plan : {&first, &second}) {
    for (const Job& job : plan->jobs) {
      const auto made = std::find_if(whole.jobs.begin(), whole.jobs.end(),
                                     [&](const Job& other) { return other.output == job.output; });
      REQUIRE(made->needs.size() == job.needs.size());
      for (std::size_t at = 0; at < job.needs.size(); ++at)
        CHECK(whole.jobs[made->needs[at]].output == plan->jobs[job.needs[at]].output);
    }
  }
  CHECK(whole.jobs.front().name.ends_with(" (wheel 1 of 2)"));
  CHECK(whole.jobs.back().name.ends_with(" (wheel 2 of 2)"));
}
