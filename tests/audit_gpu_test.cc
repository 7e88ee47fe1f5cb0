// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <string>

#include "audit/audit.h"
#include "support/audit_fixture.h"

using namespace ds;
using enum Severity;

namespace {

void add_ptx(AuditCase& audited, const std::string& arch, const std::string& isa) {
  GpuImages& images = audited.cuda().gpu;
  images.ptx = images.ptx_all_units = {{arch, isa}};
}

}  // namespace

TEST_CASE("audit: a GPU without an image is refused with op, arch and the way out") {
  AuditCase audited;
  audited.host().gpus = {AuditCase::gpu("7.0", "Tesla V100-SXM2-16GB")};
  const HostAudit result = audited.run();
  CHECK(result.verdict == Verdict::refused);
  const Finding& found = result.findings.front();
  CHECK(found.rule == "gpu-image");
  CHECK(found.severity == fail);
  CHECK(found.op == "fused_adam");
  CHECK(found.because ==
        "fused_adam has no code for sm_70 (Tesla V100-SXM2-16GB, compute capability 7.0): it has "
        "sm_80, no PTX");
  CHECK(found.fix ==
        "build for 7.0 too: TORCH_CUDA_ARCH_LIST=\"7.0;8.0\", or leave the host out: --exclude "
        "node1");
}

TEST_CASE("audit: the way out covers every host of the fleet, and names a toolkit that can") {
  AuditCase audited;
  audited.wheel().cuda = "13.0";
  add_ptx(audited, "80", "9.0");
  audited.host().gpus = {AuditCase::gpu("7.0", "V100")};
  audited.host().driver = "580.65.06";
  audited.fleet.hosts.push_back(AuditCase::good_host("node2"));
  audited.host(1).gpus = {AuditCase::gpu("7.5", "T4")};
  CHECK(audited.worst("gpu-image").fix ==
        "build for 7.0 too (with CUDA 12.9 or older: 13 cannot): "
        "TORCH_CUDA_ARCH_LIST=\"7.0;7.5;8.0+PTX\", or leave the host out: --exclude node1");
}

TEST_CASE("audit: each kind of GPU is judged by itself") {
  AuditCase audited;
  CHECK(audited.worst("gpu-image").severity == ok);
  audited.host().gpus = {AuditCase::gpu("8.6", "A10"), AuditCase::gpu("9.0", "H100"),
                         AuditCase::gpu("9.0", "H100")};
  CHECK(audited.findings("gpu-image").size() == 2);
  CHECK(audited.worst("gpu-image").because.find("sm_90") != std::string::npos);
  add_ptx(audited, "80", "8.4");
  CHECK(audited.worst("gpu-image").severity == warn);
  CHECK(audited.worst("gpu-image").because.find("has only PTX for compute capability 9.0") !=
        std::string::npos);
  CHECK(audited.run().verdict == Verdict::ready);
  audited.host().gpus[0].compute_capability.clear();
  CHECK(audited.worst("gpu-image").severity == unknown);
  audited.host().gpus[0].compute_capability = "[N/A]";
  CHECK(audited.worst("gpu-image").severity == unknown);
}

TEST_CASE("audit: one source file without the image is enough to be refused") {
  AuditCase audited;
  GpuImages& images = audited.cuda().gpu;
  images.units = 2;
  images.sass = {"80", "90"};
  images.sass_all_units = {"90"};
  images.unit_kinds = {{{"80", "90"}, {}}, {{"90"}, {}}};
  const Finding found = audited.worst("gpu-image");
  CHECK(found.severity == fail);
  CHECK(found.because.find("it has sm_80 (not in every source file), sm_90, no PTX") !=
        std::string::npos);
}

TEST_CASE("audit: a host without a GPU is good, with one warning") {
  AuditCase audited;
  audited.wheel().libraries.push_back(audited.cuda());
  audited.wheel().libraries.back().op = "quantizer";
  audited.host().gpus.clear();
  audited.host().driver.clear();
  HostAudit result = audited.run();
  CHECK(result.verdict == Verdict::ready);
  REQUIRE(audited.findings("gpu").size() == 1);
  CHECK(audited.worst("gpu").severity == warn);
  CHECK(audited.worst("gpu").because ==
        "fused_adam, quantizer cannot run here, because this host has no GPU");
  CHECK(audited.findings("gpu-image").empty());
  CHECK(audited.findings("driver").empty());
  audited.options.require_gpu = true;
  CHECK(audited.worst("gpu").severity == fail);
  CHECK(audited.run().verdict == Verdict::refused);
}

