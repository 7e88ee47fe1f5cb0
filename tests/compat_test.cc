// SPDX-License-Identifier: Apache-2.0
#include "compat/compat.h"

#include <doctest/doctest.h>

#include <functional>

#include "support/audit_fixture.h"

using namespace ds;
using enum Severity;

namespace {

/// One op that is in order on the good host; tests change one thing.
struct Pair {
  OpRules op;
  HostFacts host = AuditCase::good_host("node1");
  Pair() {
    op.name = "scale";
    op.gpu = true;
    op.minimum_compute_capability = "7.0";
    op.host_needs = {"libgomp.so.1"};
    op.links_torch = op.links_torch_cuda = true;
    op.torch = "2.6.0+cu124";
    op.cxx11_abi = true;
    op.cuda = "12.8";
  }
};

struct Row {
  const char* rule;
  std::function<void(Pair&)> change;
  Severity severity;
  const char* because;  ///< the whole sentence
};

}  // namespace

TEST_CASE("compat: an op that a host can run") {
  const Pair good;
  const auto verdicts = judge(good.op, good.host);
  REQUIRE(verdicts.size() == 1);
  CHECK(verdicts[0].severity == ok);
  CHECK(verdicts[0].because == "scale is built with torch 2.6.0+cu124, which is there");
  OpRules bare;
  bare.name = "plain";
  CHECK(judge(bare, HostFacts()).empty());
}

TEST_CASE("compat: every rule says why") {
  const Row rows[] = {
      {"gpu",
       [](Pair& p) {
         p.host.gpus.clear();
         p.host.driver.clear();
       },
       warn, "scale cannot run here, because this host has no GPU"},
      {"gpu", [](Pair& p) { p.host.gpus.clear(); }, unknown,
       "which GPUs this host has is not known: the NVIDIA driver is loaded, but lists no GPU"},
      {"minimum-capability", [](Pair& p) { p.op.minimum_compute_capability = "9.0"; }, fail,
       "scale needs compute capability 9.0, and no GPU of this host has it: 8.0 (NVIDIA A100)"},
      {"minimum-capability",
       [](Pair& p) {
         p.op.minimum_compute_capability = "9.0";
         p.host.gpus[1] = AuditCase::gpu("10.0", "B200");
       },
       warn, "scale needs compute capability 9.0, and a GPU of this host has 8.0 (NVIDIA A100)"},
      {"needed-libraries", [](Pair& p) { p.op.host_needs = {"libaio.so.1"}; }, fail,
       "scale opens libaio.so.1, which this host's loader does not know"},
      {"needed-libraries",
       [](Pair& p) {
         p.op.host_needs = {"libaio.so.1"};
         p.host.libraries.clear();
       },
       unknown, "scale opens libaio.so.1, and which libraries this host has is not known"},
      {"torch", [](Pair& p) { p.host.torch = {}; }, fail,
       "scale links PyTorch, and /opt/venv has none"},
      {"torch", [](Pair& p) { p.host.python.executable.clear(); }, unknown,
       "scale links PyTorch, and whether this host has it is not known"},
      {"torch", [](Pair& p) { p.host.torch.cuda.clear(); }, fail,
       "scale links PyTorch's CUDA libraries, and torch 2.6.0+cu124 has none"},
      {"torch", [](Pair& p) { p.host.torch.version = "2.7.0"; }, fail,
       "scale is built with torch 2.6.0+cu124, and this host has torch 2.7.0"},
      {"torch", [](Pair& p) { p.host.torch.cxx11_abi = false; }, fail,
       "scale is built with the C++ ABI 1 of torch 2.6.0+cu124, and this host's has 0"},
      {"torch", [](Pair& p) { p.op.cuda = "13.0"; }, fail,
       "scale is built with CUDA 13.0, and torch 2.6.0+cu124 of this host with CUDA 12.4"},
      {"torch",
       [](Pair& p) {
         p.op.cuda = "13.0";
         p.op.skip_cuda_check = true;
       },
       warn, "scale is built with CUDA 13.0, and torch 2.6.0+cu124 of this host with CUDA 12.4"},
      {"torch", [](Pair& p) { p.op.torch.clear(); }, unknown,
       "scale links PyTorch; torch 2.6.0+cu124 is there, but whether it is the version and C++ ABI "
       "that it was built with is not known"}};
  for (const Row& row : rows) {
    Pair pair;
    row.change(pair);
    const OpVerdict found = judge(pair.op, pair.host).front();
    CAPTURE(std::string(row.because));
    CHECK(found.rule == row.rule);
    CHECK(to_string(found.severity) == to_string(row.severity));
    CHECK(found.because == row.because);
    CHECK((found.severity != fail || !found.fix.empty()));
  }
}

TEST_CASE("compat: the ways out of another CUDA") {
  Pair pair;
  pair.op.cuda = "13.0";
  CHECK(judge(pair.op, pair.host).front().fix ==
        "set CUDA_HOME to a CUDA 12.4 toolkit, install a torch that is built with CUDA 13.0, or "
        "set DS_SKIP_CUDA_CHECK=1 to build all the same");
}

TEST_CASE("compat: on a host without a GPU the rules about it are silent") {
  Pair pair;
  pair.op.host_needs = {"libaio.so.1"};
  pair.op.minimum_compute_capability = "9.0";
  pair.host.gpus.clear();
  const auto verdicts = judge(pair.op, pair.host);
  REQUIRE(verdicts.size() == 2);
  CHECK(verdicts[0].rule == "gpu");
  CHECK(verdicts[1].rule == "torch");
}
