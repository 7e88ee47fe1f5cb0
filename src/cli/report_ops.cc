// SPDX-License-Identifier: Apache-2.0
//
// Words and columns are those of DeepSpeed's ds_report (deepspeed/env_report.py), so that whoever
// reads one reads the other.
#include "cli/report_ops.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/random.h"
#include "base/text.h"
#include "cli/host_ops.h"
#include "cli/reach.h"
#include "report/report.h"

namespace ds {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t name_width = 23, installed_width = 11, fact_width = 33;
const std::string rule(50, '-');

void print(const std::string& text) {
  std::fputs(text.c_str(), stdout);
}

std::vector<HostOps> ask_hosts(Session& session, const Fleet& fleet) {
  std::vector<HostOps> answers(fleet.hosts.size());
  session.status().stage_started("report", fleet.hosts.size());
  for (std::size_t i = 0; i < fleet.hosts.size(); ++i) {
    const HostFacts& facts = fleet.hosts[i];
    const Host& host = session.inventory().hosts[i];
    if (facts.python.executable.empty())
      continue;
    const std::string nonce = random_nonce();
    Exec exec = host_program(
        host, facts.python.asked,
        program_text({"layout.py", "ask_child.py", "probe_runtime.py", "report_ops.py"}),
        ordered_json({{"nonce", nonce}}).dump(), true);
    exec.time_limit = std::chrono::minutes(10);
    exec.output_limit = 4u << 20;
    session.status().item_started(facts.host);
    session.transport().start(host.endpoint, exec, [&, i, nonce](const ExecResult& result) {
      answers[i] = read_host_ops(result, nonce);
      const std::string& problem = answers[i].problem;
      session.status().item_finished(fleet.hosts[i].host, problem.empty() ? "answered" : problem,
                                     !problem.empty());
    });
  }
  session.transport().run();
  session.status().stage_finished();
  return answers;
}

/// "cpu_adam ............... ", as wide as the column.
std::string dotted(const std::string& name, std::size_t width) {
  return name + " " + std::string(width > name.size() ? width - name.size() : 0, '.') + " ";
}

/// An op with device code, on a host that no GPU is in, is no fault.
bool is_fault(const HostOp& op, const HostFacts& host) {
  const bool cannot = host.gpus.empty() && !(op.sass.empty() && op.ptx.empty());
  return op.self_test == "failed" || (op.loads == false && !cannot);
}

std::string verdict_word(const HostOp& op, const HostFacts& host) {
  if (is_fault(op, host))
    return "[FAIL]";
  if (!op.installed || op.loads == false)
    return "[NO]";
  return "[OKAY]";
}

std::string archs_text(const HostOp& op) {
  std::vector<std::string> archs;
  for (const std::string& arch : op.sass)
    archs.push_back("sm_" + arch);
  for (const std::string& arch : op.ptx)
    archs.push_back("compute_" + arch);
  return join(archs, " ");
}

std::string op_text(const HostOp& op, const HostFacts& host) {
  const std::string installed = op.installed ? "[YES]" : "[NO]";
  std::string line =
      dotted(op.name, name_width) + dotted(installed, installed_width) + verdict_word(op, host);
  const std::string archs = archs_text(op);
  if (!archs.empty())
    line += " " + archs;
  if (!op.self_test.empty())
    line += fmt::format(" (self-test: {})", op.self_test);
  if (!op.message.empty())
    line += "\n  " + op.message;
  return line + "\n";
}

std::string package_text(const HostPackage& package, const HostFacts& host) {
  std::string text = rule + "\n" +
                     (package.name == "deepspeed" ? "DeepSpeed C++/CUDA extension" : package.name) +
                     " op report\n" + rule + "\n" + dotted("op name", name_width) +
                     "installed .. " + "compatible\n" + rule + "\n";
  for (const HostOp& op : package.ops)
    text += op_text(op, host);
  if (package.ops.empty())
    text += "no compiled op\n";
  if (!package.problem.empty())
    text += package.problem + "\n";
  return text + rule + "\n";
}

std::string or_none(const std::string& text) {
  return text.empty() ? "None" : text;
}

std::string gpus_text(const HostFacts& host) {
  std::vector<std::string> kinds;
  for (const Gpu& gpu : host.gpus) {
    const std::string kind = fmt::format("{} ({})", gpu.name, gpu.compute_capability);
    if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end())
      kinds.push_back(kind);
  }
  return kinds.empty() ? "None" : fmt::format("{} x {}", host.gpus.size(), join(kinds, ", "));
}

std::string environment_text(const HostOps& installed, const HostFacts& host) {
  std::string text = "DeepSpeed general environment info:\n";
  const auto row = [&text](const std::string& name, const std::string& value) {
    text += dotted(name, fact_width) + value + "\n";
  };
  row("python", host.python.version + " " + host.python.executable);
  row("torch install path", or_none(host.torch.folder));
  row("torch version", or_none(host.torch.version));
  row("torch cuda version", or_none(host.torch.cuda));
  for (const HostPackage& package : installed.packages) {
    row(package.name + " install path", package.folder);
    row(package.name + " info", or_none(package.version));
    if (!package.torch.empty()) {
      row(package.name + " wheel compiled w.",
          fmt::format("torch {}, cuda {}, for accelerator {}", package.torch, or_none(package.cuda),
                      or_none(package.accelerator)));
    }
  }
  row("nvcc version", host.nvcc.empty() ? "None" : host.nvcc.front().version);
  row("GPUs", gpus_text(host));
  row("NVIDIA driver", or_none(host.driver));
  row("CPU", fmt::format("{}, x86-64-v{}", host.cpu_model, host.cpu_level));
  row("glibc", or_none(host.glibc));
  row("shared memory (/dev/shm) size",
      host.shared_memory.bytes < 0
          ? "UNKNOWN"
          : human_bytes(static_cast<std::uint64_t>(host.shared_memory.bytes)));
  return text;
}

