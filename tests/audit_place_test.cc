// SPDX-License-Identifier: Apache-2.0
//
// Rules about GPUs that are damaged or in use, and about where processes work.
#include <doctest/doctest.h>

#include "support/audit_fixture.h"
#include "support/audit_rows.h"

using namespace ds;
using enum Severity;

TEST_CASE("audit: rules about GPUs that are damaged or in use") {
  const AuditRow rows[] = {
      {"gpu-health", [](auto&) {}, ok, "neither the driver nor the kernel's log"},
      {"gpu-health", [](auto& c) { c.host().xids.reset(); }, ok, "log could not be read"},
      {"gpu-health",
       [](auto& c) {
         for (Gpu& gpu : c.host().gpus) {
           gpu.remapping.clear();
           gpu.processes.reset();
         }
       },
       ok, "the driver's library could not be asked"},
      {"gpu-health",
       [](auto& c) {
         c.host().xids.reset();
         for (Gpu& gpu : c.host().gpus) {
           gpu.remapping.clear();
           gpu.processes.reset();
         }
       },
       unknown, "not known"},
      {"gpu-health", [](auto& c) { c.host().nvidia.lost = {"GPU 1 (NVML status 15)"}; }, fail,
       "the driver cannot open GPU 1 (NVML status 15)"},
      {"gpu-health", [](auto& c) { c.host().gpus_on_bus = 8; }, warn,
       "8 NVIDIA GPUs are on its PCI bus, and the driver lists 2"},
      {"gpu-health", [](auto& c) { c.host().gpus[1].remapping = "failed"; }, fail,
       "could not replace damaged memory"},
      {"gpu-health", [](auto& c) { c.host().gpus[1].remapping = "pending"; }, warn,
       "at its next reset"},
      {"gpu-health",
       [](auto& c) {
         c.host().xids = {{79, "0000:3b:00", 2}};
       },
       warn, "Xid 79 of the GPU at 0000:3b:00, 2 times: it has fallen off the bus"},
      // A program's own fault.
      {"gpu-health",
       [](auto& c) {
         c.host().xids = {{13, "0000:3b:00", 2}};
       },
       ok, "damage"},
      {"gpu-busy", [](auto&) {}, ok, "nobody uses its GPUs"},
      {"gpu-busy", [](auto& c) { c.host().gpus[1].processes.reset(); }, unknown, "not known"},
      {"gpu-busy",
       [](auto& c) {
         c.host().gpus[1].index = 1;
         c.host().gpus[1].processes = {{"python3 of alice (4711)"}};
       },
       warn, "GPU 1 of 2 GPUs in use: python3 of alice (4711)"}};
  for (const AuditRow& row : rows)
    check_row(row);
  AuditCase none;
  none.host().gpus.clear();
  for (const char* rule : {"gpu-health", "gpu-busy", "shared-memory"})
    CHECK(none.findings(rule).empty());
}

