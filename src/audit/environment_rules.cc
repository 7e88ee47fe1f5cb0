// SPDX-License-Identifier: Apache-2.0
//
// Rules about the place that the wheel goes to.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "audit/rule.h"
#include "base/text.h"

namespace ds {
namespace {

/// While a wheel is staged its stream, at most as long as its files, lies beside these, then byte
/// code for three levels of optimization comes on top. What is linked from an earlier release
/// counts too, for linking may fail.
constexpr std::uint64_t copies_on_disk = 5;
constexpr std::uint64_t spare_bytes = 50'000'000;
constexpr std::uint64_t files_on_disk = 4;
constexpr std::uint64_t spare_inodes = 100;

constexpr long oldest_minor = 8;  // importlib.metadata, py_compile's quiet

bool is_too_old(const std::string& version) {
  const std::vector<std::string> pieces = split(version, '.');
  const std::optional<long> minor =
      pieces.size() > 1 ? parse_integer(pieces[1], 0, 999) : std::nullopt;
  return pieces.front() == "2" || (pieces.front() == "3" && minor && *minor < oldest_minor);
}

bool is_sealed(const HostFacts& host, const Requirements& wheel) {
  const std::vector<std::string>& sealed = host.installed.sealed;
  return std::find(sealed.begin(), sealed.end(), wheel.sha256) != sealed.end();
}

}  // namespace

std::string label(const LibraryNeeds& library) {
  return library.op.empty() ? std::filesystem::path(library.path).filename().string() : library.op;
}

std::string leave_out(const Subject& subject) {
  return leave_out_words + subject.host.host;
}

Findings environment_rule(const Subject& subject) {
  const PythonFacts& python = subject.host.python;
  if (!python.executable.empty() && is_too_old(python.version)) {
    return {
        finding(Severity::fail,
                fmt::format("Python {} in {} is older than 3.{}, which what ds-deploy runs on a "
                            "host needs",
                            python.version, python.prefix, oldest_minor),
                "name an environment with a newer one, or " + leave_out(subject))};
  }
  if (!python.executable.empty())
    return {finding(Severity::ok, fmt::format("Python {} in {}", python.version, python.prefix))};
  if (!python.asked.empty()) {
    return {finding(
        Severity::fail,
        fmt::format("the interpreter {} does not exist or does not run on this host", python.asked),
        "make the environment there, or name the host's own with python= in the "
        "hostfile or with --python PATH")};
  }
  const Severity severity = subject.options.needs_environment ? Severity::fail : Severity::unknown;
  return {finding(severity, "no Python environment was named for this host",
                  "name its interpreter with --python PATH or python= in the hostfile, or activate "
                  "an environment that has the same path there")};
}

Findings env_script_rule(const Subject& subject) {
  const std::string& problem = subject.host.env_script_problem;
  if (problem.empty())
    return {};
  return {
      finding(Severity::fail, problem + ", and every step on this host begins with it",
              "name a file with env-script= that sh can source there to its end, with status 0; "
              "or " +
                  leave_out(subject))};
}

Findings externally_managed_rule(const Subject& subject) {
  const PythonFacts& python = subject.host.python;
  if (python.executable.empty())
    return {};
  if (!python.externally_managed)
    return {finding(Severity::ok, "the environment is not the operating system's")};
  return {
      finding(Severity::fail,
              fmt::format("{} belongs to the operating system's packages (PEP 668)", python.prefix),
              fmt::format("use a virtual environment: {} -m venv DIR, then --python "
                          "DIR/bin/python",
                          python.executable))};
}

Findings write_permission_rule(const Subject& subject) {
  const HostFacts& host = subject.host;
  if (host.installed.root.empty())
    return {finding(Severity::unknown, "whether the environment can be written to is not known")};
  if (host.installed.root_writable)
    return {finding(Severity::ok, "the environment can be written to")};
  if (is_written_by_another(subject))
    return {finding(Severity::ok, "another host of the run writes the environment")};
  return {finding(Severity::fail,
                  fmt::format("user {} cannot write to both {} and {}",
                              host.user.empty() ? "(unknown)" : host.user, host.installed.root,
                              host.python.site_packages),
                  "log in as the environment's owner (user=), or name another environment with "
                  "--python PATH")};
}

Findings disk_rule(const Subject& subject) {
  const DiskFacts& disk = subject.host.disk;
  std::uint64_t bytes = 0, files = 0;
  for (const Requirements& wheel : subject.wheels) {
    if (!is_built(wheel) || is_sealed(subject.host, wheel))
      continue;
    bytes += copies_on_disk * wheel.installed_bytes;
    files += files_on_disk * wheel.installed_files;
  }
  if (files == 0)
    return {finding(Severity::ok, "nothing has to be copied")};
  bytes += spare_bytes;
  files += spare_inodes;
  if (disk.free_bytes < 0)
    return {finding(Severity::unknown, "how much disk is free on this host is not known")};
  const std::string fix = fmt::format("make room below {}, or {}", disk.path, leave_out(subject));
  if (static_cast<std::uint64_t>(disk.free_bytes) < bytes) {
    return {finding(
        Severity::fail,
        fmt::format("{} has {} free, and staging needs {}", disk.path,
                    human_bytes(static_cast<std::uint64_t>(disk.free_bytes)), human_bytes(bytes)),
        fix)};
  }
  if (disk.quota_bytes >= 0 && static_cast<std::uint64_t>(disk.quota_bytes) < bytes) {
    return {finding(
        Severity::fail,
        fmt::format("the quota of user {} leaves {} at {}, and staging needs {}", subject.host.user,
                    human_bytes(static_cast<std::uint64_t>(disk.quota_bytes)), disk.path,
                    human_bytes(bytes)),
        fix)};
  }
  // Below 0: this file system has no fixed number of inodes.
  if (disk.free_inodes >= 0 && static_cast<std::uint64_t>(disk.free_inodes) < files) {
    return {finding(Severity::fail,
                    fmt::format("{} has {} free, and staging needs {}", disk.path,
                                count(static_cast<std::size_t>(disk.free_inodes), "inode"), files),
                    fix)};
  }
  return {finding(
      Severity::ok,
      fmt::format("{} free, {} needed", human_bytes(static_cast<std::uint64_t>(disk.free_bytes)),
                  human_bytes(bytes)))};
}

namespace {

/// The boot id alone is enough; some containers and images have no machine id.
bool is_identified(const HostFacts& host) {
  return !host.machine_id.empty() || !host.boot_id.empty();
}

/// Nothing if the host is the first itself.
const HostFacts* earlier(const std::map<std::string, const HostFacts*>& first,
                         const std::string& key, const HostFacts& host) {
  const auto found = first.find(key);
  return key.empty() || found == first.end() || found->second == &host ? nullptr : found->second;
}

}  // namespace

/// Machines cloned from one image share their machine id; the boot id tells them apart.
std::string machine_key(const HostFacts& host) {
  if (!is_identified(host))
    return {};
  return host.machine_id + "\n" + host.boot_id + "\n" + host.hostname;
}

/// Containers of one machine can have one path for different folders.
std::string target_key(const HostFacts& host) {
  const std::string machine = machine_key(host);
  if (machine.empty() || host.python.prefix.empty())
    return {};
  return machine + "\n" + host.python.prefix + "\n" + host.python.prefix_id;
}

const HostFacts* same_target(const Subject& subject) {
  return earlier(subject.summary.targets, target_key(subject.host), subject.host);
}

Findings same_machine_rule(const Subject& subject) {
  if (subject.fleet.hosts.size() < 2)
    return {};
  if (!is_identified(subject.host))
    return {finding(Severity::unknown, "whether another name means this machine is not known")};
  const HostFacts* target = same_target(subject);
  const HostFacts* machine = target != nullptr ? target
                                               : earlier(subject.summary.machines,
                                                         machine_key(subject.host), subject.host);
  if (machine == nullptr)
    return {finding(Severity::ok, "no earlier host is this machine")};
  return {finding(Severity::warn,
                  fmt::format("it is the same machine as {}{}", machine->host,
                              target == nullptr ? "" : ", with the same environment"),
                  "name each machine once in the hostfile")};
}

}  // namespace ds
