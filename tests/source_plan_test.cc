// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "plan/plan.h"
#include "support/plan_fixture.h"
#include "support/source_fixture.h"

using namespace ds;

namespace {

using Environment = std::map<std::string, std::string>;

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

HostFacts builder_with_torch() {
  HostFacts builder = build_machine();
  builder.nvcc = {{"/opt/cuda/bin/nvcc", "13.0"}};
  return builder;
}

Fleet hosts(int cpu_level = 3) {
  Fleet fleet = fleet_of({{"n1", "8.0"}, {"n2", "9.0"}});
  for (HostFacts& host : fleet.hosts) {
    host.cpu_level = cpu_level;
    host.python.executable = "/env/bin/python";
    host.python.version = "3.11.2";
    host.torch = {"2.11.0+cu130", "13.0", "/env/lib/torch", true};
  }
  return fleet;
}

BuildPlan plan_of(const SourceTree& tree, const Environment& environment = {},
                  const Fleet& fleet = hosts()) {
  return make_source_plan(tree, fleet, builder_with_torch(), {environment});
}

std::vector<std::string> names(const BuildPlan& plan) {
  std::vector<std::string> names;
  for (const PlannedOp& op : plan.ops)
    names.push_back(op.name);
  return names;
}

std::string left_out(const BuildPlan& plan, const std::string& name) {
  for (const LeftOutOp& op : plan.left_out) {
    if (op.name == name)
      return op.because;
  }
  return {};
}

const Job& job_of(const BuildPlan& plan, const std::string& start) {
  const auto found = std::find_if(plan.jobs.begin(), plan.jobs.end(),
                                  [&](const Job& job) { return job.name.starts_with(start); });
  REQUIRE(found != plan.jobs.end());
  return *found;
}

std::string words(const BuildPlan& plan, const std::string& start) {
  return " " + join(job_of(plan, start).command.argv, " ") + " ";
}

Error error_of(const SourceTree& tree, const Environment& environment = {},
               const Fleet& fleet = hosts()) {
  try {
    plan_of(tree, environment, fleet);
  } catch (const Error& error) {
    return error;
  }
  return Error("nothing was wrong");
}

}  // namespace

TEST_CASE("source plan: golden") {
  CHECK(listed(plan_of(small_tree())) == read_file(DS_TESTS_DIR "/data/plan/source_jobs"));
}

TEST_CASE("source plan: what the wheel is and where libraries lie in it") {
  const BuildPlan plan = plan_of(small_tree());
  CHECK(plan.package == "deepspeed");
  CHECK(plan.version.starts_with("0.19.8+gedaa722.cu130.sm80.sm90.v3.torch2.11.o"));
  CHECK(plan.tag == "cp311-cp311-linux_x86_64");
  CHECK(plan.ops[0].path == "deepspeed/ops/adam/cpu_adam_op.cpython-311-x86_64-linux-gnu.so");
  CHECK(plan.cuda == "13.0");
  SourceTree sdist = small_tree();
  sdist.git_hash.clear();
  sdist.digest = "0123456789abcdef";
  sdist.build_string = "";
  CHECK(plan_of(sdist).version.starts_with("0.19.8+s012345678.cu130.sm80.sm90.v3.torch2.11.o"));
  sdist.build_string = "+abc";
  CHECK(plan_of(sdist).version.starts_with("0.19.8+abc.cu130."));
  CHECK(plan_of(sdist, {{"DS_BUILD_STRING", "+own"}}).version.starts_with("0.19.8+own.cu130."));
  sdist.name = "flash-attn";
  sdist.version = "2.8.3+x1";
  CHECK(plan_of(sdist).package == "flash_attn");
  CHECK(plan_of(sdist).version.starts_with("2.8.3+x1.abc."));
}

