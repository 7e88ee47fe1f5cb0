// SPDX-License-Identifier: Apache-2.0
//
// Rules about where processes of the environment work: file systems, shared memory, the clock, and
// what would be used in the wheel's place.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <set>

#include "audit/rule.h"
#include "base/text.h"

namespace ds {
namespace {

/// What `import` would look for: the first parts of the paths of the wheel's files.
std::set<std::string> top_level_modules(const Requirements& wheel) {
  std::set<std::string> names;
  for (const auto& [path, sha256] : wheel.files) {
    std::string name = path.substr(0, path.find('/'));
    if (name.ends_with(".dist-info") || name.ends_with(".data"))
      continue;
    if (name.size() == path.size()) {
      const bool module = name.ends_with(".py") || name.ends_with(".so");
      name = module ? name.substr(0, name.find('.')) : "";
    }
    if (!name.empty())
      names.insert(name);
  }
  return names;
}

}  // namespace

Findings noexec_rule(const Subject& subject) {
  const DiskFacts& disk = subject.host.disk;
  if (subject.host.python.executable.empty())
    return {};
  if (!disk.noexec)
    return {finding(Severity::unknown,
                    "whether libraries can be loaded from the place of releases "
                    "is not known")};
  if (!*disk.noexec)
    return {finding(Severity::ok, "libraries can be loaded from " + disk.path)};
  return {
      finding(Severity::fail,
              fmt::format("{} is mounted noexec: no library can be loaded from there", disk.path),
              "mount it without noexec, or name an environment elsewhere (--python PATH)")};
}

Findings shared_memory_rule(const Subject& subject) {
  const SharedMemoryFacts& memory = subject.host.shared_memory;
  const std::int64_t floor = static_cast<std::int64_t>(subject.options.catalog->shared_memory_mib)
                             << 20;
  if (subject.host.gpus.empty() || floor == 0)
    return {};
  if (memory.bytes < 0 || memory.free_bytes < 0)
    return {finding(Severity::unknown, "how much shared memory this host has is not known")};
  const std::string said = fmt::format("/dev/shm has {} free of {}",
                                       human_bytes(static_cast<std::uint64_t>(memory.free_bytes)),
                                       human_bytes(static_cast<std::uint64_t>(memory.bytes)));
  if (memory.free_bytes >= floor)
    return {finding(Severity::ok, said)};
  return {finding(Severity::warn,
                  fmt::format("{}, and NCCL and data loaders want {}", said,
                              human_bytes(static_cast<std::uint64_t>(floor))),
                  memory.bytes >= floor ? "remove what ended jobs left in /dev/shm"
                                        : "make it larger: in a container --shm-size=1g or more")};
}

Findings clock_rule(const Subject& subject) {
  const std::optional<std::int64_t> ahead = subject.host.clock_ahead;
  const std::int64_t limit = subject.options.catalog->clock_seconds;
  if (!ahead)
    return {finding(Severity::unknown, "whether its clock is right is not known")};
  if (limit == 0 || std::abs(*ahead) <= limit)
    return {finding(Severity::ok, fmt::format("its clock is within {} s of this machine's",
                                              std::max<std::int64_t>(limit, std::abs(*ahead))))};
  return {finding(Severity::warn,
                  fmt::format("its clock is {} s {} this machine's", std::abs(*ahead),
                              *ahead > 0 ? "ahead of" : "behind"),
                  "set it: chronyc makestep, or timedatectl set-ntp true")};
}

Findings shadowed_rule(const Subject& subject) {
  const auto& earlier = subject.host.earlier_modules;
  std::set<std::string> names;
  for (const Requirements& wheel : subject.wheels)
    names.merge(top_level_modules(wheel));
  if (names.empty())
    return {};
  if (!earlier)
    return {finding(Severity::unknown,
                    "whether other modules come before the wheel's on this host is not known")};
  Findings found;
  for (const std::string& name : names) {
    const auto other = earlier->find(name);
    if (other == earlier->end())
      continue;
    found.push_back(
        finding(Severity::fail,
                fmt::format("Python imports {} from {}, before the wheel's", name, other->second),
                "take that folder out of PYTHONPATH (env-script=), or remove the copy in it"));
  }
  if (found.empty())
    return {finding(Severity::ok, "no other module comes before the wheel's")};
  return found;
}

Findings login_shell_rule(const Subject& subject) {
  if (!subject.host.login.asked)
    return {};
  const auto& differs = subject.host.login.differs;
  if (!differs)
    return {finding(Severity::unknown, "what a login shell would load is not known")};
  if (differs->empty())
    return {finding(Severity::ok, "a login shell would load the same")};
  return {finding(
      Severity::warn,
      fmt::format("a login shell has {} otherwise than the shell of a command over SSH",
                  join(*differs, ", ")),
      "if jobs start from a login shell, name a script that sets them as it does: env-script=")};
}

Findings installed_rule(const Subject& subject) {
  const InstalledFacts& installed = subject.host.installed;
  if (!subject.options.installed || subject.host.python.executable.empty())
    return {};
  if (!installed.checked)
    return {finding(Severity::unknown, "whether what is active there is whole is not known")};
  Findings found;
  for (const CheckedRelease& release : *installed.checked) {
    const std::string name =
        fmt::format("release {} ({})", release.sha256.substr(0, 12),
                    release.file.empty() ? "of an unknown wheel" : release.file);
    if (release.damage.empty()) {
      found.push_back(finding(Severity::ok, name + " is active and whole"));
      continue;
    }
    found.push_back(
        finding(Severity::fail,
                fmt::format("{} is active and not as it was sealed: {}", name, release.damage),
                "deploy another wheel first, then this one anew"));
  }
  if (!installed.active.empty() && !installed.hook) {
    found.push_back(finding(Severity::fail,
                            "a release is active, and what starts it is not in site-packages: no "
                            "process of Python sees it",
                            "deploy it again"));
  }
  if (!found.empty())
    return found;
  for (const auto& [name, said] : installed.packages)
    found.push_back(finding(
        Severity::warn, fmt::format("no release of ours is active; {} {} was installed by other "
                                    "means",
                                    name, said)));
  if (found.empty())
    found.push_back(finding(Severity::warn, "nothing is installed there"));
  return found;
}

namespace {

/// "release 0123456789ab", or what is there without one.
std::string set_name(const std::vector<std::string>& releases) {
  return releases.empty() ? "what pip installed, or nothing" : "release " + short_names(releases);
}

}  // namespace

Findings activation_rule(const Subject& subject) {
  const InstalledFacts& installed = subject.host.installed;
  if (installed.root.empty())
    return {finding(Severity::unknown, "whether an activation is undecided there is not known")};
  if (!installed.activations.problems.empty()) {
    return {finding(Severity::fail, join(installed.activations.problems, ", "),
                    "look at it, and remove it there: it says what the host would go back to")};
  }
  const std::optional<Activation>& trial = installed.activations.trial;
  if (!trial)
    return {finding(Severity::ok, "no activation is undecided")};
  const std::string what = fmt::format("{} was activated ({}) and never confirmed",
                                       set_name(trial->releases), trial->id);
  if (trial->seconds_left > 0) {
    return {finding(Severity::warn,
                    fmt::format("{}; in {} s the host goes back to {} by itself", what,
                                trial->seconds_left, set_name(trial->previous)),
                    "let that run end; if it is dead, the next one takes it back first")};
  }
  return {finding(Severity::warn, fmt::format("{}, and its time is over", what),
                  "the next deploy takes it back to " + set_name(trial->previous) + " first")};
}

Findings lock_rule(const Subject& subject) {
  const InstalledFacts& installed = subject.host.installed;
  if (installed.root.empty())
    return {finding(Severity::unknown, "whether another run holds the environment is not known")};
  if (!installed.lock)
    return {finding(Severity::ok, "no run holds the environment")};
  const LockFacts& lock = *installed.lock;
  const std::string who =
      fmt::format("run {} of {} from {}, since {}", lock.run, lock.who, lock.from, lock.since);
  if (lock.holder == "ended")
    return {finding(Severity::ok, "no run holds the environment: " + who + ", has ended")};
  if (lock.holder == "runs") {
    return {finding(Severity::warn, "the environment is locked by " + who,
                    "let that run end: one that would change this host ends with status 7")};
  }
  return {finding(Severity::warn,
                  "the environment is locked by another machine that shares it: " + who,
                  "let that run end; if it is dead: --break-lock")};
}

Findings jit_rule(const Subject& subject) {
  const HostFacts& host = subject.host;
  if (host.torch.version.empty())
    return {};
  Findings found;
  if (!host.jit.locks.empty()) {
    found.push_back(finding(
        Severity::warn,
        fmt::format("a compile that has ended left its lock in {}: {}; the next one of {} waits "
                    "for ever",
                    host.jit.folder, join(host.jit.locks, ", "),
                    host.jit.locks.size() == 1 ? "it" : "these"),
        fmt::format("rm {}/{}/lock", host.jit.folder, host.jit.locks.front())));
  }
  const std::string toolkit = host.nvcc.empty() ? "" : host.nvcc.front().version;
  const bool differs = !toolkit.empty() && !host.torch.cuda.empty() && !host.gpus.empty() &&
                       major_of(toolkit) != major_of(host.torch.cuda);
  if (differs) {
    found.push_back(finding(
        Severity::warn,
        fmt::format(
            "an op that is not in the wheel would be compiled there with CUDA {}, and torch "
            "{} is built with {}",
            toolkit, host.torch.version, host.torch.cuda),
        fmt::format("set CUDA_HOME to a toolkit of CUDA {} (env-script=), if ops are compiled at "
                    "first use there",
                    major_of(host.torch.cuda))));
  }
  if (!found.empty())
    return found;
  if (host.jit.folder.empty())
    return {finding(Severity::unknown, "whether a lock stops compiles at first use is not known")};
  return {finding(Severity::ok, "no lock stops compiles at first use")};
}

}  // namespace ds
