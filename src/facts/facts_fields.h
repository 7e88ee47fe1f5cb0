// SPDX-License-Identifier: Apache-2.0
//
// One list of fields for each struct of facts, used to write JSON and to read it.
#pragma once

#include "facts/facts.h"

namespace ds {

template <typename Visit>
void fields(Gpu& gpu, Visit&& visit) {
  visit("index", gpu.index);
  visit("uuid", gpu.uuid);
  visit("name", gpu.name);
  visit("compute_capability", gpu.compute_capability);
  visit("driver", gpu.driver);
  visit("memory_mb", gpu.memory_mb);
  visit("mig", gpu.mig);
  visit("ecc", gpu.ecc);
  visit("mig_devices", gpu.mig_devices);
  visit("remapping", gpu.remapping);
  visit("processes", gpu.processes);
}

template <typename Visit>
void fields(DriverFacts& driver, Visit&& visit) {
  visit("cuda", driver.cuda);
  visit("libcuda", driver.libcuda);
  visit("lost", driver.lost);
}

template <typename Visit>
void fields(Xid& xid, Visit&& visit) {
  visit("number", xid.number);
  visit("gpu", xid.gpu);
  visit("times", xid.times);
}

template <typename Visit>
void fields(SharedMemoryFacts& memory, Visit&& visit) {
  visit("bytes", memory.bytes);
  visit("free_bytes", memory.free_bytes);
}

template <typename Visit>
void fields(JitFacts& jit, Visit&& visit) {
  visit("folder", jit.folder);
  visit("locks", jit.locks);
}

template <typename Visit>
void fields(ReleaseUse& use, Visit&& visit) {
  visit("sha256", use.sha256);
  visit("process", use.process);
}

template <typename Visit>
void fields(UseFacts& use, Visit&& visit) {
  visit("jobs", use.jobs);
  visit("processes", use.processes);
  visit("all_seen", use.all_seen);
  visit("releases", use.releases);
}

template <typename Visit>
void fields(LoginFacts& login, Visit&& visit) {
  visit("asked", login.asked);
  visit("differs", login.differs);
}

template <typename Visit>
void fields(Tool& tool, Visit&& visit) {
  visit("path", tool.path);
  visit("version", tool.version);
  visit("include", tool.include);
}

template <typename Visit>
void fields(PythonFacts& python, Visit&& visit) {
  visit("asked", python.asked);
  visit("executable", python.executable);
  visit("version", python.version);
  visit("soabi", python.soabi);
  visit("prefix", python.prefix);
  visit("prefix_id", python.prefix_id);
  visit("base_prefix", python.base_prefix);
  visit("site_packages", python.site_packages);
  visit("virtual_environment", python.virtual_environment);
  visit("externally_managed", python.externally_managed);
  visit("pip", python.pip);
}

template <typename Visit>
void fields(TorchFacts& torch, Visit&& visit) {
  visit("version", torch.version);
  visit("cuda", torch.cuda);
  visit("folder", torch.folder);
  visit("cxx11_abi", torch.cxx11_abi);
}

template <typename Visit>
void fields(CheckedRelease& release, Visit&& visit) {
  visit("sha256", release.sha256);
  visit("file", release.file);
  visit("damage", release.damage);
}

template <typename Visit>
void fields(Activation& activation, Visit&& visit) {
  visit("id", activation.id);
  visit("releases", activation.releases);
  visit("previous", activation.previous);
  visit("before", activation.before);
  visit("because", activation.because);
  visit("at", activation.at);
  visit("seconds_left", activation.seconds_left);
  visit("back", activation.back);
  visit("watched", activation.watched);
}

template <typename Visit>
void fields(Activations& activations, Visit&& visit) {
  visit("trial", activations.trial);
  visit("confirmed", activations.confirmed);
  visit("rolled_back", activations.rolled_back);
  visit("problems", activations.problems);
}

template <typename Visit>
void fields(LockFacts& lock, Visit&& visit) {
  visit("run", lock.run);
  visit("who", lock.who);
  visit("from", lock.from);
  visit("since", lock.since);
  visit("holder", lock.holder);
}

template <typename Visit>
void fields(InstalledFacts& installed, Visit&& visit) {
  visit("root", installed.root);
  visit("root_writable", installed.root_writable);
  visit("sealed", installed.sealed);
  visit("active", installed.active);
  visit("activations", installed.activations);
  visit("lock", installed.lock);
  visit("epoch", installed.epoch);
  visit("last_run", installed.last_run);
  visit("owner_group", installed.owner_group);
  visit("hook", installed.hook);
  visit("packages", installed.packages);
  visit("checked", installed.checked);
}

template <typename Visit>
void fields(DiskFacts& disk, Visit&& visit) {
  visit("path", disk.path);
  visit("filesystem", disk.filesystem);
  visit("source", disk.source);
  visit("free_bytes", disk.free_bytes);
  visit("free_inodes", disk.free_inodes);
  visit("quota_bytes", disk.quota_bytes);
  visit("noexec", disk.noexec);
}

template <typename Visit>
void fields(HostFacts& host, Visit&& visit) {
  visit("name", host.host);
  visit("state", host.state);
  visit("problem", host.problem);
  visit("os", host.os);
  visit("kernel", host.kernel);
  visit("machine", host.machine);
  visit("machine_id", host.machine_id);
  visit("boot_id", host.boot_id);
  visit("hostname", host.hostname);
  visit("user", host.user);
  visit("cpu_model", host.cpu_model);
  visit("cpu_flags", host.cpu_flags);
  visit("cpu_level", host.cpu_level);
  visit("cpu_count", host.cpu_count);
  visit("memory_mb", host.memory_mb);
  visit("glibc", host.glibc);
  visit("libstdcxx", host.libstdcxx);
  visit("glibcxx", host.glibcxx);
  visit("cxxabi", host.cxxabi);
  visit("env_script_problem", host.env_script_problem);
  visit("python", host.python);
  visit("torch", host.torch);
  visit("installed", host.installed);
  visit("distributions", host.distributions);
  visit("cxx", host.cxx);
  visit("nvcc", host.nvcc);
  visit("driver", host.driver);
  visit("nvidia", host.nvidia);
  visit("gpus", host.gpus);
  visit("gpus_on_bus", host.gpus_on_bus);
  visit("xids", host.xids);
  visit("libraries", host.libraries);
  visit("runtime", host.runtime);
  visit("earlier_modules", host.earlier_modules);
  visit("login", host.login);
  visit("disk", host.disk);
  visit("shared_memory", host.shared_memory);
  visit("jit", host.jit);
  visit("use", host.use);
  visit("clock", host.clock);
  visit("clock_ahead", host.clock_ahead);
  visit("seconds", host.seconds);
  visit("notes", host.notes);
}

}  // namespace ds