TEST_CASE("source plan: which ops") {
  const SourceTree tree = small_tree();
  const BuildPlan all = plan_of(tree);
  CHECK(names(all) == std::vector<std::string>{"cpu_adam", "fused_adam", "async_io", "pin_memory"});
  CHECK(left_out(all, "lost") == "builder() raised OSError: no disk");
  CHECK(has(join(all.notes, "\n"), "every compatible one is built"));

  const BuildPlan aio = plan_of(tree, {{"DS_BUILD_ASYNC_IO", "1"}});
  CHECK(names(aio) == std::vector<std::string>{"async_io", "pin_memory"});
  CHECK(has(job_of(aio, "c++ pin_memory").because, "op async_io loads it before itself"));
  CHECK(aio.archs.empty());
  CHECK(aio.cuda == "13.0");
  CHECK_FALSE(has(join(aio.notes, "\n"), "every compatible one is built"));
  const BuildPlan alone = plan_of(tree, {{"DS_BUILD_ASYNC_IO", "1"}, {"DS_BUILD_PIN_MEMORY", "0"}});
  CHECK(names(alone) == std::vector<std::string>{"async_io"});
  CHECK(has(join(alone.notes, "\n"), "op async_io loads pin_memory before itself"));

  const Error lost = error_of(tree, {{"DS_BUILD_LOST", "1"}});
  CHECK(lost.status() == ExitStatus::build_failed);
  CHECK(has(lost.what(), "lost: builder() raised OSError: no disk"));
  CHECK(error_of(tree, {{"DS_BUILD_OPS", "0"}}).status() == ExitStatus::build_failed);
}

TEST_CASE("source plan: torch and Python are those of the hosts") {
  const SourceTree tree = small_tree();
  Fleet fleet = hosts();
  fleet.hosts[0].torch.version = fleet.hosts[1].torch.version = "2.15.0+cu132";
  CHECK(has(error_of(tree, {}, fleet).what(),
            "the hosts have torch 2.15.0+cu132 (C++ ABI 1), and the build machine has torch "
            "2.11.0+cu130 (C++ ABI 1)"));
  fleet = hosts();
  fleet.hosts[1].python.version = "3.12.1";
  CHECK(has(join(plan_of(tree, {}, fleet).notes, "\n"),
            "the ops are for Python 3.11, and n2 has 3.12.1"));
  fleet.hosts[0].python.version = "3.12.1";
  CHECK(error_of(tree, {}, fleet).status() == ExitStatus::build_failed);
  SourceTree stub = tree;
  stub.torch.stub = true;
  CHECK(has(error_of(stub).what(), "it has no torch"));
  SourceTree broken = tree;
  broken.torch.cuda_extension.problem = "OSError: no toolkit";
  CHECK(left_out(plan_of(broken), "fused_adam") ==
        "torch gives no CUDA extension: OSError: no toolkit");
  const PlannedOp aio = plan_of(tree).ops[2];
  CHECK(aio.rules.links_torch_cuda);
  CHECK_FALSE(aio.rules.gpu);
  CHECK(aio.rules.torch == "2.11.0+cu130");
  CHECK(plan_of(tree, {}, {}).ops.size() == 4);
}

TEST_CASE("source plan: the CPU is the hosts', not the builder's") {
  const SourceTree tree = small_tree();
  const auto host_code = [&](int level) {
    return words(plan_of(tree, {}, hosts(level)), "c++ cpu_adam");
  };
  CHECK(has(host_code(4), " -march=x86-64-v4 -mneeded "));
  CHECK(has(host_code(4), " -D__AVX512__ "));
  CHECK(has(host_code(3), " -march=x86-64-v3 -mneeded "));
  CHECK(has(host_code(3), " -D__AVX256__ "));
  CHECK_FALSE(has(host_code(3), "AVX512"));
  CHECK(has(host_code(1), " -D__SCALAR__ "));
  CHECK_FALSE(has(host_code(1), "-march"));
  CHECK_FALSE(has(host_code(4), "native"));
  CHECK(has(words(plan_of(tree), "nvcc fused_adam"), " -Xcompiler=-march=x86-64-v3 "));
}

TEST_CASE("source plan: architectures are each op's own") {
  SourceTree tree = small_tree();
  tree.ops[1].minimum_compute_capability = "9.0";
  const std::string device = words(plan_of(tree), "nvcc fused_adam");
  CHECK_FALSE(has(device, "compute_80"));
  CHECK(has(device, " -gencode=arch=compute_90,code=sm_90 "));
  tree.ops[1].minimum_compute_capability = "9.9";
  CHECK(has(left_out(plan_of(tree), "fused_adam"), "needs compute capability 9.9"));
}

TEST_CASE("source plan: bf16 is not lost for all because of one GPU") {
  const SourceTree tree = small_tree();
  const Environment old = {{"TORCH_CUDA_ARCH_LIST", "7.5;8.0"}};
  const BuildPlan kept = plan_of(tree, old);
  CHECK(has(words(kept, "nvcc fused_adam"), " -DBF16_AVAILABLE "));
  CHECK(has(join(kept.notes, "\n"), "fused_adam: bf16 kernels are compiled for GPUs before 8.0"));
  HostFacts builder = builder_with_torch();
  builder.nvcc = {{"/opt/cuda/bin/nvcc", "12.1"}};
  Environment skip = old;
  skip["DS_SKIP_CUDA_CHECK"] = "1";
  const BuildPlan lost = make_source_plan(tree, hosts(), builder, {skip});
  CHECK_FALSE(has(words(lost, "nvcc fused_adam"), "BF16"));
  CHECK_FALSE(has(words(lost, "c++ fused_adam"), "BF16"));
  CHECK(has(join(lost.notes, "\n"), "fused_adam: no bf16 kernel on any GPU"));
  CHECK_FALSE(has(join(plan_of(tree).notes, "\n"), "bf16"));
}

