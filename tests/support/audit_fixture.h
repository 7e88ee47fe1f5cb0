// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "audit/audit.h"

namespace ds {

/// One good host (two A100) and one wheel of a CPU and a CUDA op that fits; tests change one thing.
struct AuditCase {
  Fleet fleet;
  std::vector<Requirements> wheels;
  AuditOptions options;

  HostFacts& host(std::size_t at = 0) { return fleet.hosts[at]; }
  Requirements& wheel() { return wheels.front(); }
  LibraryNeeds& cpu() { return wheel().libraries[0]; }
  LibraryNeeds& cuda() { return wheel().libraries[1]; }

  AuditCase() {
    fleet.hosts.push_back(good_host("node1"));
    wheels.push_back(good_wheel());
  }

  HostAudit run(std::size_t at = 0) const { return audit(wheels, fleet, options).hosts[at]; }

  std::vector<Finding> findings(const std::string& rule, std::size_t at = 0) const {
    std::vector<Finding> found;
    for (const Finding& finding : run(at).findings) {
      if (finding.rule == rule)
        found.push_back(finding);
    }
    return found;
  }
  /// The first finding of the rule; they are sorted worst first.
  Finding worst(const std::string& rule, std::size_t at = 0) const {
    const std::vector<Finding> found = findings(rule, at);
    return found.empty() ? Finding{"", Severity::ok, "", "the rule said nothing", ""}
                         : found.front();
  }

  static Gpu gpu(const std::string& capability, const std::string& name) {
    Gpu made;
    made.compute_capability = capability;
    made.name = name;
    made.uuid = "GPU-" + capability;
    made.remapping = "none";
    made.mig = "Disabled";
    made.ecc = "Enabled";
    made.processes.emplace();
    return made;
  }

  static HostFacts good_host(const std::string& name) {
    HostFacts host;
    host.host = name;
    host.state = HostFacts::State::reached;
    host.machine = "x86_64";
    host.machine_id = "id-" + name;
    host.boot_id = "boot-" + name;
    host.hostname = name;
    host.user = "ops";
    host.cpu_level = 3;
    host.glibc = "2.36";
    host.glibcxx = "3.4.30";
    host.cxxabi = "1.3.13";
    host.python.asked = host.python.executable = "/opt/venv/bin/python";
    host.python.version = "3.11.2";
    host.python.soabi = "cpython-311-x86_64-linux-gnu";
    host.python.prefix = "/opt/venv";
    host.python.prefix_id = "1:2";
    host.python.site_packages = "/opt/venv/lib/python3.11/site-packages";
    host.python.virtual_environment = true;
    host.torch = {"2.6.0+cu124", "12.4", "/opt/venv/lib/python3.11/site-packages/torch", {}};
    host.installed.root = "/opt/.ds-deploy/venv";
    host.installed.root_writable = true;
    host.driver = "550.54.15";
    host.gpus = {gpu("8.0", "NVIDIA A100"), gpu("8.0", "NVIDIA A100")};
    host.libraries = {"libc.so.6", "libgomp.so.1"};
    host.disk = {"/opt", "ext4", 1'000'000'000, 100'000, "/dev/sda1", -1, false};
    host.shared_memory = {64'000'000'000, 64'000'000'000};
    host.jit.folder = "/home/ops/.cache/torch_extensions";
    host.earlier_modules.emplace();
    host.xids.emplace();
    host.gpus_on_bus = 2;
    host.clock_ahead = 0;
    return host;
  }

  static Requirements good_wheel() {
    LibraryNeeds cpu;
    cpu.path = "ds_ops/cpu_adam/libcpu_adam.so";
    cpu.op = "cpu_adam";
    cpu.machine = "x86_64";
    cpu.glibc = "2.34";
    cpu.glibcxx = "3.4.29";
    cpu.cxxabi = "1.3.9";
    cpu.needed = {"libgomp.so.1", "libstdc++.so.6", "libm.so.6", "libc.so.6"};
    LibraryNeeds cuda;
    cuda.path = "ds_ops/fused_adam/libfused_adam.so";
    cuda.op = "fused_adam";
    cuda.machine = "x86_64";
    cuda.glibc = "2.34";
    cuda.needed = {"libc.so.6"};
    cuda.gpu.units = 1;
    cuda.gpu.sass = cuda.gpu.sass_all_units = {"80"};
    cuda.gpu.compression = {"none"};
    Requirements wheel;
    wheel.file = "ds_ops-0.1.0-py3-none-linux_x86_64.whl";
    wheel.kind = "wheel";
    wheel.sha256 = std::string(64, 'a');
    wheel.python_tag = "py3-none-linux_x86_64";
    wheel.requires_python = ">=3.8";
    wheel.cuda = "12.4";
    wheel.installed_bytes = 1'000'000;
    wheel.installed_files = 10;
    wheel.libraries = {cpu, cuda};
    return wheel;
  }
};

}  // namespace ds