std::string host_report(const HostOps& installed, const HostFacts& host) {
  if (host.state != HostFacts::State::reached)
    return host.problem + "\n";
  if (host.python.executable.empty()) {
    return host.python.asked.empty() ? "no environment was named: give --python PATH\n"
                                     : host.python.asked + " does not run there\n";
  }
  std::string text;
  for (const HostPackage& package : installed.packages)
    text += package_text(package, host);
  if (!installed.problem.empty())
    text += installed.problem + "\n";
  else if (installed.packages.empty())
    text += "neither ds_ops nor deepspeed is installed\n";
  return text + environment_text(installed, host);
}

ordered_json op_json(const HostOp& op) {
  return {{"name", op.name},
          {"installed", op.installed},
          {"loads", op.loads ? ordered_json(*op.loads) : ordered_json(nullptr)},
          {"message", op.message},
          {"self_test", op.self_test},
          {"sass", op.sass},
          {"ptx", op.ptx}};
}

ordered_json package_json(const HostPackage& package) {
  ordered_json ops = ordered_json::array();
  for (const HostOp& op : package.ops)
    ops.push_back(op_json(op));
  return {
      {"name", package.name},
      {"version", package.version},
      {"folder", package.folder},
      {"compiled_with",
       {{"torch", package.torch}, {"cuda", package.cuda}, {"accelerator", package.accelerator}}},
      {"problem", package.problem},
      {"ops", ops}};
}

std::string report_json(Session& session, const std::vector<HostOps>& answers, ExitStatus status) {
  const Fleet& fleet = session.fleet();
  ordered_json hosts = ordered_json::array();
  for (std::size_t i = 0; i < fleet.hosts.size(); ++i) {
    ordered_json packages = ordered_json::array();
    for (const HostPackage& package : answers[i].packages)
      packages.push_back(package_json(package));
    hosts.push_back(
        {{"name", fleet.hosts[i].host}, {"packages", packages}, {"problem", answers[i].problem}});
  }
  const ordered_json whole = {{"schema", "ds-deploy.ops/2"},
                              {"exit", static_cast<int>(status)},
                              {"environment", session.environment()},
                              {"facts", ordered_json::parse(facts_to_json(fleet))},
                              {"hosts", hosts}};
  return whole.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

bool has_fault(const HostOps& installed, const HostFacts& host) {
  return std::any_of(installed.packages.begin(), installed.packages.end(),
                     [&host](const HostPackage& package) {
                       return std::any_of(package.ops.begin(), package.ops.end(),
                                          [&host](const HostOp& op) { return is_fault(op, host); });
                     });
}

ExitStatus verdict_of(const Fleet& fleet, const std::vector<HostOps>& answers) {
  const ExitStatus reached = status_of(fleet);
  for (std::size_t i = 0; reached == ExitStatus::ok && i < fleet.hosts.size(); ++i) {
    if (has_fault(answers[i], fleet.hosts[i]))
      return ExitStatus::incompatible;
  }
  return reached;
}

/// What is known of GPUs, of which the audit and the plan speak.
std::string known_gpus(const Catalog& catalog) {
  std::string text = fmt::format("{:<12}{:<14}{:<10}{}\n", "capability", "CUDA", "forms", "models");
  for (const Catalog::Gpu& gpu : catalog.gpus) {
    const std::string forms =
        (gpu.exact.empty() ? "" : "a") + std::string(gpu.family.empty() ? "" : " f");
    text += fmt::format("{:<12}{:<14}{:<10}{}\n", gpu.capability,
                        gpu.first + (gpu.last.empty() ? " or newer" : " to " + gpu.last),
                        trim(forms), join(gpu.models, ", "));
  }
  return text;
}

}  // namespace

ExitStatus show_report(Session& session) {
  if (session.options().gpus) {
    print(known_gpus(session.catalog()));
    return ExitStatus::ok;
  }
  const Fleet& fleet = session.fleet();
  const std::vector<HostOps> answers = ask_hosts(session, fleet);
  const ExitStatus status = verdict_of(fleet, answers);
  if (session.options().json) {
    print(report_json(session, answers, status));
    return status;
  }
  print("environment  " + session.environment() + "\n");
  // Hosts that say the same say it once.
  std::vector<std::pair<std::string, std::vector<std::string>>> alike;
  for (std::size_t i = 0; i < fleet.hosts.size(); ++i) {
    const std::string text = host_report(answers[i], fleet.hosts[i]);
    const auto known = std::find_if(alike.begin(), alike.end(),
                                    [&text](const auto& one) { return one.first == text; });
    if (known == alike.end())
      alike.push_back({text, {fleet.hosts[i].host}});
    else
      known->second.push_back(fleet.hosts[i].host);
  }
  for (const auto& [text, hosts] : alike) {
    print(fmt::format("\n{} ({})\n{}", fold_hosts(hosts), count(hosts.size(), "host"),
                      clean(text, std::string::npos)));
  }
  return status;
}

}  // namespace ds