TEST_CASE("audit: rules about the place where processes work") {
  const auto on = [](const char* filesystem, const char* source) {
    return [=](AuditCase& c) {
      c.fleet.hosts.push_back(AuditCase::good_host("node2"));
      for (HostFacts& host : c.fleet.hosts) {
        host.disk.filesystem = filesystem;
        host.disk.source = source;
      }
      c.host(1).python.prefix_id = "77:2";
    };
  };
  const AuditRow rows[] = {
      {"noexec", [](auto&) {}, ok, "can be loaded from /opt"},
      {"noexec", [](auto& c) { c.host().disk.noexec = true; }, fail, "/opt is mounted noexec"},
      {"noexec", [](auto& c) { c.host().disk.noexec.reset(); }, unknown, "not known"},
      {"disk", [](auto& c) { c.host().disk.quota_bytes = 1000; }, fail,
       "the quota of user ops leaves 1.0 kB at /opt"},
      {"shared-environment", on("ext4", "/dev/sda1"), ok, "this host's own ext4"},
      {"shared-environment", on("nfs4", "home:/sw"), ok,
       "nfs4 home:/sw, and 2 hosts of the run have it: one of them writes, each confirms"},
      {"shared-environment",
       [on](auto& c) {
         on("nfs4", "home:/sw")(c);
         c.host(1).python.prefix = "/sw/venv";
       },
       fail, "nfs4 home:/sw, at /opt/venv here and at /sw/venv on node2, and what is installed"},
      {"shared-environment",
       [](auto& c) {
         c.host().disk.filesystem = "lustre";
         c.host().disk.source = "10.0.0.1@o2ib:/x";
       },
       ok, "which no other host of the run has"},
      {"shared-environment", on("nfs4", ""), unknown, "not known"},
      {"shared-environment", [](auto& c) { c.host().disk.filesystem.clear(); }, unknown,
       "not known"},
      {"shared-memory", [](auto&) {}, ok, "64.0 GB free of 64.0 GB"},
      {"shared-memory",
       [](auto& c) {
         c.host().shared_memory = {67'108'864, 67'108'864};
       },
       warn, "and NCCL and data loaders want 1.1 GB"},
      {"shared-memory", [](auto& c) { c.host().shared_memory = {}; }, unknown, "not known"},
      {"clock", [](auto& c) { c.host().clock_ahead = -60; }, ok, "within 60 s"},
      {"clock", [](auto& c) { c.host().clock_ahead = 61; }, warn, "61 s ahead of"},
      {"clock", [](auto& c) { c.host().clock_ahead = -3600; }, warn, "3600 s behind"},
      {"clock", [](auto& c) { c.host().clock_ahead.reset(); }, unknown, "not known"},
      {"jit", [](auto&) {}, ok, "no lock"},
      {"jit", [](auto& c) { c.host().jit.locks = {"py311_cu124/cpu_adam"}; }, warn,
       "left its lock in /home/ops/.cache/torch_extensions: py311_cu124/cpu_adam"},
      {"jit",
       [](auto& c) {
         c.host().nvcc = {{"/usr/bin/nvcc", "11.8"}};
       },
       warn, "compiled there with CUDA 11.8, and torch 2.6.0+cu124 is built with 12.4"},
      {"jit",
       [](auto& c) {
         c.host().nvcc = {{"/usr/bin/nvcc", "12.8"}};
       },
       ok, "no lock"},
      {"jit", [](auto& c) { c.host().jit = {}; }, unknown, "not known"}};
  for (const AuditRow& row : rows)
    check_row(row);
}

TEST_CASE("audit: who writes an environment that several hosts have") {
  AuditCase c;
  c.fleet.hosts.push_back(AuditCase::good_host("node2"));
  c.fleet.hosts.push_back(AuditCase::good_host("node3"));
  c.fleet.hosts.push_back(AuditCase::good_host("alias"));
  c.host(3).machine_id = c.host(0).machine_id;
  c.host(3).boot_id = c.host(0).boot_id;
  c.host(3).hostname = c.host(0).hostname;
  c.fleet.hosts.push_back(AuditCase::good_host("other"));
  for (std::size_t at = 0; at < 4; ++at) {
    c.host(at).disk.filesystem = "nfs4";
    c.host(at).disk.source = "home:/sw";
  }
  CHECK(c.run(0).writer == "node1");
  CHECK(c.run(2).writer == "node1");
  CHECK(c.run(3).writer.empty());
  CHECK(c.run(4).writer.empty());
  CHECK(shared_environments(c.fleet) ==
        std::vector<std::vector<std::string>>{{"node1", "node2", "node3"}});
  // One that cannot write only reads.
  c.host(0).installed.root_writable = false;
  CHECK(c.run(1).writer == "node2");
  CHECK(c.run(0).verdict == Verdict::ready);
  CHECK(c.worst("write-permission").because == "another host of the run writes the environment");
  c.options.writers = {"node3"};
  CHECK(c.run(0).writer == "node3");
  // One that is refused, and none of them goes.
  c.host(1).glibc = "2.5";
  CHECK(c.run(1).verdict == Verdict::refused);
  CHECK(c.run(2).verdict == Verdict::refused);
  CHECK(c.run(2).findings.front().because ==
        "it has one environment with node2, which is refused");
  CHECK(c.run(4).verdict == Verdict::ready);
}

