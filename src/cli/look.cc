// SPDX-License-Identifier: Apache-2.0
#include "cli/look.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "artifact/artifact.h"
#include "base/text.h"
#include "cli/reach.h"

namespace ds {
namespace {

using nlohmann::ordered_json;

void print(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

/// Paths and names need not be UTF-8.
std::string one_line(const ordered_json& json) {
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::string or_none(const std::string& text) {
  return text.empty() ? "none" : text;
}

std::string gpus_text(const HostFacts& host) {
  std::vector<std::string> models;
  std::vector<std::size_t> counts;
  for (const Gpu& gpu : host.gpus) {
    const std::string model =
        fmt::format("{} ({}, {} MB)", gpu.name, gpu.compute_capability, gpu.memory_mb);
    const auto known = std::find(models.begin(), models.end(), model);
    if (known == models.end()) {
      models.push_back(model);
      counts.push_back(1);
    } else {
      ++counts[static_cast<std::size_t>(known - models.begin())];
    }
  }
  std::vector<std::string> pieces;
  for (std::size_t i = 0; i < models.size(); ++i) {
    pieces.push_back(fmt::format("{} x {}", counts[i], models[i]));
  }
  return or_none(join(pieces, ", "));
}

std::string tools_text(const std::vector<Tool>& tools) {
  std::vector<std::string> pieces;
  for (const Tool& tool : tools)
    pieces.push_back(tool.version + " (" + tool.path + ")");
  return or_none(join(pieces, ", "));
}

std::string host_text(const HostFacts& host) {
  if (host.state != HostFacts::State::reached) {
    return fmt::format("{}: {}\n", host.host, host.problem);
  }
  std::string text = host.host + "\n";
  const auto row = [&text](const char* name, const std::string& value) {
    text += fmt::format("  {:<12} {}\n", name, value);
  };
  row("system", fmt::format("{}, kernel {}, {}", host.os, host.kernel, host.machine));
  row("cpu", fmt::format("{} x {}, x86-64-v{}", host.cpu_count, host.cpu_model, host.cpu_level));
  row("memory", fmt::format("{} MB", host.memory_mb));
  row("libraries", fmt::format("glibc {}, GLIBCXX_{}, CXXABI_{}", host.glibc, or_none(host.glibcxx),
                               or_none(host.cxxabi)));
  row("gpus", gpus_text(host));
  row("driver", or_none(host.driver) +
                    (host.nvidia.cuda.empty() ? "" : ", libcuda for CUDA " + host.nvidia.cuda));
  row("nvcc", tools_text(host.nvcc));
  row("c++", tools_text(host.cxx));
  row("python", host.python.executable.empty()
                    ? "none: " + (host.python.asked.empty() ? "no environment was named"
                                                            : host.python.asked + " did not run")
                    : host.python.version + " (" + host.python.executable + ")");
  row("torch", host.torch.version.empty()
                   ? "none"
                   : host.torch.version + " (CUDA " + or_none(host.torch.cuda) + ")");
  row("packages",
      !host.distributions ? "not known" : count(host.distributions->size(), "Python package"));
  row("release", or_none(join(host.installed.active, "+")).substr(0, 25));
  row("disk", host.disk.free_bytes < 0
                  ? "unknown"
                  : fmt::format("{} free at {} ({})",
                                human_bytes(static_cast<std::uint64_t>(host.disk.free_bytes)),
                                host.disk.path, host.disk.filesystem));
  row("/dev/shm", host.shared_memory.bytes < 0
                      ? "unknown"
                      : human_bytes(static_cast<std::uint64_t>(host.shared_memory.bytes)));
  row("in use by", host.use || !host.gpus.empty() ? or_none(users_of(host)) : "unknown");
  for (const std::string& note : host.notes)
    row("note", note);
  return text;
}

}  // namespace

ExitStatus inspect_files(const Options& options) {
  const Catalog catalog = catalog_of(options);
  const Inspection how{.catalog = &catalog, .scan_instructions = options.scan_instructions};
  if (options.diff) {
    if (options.files.size() != 2) {
      throw UsageError(fmt::format("--diff compares two files, and {} {} named",
                                   options.files.size(), options.files.size() == 1 ? "is" : "are"),
                       "name the old one and the new one");
    }
    const Requirements before = inspect_file(options.files[0], how);
    const Requirements after = inspect_file(options.files[1], how);
    print(options.json ? diff_json(before, after) + "\n" : diff_text(before, after));
    return ExitStatus::ok;
  }
  for (const std::string& file : options.files) {
    const Requirements requirements = inspect_file(file, how);
    print(options.json ? inspect_json(requirements) + "\n" : inspect_text(requirements));
  }
  return ExitStatus::ok;
}

ExitStatus show_facts(Session& session) {
  const Fleet& fleet = session.fleet();
  if (session.options().json) {
    print(facts_to_json(fleet));
  } else {
    print("environment  " + session.environment() + "\n");
    for (const HostFacts& host : fleet.hosts)
      print(host_text(host));
  }
  return status_of(fleet);
}

ExitStatus ping(Session& session) {
  const std::vector<Host>& hosts = session.inventory().hosts;
  const std::vector<ExecResult> results =
      reach_all(session, hosts, "ping", "ok", [](const ExecResult& result) { return result.ok(); });
  ordered_json answers = ordered_json::array();
  bool key = false, all = true;
  for (std::size_t i = 0; i < hosts.size(); ++i) {
    const ExecResult& result = results[i];
    key |= result.outcome == ExecResult::Outcome::host_key_refused;
    all &= result.ok();
    const std::string said =
        !result.message.empty() ? result.message
        : result.ok()           ? "ok"
                      : fmt::format("the command ended with status {}", result.exit_status);
    answers.push_back({{"name", hosts[i].name},
                       {"ok", result.ok()},
                       {"message", said},
                       {"seconds", result.seconds}});
    if (!session.options().json) {
      print(fmt::format("{}  {}  {:.0f} ms\n", hosts[i].name, said, result.seconds * 1000));
    }
  }
  const ExitStatus status = key   ? ExitStatus::key_refused
                            : all ? ExitStatus::ok
                                  : ExitStatus::unreachable;
  if (session.options().json) {
    print(one_line(ordered_json{{"schema", "ds-deploy.ping/1"},
                                {"exit", static_cast<int>(status)},
                                {"hosts", answers},
                                {"notes", session.transport().notes()}}));
  } else {
    for (const std::string& note : session.transport().notes())
      print("note  " + note + "\n");
  }
  return status;
}

}  // namespace ds