TEST_CASE("audit: GPUs that cannot be listed are not taken for none") {
  AuditCase audited;
  audited.host().gpus.clear();
  CHECK(audited.worst("gpu").severity == unknown);
  CHECK(audited.worst("gpu").because ==
        "which GPUs this host has is not known: the NVIDIA driver is loaded, but lists no GPU");
  audited.host().driver.clear();
  audited.host().notes = {"nvidia-smi gave no answer in 10 s"};
  CHECK(audited.worst("gpu").because ==
        "which GPUs this host has is not known: nvidia-smi gave no answer in 10 s");
  audited.options.require_gpu = true;
  CHECK(audited.worst("gpu").severity == fail);
}

TEST_CASE("audit: a wheel without device code asks for no GPU, unless the user does") {
  AuditCase audited;
  audited.wheel().libraries.pop_back();
  audited.host().gpus.clear();
  audited.host().driver.clear();
  CHECK(audited.findings("gpu").empty());
  CHECK(audited.findings("driver").empty());
  audited.options.require_gpu = true;
  CHECK(audited.worst("gpu").because == "this host has no GPU");
  CHECK(audited.run().verdict == Verdict::refused);
}

TEST_CASE("audit: driver floors") {
  struct Row {
    const char *cuda, *compression, *driver;
    Severity severity;
  };
  const Row rows[] = {{"11.8", "none", "450.80.02", ok},  {"11.8", "none", "450.51.05", fail},
                      {"12.4", "lz4", "525.60.13", ok},   {"12.4", "lz4", "520.61.05", fail},
                      {"12.9", "zstd", "550.54.14", ok},  {"12.9", "zstd", "535.104.05", fail},
                      {"13.0", "zstd", "580.65.06", ok},  {"13.0", "none", "575.51.03", fail},
                      {"13.4", "none", "580.65.06", ok},  {"14.0", "none", "700.1", unknown},
                      {"", "none", "580.65.06", unknown}, {"12.4", "none", "", unknown}};
  for (const Row& row : rows) {
    CAPTURE(std::string(row.cuda) + " " + row.driver);
    AuditCase audited;
    audited.wheel().cuda = row.cuda;
    audited.cuda().gpu.compression = {row.compression};
    audited.host().driver = row.driver;
    CHECK(to_string(audited.worst("driver").severity) == to_string(row.severity));
  }
}

TEST_CASE("audit: libraries of several toolkits in one wheel") {
  AuditCase audited;
  audited.wheel().libraries.push_back(audited.cuda());
  audited.wheel().libraries.back().op = "newer";
  audited.wheel().libraries.back().cuda = "13";
  audited.host().driver = "550.54.15";
  const std::vector<Finding> found = audited.findings("driver");
  REQUIRE(found.size() == 2);
  CHECK(found[0].because ==
        "newer has CUDA 13, which needs NVIDIA driver 580.65.06 or newer, and this host has "
        "550.54.15");
  CHECK(found[0].ways == std::vector<Change>{{"driver", "580.65.06"}, {"cuda", "12.4"}});
  CHECK(to_string(found[1].severity) == "ok");
}

TEST_CASE("audit: PTX needs the driver of the toolkit that wrote it") {
  AuditCase audited;
  audited.host().gpus = {AuditCase::gpu("9.0", "H100")};
  add_ptx(audited, "80", "8.4");
  audited.host().driver = "550.54.14";
  CHECK(audited.worst("driver").severity == ok);
  audited.host().driver = "545.23.06";
  CHECK(audited.worst("driver").because ==
        "fused_adam has PTX of CUDA 12.4, which needs NVIDIA driver 550.54.14 or newer, and this "
        "host has 545.23.06");
  add_ptx(audited, "80", "9.9");
  audited.wheel().cuda = "13.9";
  CHECK(audited.worst("driver").severity == unknown);
}