TEST_CASE("source plan: -std is what torch's headers need") {
  SourceTree tree = small_tree();
  Fleet fleet = hosts();
  const auto with_torch = [&](const std::string& version) {
    tree.torch.version = version;
    for (HostFacts& host : fleet.hosts)
      host.torch.version = version;
    return plan_of(tree, {}, fleet);
  };
  BuildPlan plan = with_torch("2.12.0+cu130");
  CHECK(has(words(plan, "nvcc fused_adam"), " -std=c++20 "));
  CHECK_FALSE(has(words(plan, "nvcc fused_adam"), "c++17"));
  CHECK(has(words(plan, "c++ cpu_adam"), " -std=c++20 "));
  CHECK(has(join(plan.notes, "\n"), "-std is raised to c++20 for cpu_adam, fused_adam"));
  plan = with_torch("2.11.0+cu130");
  CHECK_FALSE(has(join(plan.notes, "\n"), "-std"));
  CHECK(has(words(plan, "c++ cpu_adam"), " -std=c++17 "));
  tree.ops[1].nvcc_flags.push_back("-std=c++20");
  tree.ops[1].cxx_flags.push_back("--std=gnu++14");
  plan = with_torch("2.11.0+cu130");
  CHECK(has(words(plan, "nvcc fused_adam"), " -std=c++20 "));
  CHECK(has(words(plan, "c++ fused_adam"), " -std=c++17 "));
}

TEST_CASE("source plan: words of the build machine go") {
  SourceTree tree = small_tree();
  SourceOp& op = tree.ops[1];
  op.nvcc_flags = {"-gencode",
                   "arch=compute_80,code=sm_80",
                   "--threads",
                   "8",
                   "-t=4",
                   "-arch=sm_80",
                   "-ccbin",
                   "/opt/gcc/bin/g++",
                   "-Xcompiler",
                   "-Wall,-march=native",
                   "-Xcompiler=-O3",
                   "-g",
                   "-G",
                   "--use_fast_math"};
  op.link_flags = {
      "-Wl,-rpath,/a,-z,now", "-Wl,-rpath",      "-Wl,/b",  "-Xlinker", "-rpath", "-Xlinker", "/c",
      "-Wl,-rpath=/d",        "-Wl,--as-needed", "-lcurand"};
  BuildPlan plan = plan_of(tree);
  const std::string device = words(plan, "nvcc fused_adam");
  CHECK(has(device,
            " --expt-relaxed-constexpr -DFAST=1 -Xcompiler=-Wall -Xcompiler=-O3 "
            "--use_fast_math -DTORCH_API_INCLUDE_EXTENSION_H "));
  const std::string link = words(plan, "link fused_adam_op");
  CHECK(has(link, " -Wl,-z,now -Wl,--as-needed -lcurand "));
  CHECK_FALSE(has(link, "rpath"));
  for (const char* gone : {"/opt/gcc", "sm_80,", " -g ", " -G ", "--threads 8", "-t=4"})
    CHECK_FALSE(has(device, gone));
  // Where it lies in the toolkit that torch found, it lies in the one that compiles.
  HostFacts builder = builder_with_torch();
  builder.nvcc = {{"/usr/local/cuda-13/bin/nvcc", "13.0"}};
  plan = make_source_plan(small_tree(), hosts(), builder, {});
  for (const Job& job : plan.jobs)
    CHECK_FALSE(has(join(job.command.argv, " "), "/opt/cuda"));
  CHECK(has(words(plan, "link fused_adam_op"), " -L/usr/local/cuda-13/lib64 "));
}

TEST_CASE("source plan: debug information is kept if it is asked for") {
  const BuildPlan plan = make_source_plan(small_tree(), hosts(), builder_with_torch(),
                                          {{}, ArchPolicy::exact, "", 0, /*debug_info=*/true});
  CHECK(has(words(plan, "c++ cpu_adam"), " -g "));
  CHECK(has(words(plan, "nvcc fused_adam"), " -lineinfo "));
  CHECK_FALSE(has(words(plan, "link cpu_adam_op"), "-Wl,-s"));
  CHECK_FALSE(has(words(plan_of(small_tree()), "c++ cpu_adam"), " -g "));
}