TEST_CASE("audit: modules that come before the wheel's") {
  const auto wheel_with = [](std::map<std::string, std::string> files,
                             std::optional<std::map<std::string, std::string>> earlier) {
    return [=](AuditCase& c) {
      c.wheel().files = files;
      c.host().earlier_modules = earlier;
    };
  };
  const std::map<std::string, std::string> files = {{"ds_ops/__init__.py", ""},
                                                    {"ds_ops-0.1.dist-info/RECORD", ""},
                                                    {"fast.cpython-311-x86_64-linux-gnu.so", ""},
                                                    {"ds_ops-0.1.data/scripts/x", ""}};
  using Earlier = std::map<std::string, std::string>;
  const AuditRow rows[] = {
      {"shadowed", wheel_with(files, Earlier{}), ok, "no other module"},
      {"shadowed", wheel_with(files, Earlier{{"other", "/x"}}), ok, "no other module"},
      {"shadowed", wheel_with(files, Earlier{{"ds_ops", "/home/ops/src"}}), fail,
       "Python imports ds_ops from /home/ops/src, before the wheel's"},
      {"shadowed", wheel_with(files, Earlier{{"fast", "/x"}}), fail, "Python imports fast from /x"},
      {"shadowed", wheel_with(files, std::nullopt), unknown, "not known"}};
  for (const AuditRow& row : rows)
    check_row(row);
}

TEST_CASE("audit: what a login shell would load") {
  using Names = std::vector<std::string>;
  const auto differs = [](std::optional<Names> names) {
    return [=](AuditCase& c) { c.host().login = {true, names}; };
  };
  const AuditRow rows[] = {{"login-shell", differs(Names{}), ok, "load the same"},
                           {"login-shell", differs(Names{"LD_LIBRARY_PATH", "CUDA_HOME"}), warn,
                            "a login shell has LD_LIBRARY_PATH, CUDA_HOME otherwise than the shell "
                            "of a command over SSH"},
                           {"login-shell", differs(std::nullopt), unknown, "not known"}};
  for (const AuditRow& row : rows)
    check_row(row);
  CHECK(AuditCase().findings("login-shell").empty());
}

TEST_CASE("audit: what is active on a host") {
  const auto with = [](std::optional<std::vector<CheckedRelease>> checked) {
    return [=](AuditCase& c) {
      c.options.installed = true;
      c.host().installed.checked = checked;
      c.host().installed.hook = true;
      if (checked && !checked->empty())
        c.host().installed.active = {checked->front().sha256};
    };
  };
  const std::string sha256(64, 'b');
  using Releases = std::vector<CheckedRelease>;
  const AuditRow rows[] = {{"installed", with(Releases{{sha256, "a.whl", ""}}), ok,
                            "release bbbbbbbbbbbb (a.whl) is active and whole"},
                           {"installed", with(Releases{{sha256, "a.whl", "x.so is missing"}}), fail,
                            "is active and not as it was sealed: x.so is missing"},
                           {"installed", with(std::nullopt), unknown, "not known"},
                           {"installed", with(Releases{}), warn, "nothing is installed"},
                           {"installed",
                            [&](auto& c) {
                              with(Releases{{sha256, "a.whl", ""}})(c);
                              c.host().installed.hook = false;
                            },
                            fail, "no process of Python sees it"}};
  for (const AuditRow& row : rows)
    check_row(row);
  CHECK(AuditCase().findings("installed").empty());
}

TEST_CASE("audit: the libcuda that a process loads decides") {
  const auto with = [](const char* driver, const char* cuda) {
    return [=](AuditCase& c) {
      c.host().driver = driver;
      c.host().nvidia = {cuda, "/usr/local/cuda/compat/libcuda.so.1", {}};
    };
  };
  const AuditRow rows[] = {
      {"driver", with("550.54.15", "12.4"), ok, "525.60.13, 550.54.15 is there"},
      {"driver", with("470.82.01", "12.2"), ok,
       "CUDA 12.4 needs CUDA 12.0 of the driver, and the libcuda that this environment loads"},
      {"driver", with("470.82.01", "11.4"), fail, "needs NVIDIA driver 525.60.13"},
      {"driver", with("550.54.15", "11.8"), fail, "is for CUDA 11.8"},
      {"driver", with("550.54.15", ""), ok, "550.54.15 is there"}};
  for (const AuditRow& row : rows)
    check_row(row);
}