TEST_CASE("source plan: two ops may share sources, never a file that is made") {
  SourceTree tree = small_tree();
  SourceOp twin = tree.ops[1];
  twin.name = "stochastic";
  twin.build_variable = "DS_BUILD_STOCHASTIC";
  twin.module = "deepspeed.ops.adam.stochastic_op";
  twin.nvcc_flags.push_back("-D__STOCHASTIC_MODE__");
  tree.ops.push_back(twin);
  std::set<std::filesystem::path> outputs;
  const BuildPlan plan = plan_of(tree);
  for (const Job& job : plan.jobs)
    CHECK(outputs.insert(job.output).second);
  CHECK(has(words(plan, "nvcc stochastic"), "-D__STOCHASTIC_MODE__"));
  CHECK_FALSE(has(words(plan, "nvcc fused_adam"), "-D__STOCHASTIC_MODE__"));
}

TEST_CASE("source plan: flags are explained") {
  const auto explained = [](const std::string& op) {
    return explain_flags(small_tree(), op, hosts(), builder_with_torch(), {});
  };
  const std::string text = explained("cpu_adam");
  CHECK(has(text, "the tree: -O3 -g -Wno-reorder -march=native -fopenmp -D__AVX512__\n"));
  CHECK(has(text, "-march=native becomes -march=x86-64-v3 -mneeded: what all hosts can do"));
  CHECK(has(text, "-D__AVX512__ becomes -D__AVX256__"));
  CHECK(has(text, "-g is left out"));
  CHECK(has(explained("fused_adam"), "--threads=2 is left out"));
  CHECK(has(explained("lost"), "op lost is not built: builder() raised OSError"));
  CHECK_THROWS_AS(explained("nobody"), UsageError);
}

TEST_CASE("source plan: torch's header is precompiled where enough units share its flags") {
  SourceTree tree = small_tree();
  for (SourceOp& op : tree.ops) {
    op.torch_units = {op.sources.front()};
    for (int more = 0; op.name == "pin_memory" && more < 3; ++more) {
      op.sources.push_back(fmt::format("csrc/more{}.cpp", more));
      op.torch_units.push_back(op.sources.back());
    }
  }
  const BuildPlan plan = plan_of(tree);
  // cpu_adam has -fopenmp, async_io -O0; the macros of fused_adam are of no matter.
  REQUIRE(plan.jobs.front().kind == Job::Kind::precompile);
  CHECK(std::count_if(plan.jobs.begin(), plan.jobs.end(),
                      [](const Job& job) { return job.kind == Job::Kind::precompile; }) == 1);
  const std::string header = words(plan, "c++ torch/extension.h, precompiled for 5 sources");
  CHECK(has(header, " -MD -MF @DEP@ -x c++-header -include torch/extension.h -o @OUT@ /dev/null "));
  CHECK(has(header, " -std=c++17 "));
  for (const char* gone : {"TORCH_EXTENSION_NAME", "BF16", "FAST", "-Icsrc"})
    CHECK_MESSAGE(!has(header, gone), header);
  const Job& unit = job_of(plan, "c++ pin_memory");
  CHECK(unit.needs == std::vector<std::size_t>{0});
  const std::string folder = plan.jobs[0].output.parent_path().parent_path().generic_string();
  CHECK(unit.command.argv[1] == "-I@BUILD@/" + folder);
  CHECK(job_of(plan, "c++ cpu_adam").needs.empty());
  CHECK(job_of(plan, "nvcc fused_adam").needs.empty());
  const auto without = [&tree](const HostFacts& builder, const Environment& environment, bool pch,
                               const std::string& launcher = {}) {
    PlanOptions options;
    options.environment = environment;
    options.launcher = launcher;
    options.pch = pch;
    const BuildPlan made = make_source_plan(tree, hosts(), builder, options);
    return std::none_of(made.jobs.begin(), made.jobs.end(),
                        [](const Job& job) { return job.kind == Job::Kind::precompile; });
  };
  CHECK_FALSE(without(builder_with_torch(), {}, true));
  CHECK(without(builder_with_torch(), {}, false));
  CHECK(without(builder_with_torch(), {{"CXX", "clang++"}}, true));
  CHECK(without(builder_with_torch(), {{"CXX", "ccache g++"}}, true));
  CHECK(without(builder_with_torch(), {}, true, "ccache"));
}
