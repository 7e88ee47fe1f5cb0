// SPDX-License-Identifier: Apache-2.0
#include "cli/plan_wheel.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/plan_source.h"

extern char** environ;

namespace ds {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

/// --ops, else ops/ beside the build folder that holds this program, else the installed one.
fs::path ops_folder(const Options& options) {
  if (!options.ops.empty())
    return fs::absolute(expand_home(options.ops));
  std::error_code failure;
  const fs::path program = fs::read_symlink("/proc/self/exe", failure);
  const fs::path beside = program.parent_path().parent_path() / "ops";
  if (!failure && fs::exists(beside / "VERSION"))
    return beside;
  const fs::path relative = program.parent_path().parent_path() / "share/ds-deploy/ops";
  return !failure && fs::exists(relative / "VERSION") ? relative : fs::path(DS_DEPLOY_OPS_DIR);
}

bool is_in_git(fs::path folder) {
  while (!fs::exists(folder / ".git")) {
    if (folder == folder.parent_path())
      return false;
    folder = folder.parent_path();
  }
  return true;
}

/// The commit that the ops are at, if they lie in a git work tree and git is here.
void ask_git(OpLibrary& library) {
  if (!is_in_git(library.root))
    return;
  const auto git = [&library](std::vector<std::string> words) {
    words.insert(words.begin(), {"git", "-C", library.root.string()});
    return run_command(Command{words, {}, {}}, std::chrono::seconds(20));
  };
  const CommandResult commit = git({"rev-parse", "--short=9", "HEAD"});
  if (!commit.ok())
    return;
  const CommandResult changes = git({"status", "--porcelain", "--ignored=no", "--", "."});
  library.commit = std::string(trim(commit.output));
  library.dirty = !changes.ok() || !trim(changes.output).empty();
}

/// The environment in which this op alone is built.
std::map<std::string, std::string> asking_for(const std::string& name, const OpLibrary& library) {
  std::map<std::string, std::string> variables = environment_map();
  std::erase_if(variables, [](const auto& variable) {
    return variable.first.starts_with("DS_BUILD_") && variable.first != "DS_BUILD_STRING";
  });
  std::vector<std::string> names;
  for (const Op& op : library.ops) {
    names.push_back(op.name);
    if (op.name == name)
      variables[op.build_variable] = "1";
  }
  if (std::find(names.begin(), names.end(), name) == names.end()) {
    const std::string nearest = suggestion(name, names);
    throw Error(
        fmt::format("there is no op '{}' in {}", clean_line(name, 80), library.root.string()),
        nearest.empty() ? "it has " + join(names, ", ") : nearest, ExitStatus::build_failed);
  }
  return variables;
}

ArchPolicy arch_policy(const Options& options) {
  if (options.arch_policy == "cover")
    return ArchPolicy::cover;
  return options.arch_policy == "ptx" ? ArchPolicy::ptx : ArchPolicy::exact;
}

}  // namespace

std::map<std::string, std::string> environment_map() {
  std::map<std::string, std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::size_t equals = text.find('=');
    if (equals != std::string_view::npos) {
      variables.emplace(text.substr(0, equals), text.substr(equals + 1));
    }
  }
  return variables;
}

PlanOptions plan_options(Session& session, std::map<std::string, std::string> environment) {
  const Options& options = session.options();
  PlanOptions plan;
  plan.environment = std::move(environment);
  plan.arch_policy = arch_policy(options);
  plan.launcher = options.launcher;
  plan.cpu_level = options.cpu_level == "shared" ? 0 : std::stoi(options.cpu_level);
  plan.debug_info = options.debug_info;
  plan.pch = !options.no_pch;
  plan.catalog = &session.catalog();
  return plan;
}

fs::path build_folder(const Options& options) {
  return options.build_folder.empty() ? cache_home() / "build"
                                      : fs::absolute(expand_home(options.build_folder));
}

std::string library_path(const PlannedOp& op) {
  return op.path;
}

std::vector<WheelFile> package_files(const PlannedWheel& planned) {
  std::vector<WheelFile> files;
  for (const PlannedFile& file : planned.plan.files)
    files.push_back({file.path, {}, file.source, false});
  for (const PlannedOp& op : planned.plan.ops)
    files.push_back({library_path(op), {}, planned.folder / op.library, true});
  return files;
}

std::vector<PlannedWheel> plan_wheels(Session& session) {
  if (!session.options().source.empty())
    return plan_source_wheels(session);
  return {plan_wheel(session)};
}

PlannedWheel plan_wheel(Session& session, const std::string& only) {
  PlannedWheel planned;
  const Options& options = session.options();
  planned.library = load_ops(ops_folder(options));
  ask_git(planned.library);
  planned.folder = build_folder(options);
  // Without hosts that answer there is still a wheel to build.
  const Fleet& fleet = session.fleet();
  planned.builder = session.build_machine(session.python_here());
  std::map<std::string, std::string> variables =
      only.empty() ? environment_map() : asking_for(only, planned.library);
  // One op may have been built before: whether a compiler is needed is not known yet.
  if (!only.empty() && planned.builder.cxx.empty() && variables["CXX"].empty())
    variables["CXX"] = "c++";
  planned.plan = make_plan(planned.library, fleet, planned.builder,
                           plan_options(session, std::move(variables)));
  return planned;
}

const Op& op_named(const OpLibrary& library, const std::string& name) {
  return *std::find_if(library.ops.begin(), library.ops.end(),
                       [&name](const Op& op) { return op.name == name; });
}

std::string wheel_file_name(const BuildPlan& plan) {
  return plan.package + "-" + plan.version + "-" + plan.tag + ".whl";
}

Requirements predicted_requirements(const PlannedWheel& planned) {
  Requirements requirements;
  requirements.file = wheel_file_name(planned.plan);
  requirements.kind = "wheel";
  requirements.python_tag = planned.plan.tag;
  requirements.cuda = planned.plan.cuda;
  for (const PlannedOp& op : planned.plan.ops) {
    LibraryNeeds needs;
    needs.path = library_path(op);
    needs.op = op.name;
    needs.machine = planned.builder.machine;
    needs.cpu_level = planned.plan.cpu_level;
    needs.opens = op.rules.host_needs;
    needs.minimum_capability = op.rules.minimum_compute_capability;
    needs.links_torch = op.rules.links_torch;
    needs.torch = op.rules.torch;
    needs.torch_cxx11_abi = op.rules.cxx11_abi;
    needs.toolkit = op.rules.cuda;
    needs.cuda_check_skipped = op.rules.skip_cuda_check;
    if (op.kind == Op::Kind::cuda)
      needs.gpu.units = 1;
    needs.gpu.sass = op.archs;
    for (const std::string& arch : op.ptx)
      needs.gpu.ptx.push_back({arch, planned.plan.cuda});
    needs.gpu.sass_all_units = needs.gpu.sass;
    needs.gpu.ptx_all_units = needs.gpu.ptx;
    requirements.libraries.push_back(std::move(needs));
  }
  return requirements;
}

std::string plan_text(const BuildPlan& plan, bool verbose) {
  std::string text = "wheel        " + wheel_file_name(plan) + "\n";
  if (!plan.compiler.empty())
    text += "compiler     " + plan.compiler + "\n";
  if (!plan.nvcc.empty())
    text += "nvcc         " + plan.nvcc + "\n";
  for (const PlannedToolkit& toolkit : plan.toolkits) {
    text += fmt::format("toolkit      CUDA {} ({}), {}: {}\n", toolkit.version, toolkit.path,
                        toolkit.chosen ? "used" : "not used", toolkit.because);
  }
  text += fmt::format("cpu          x86-64-v{}\n", plan.cpu_level);
  if (!plan.archs.empty()) {
    text += fmt::format("archs        {} ({})\n", join(plan.archs, " "), plan.archs_because);
  }
  for (const LeftOutOp& op : plan.left_out) {
    text += fmt::format("left out     {}: {}\n", op.name, op.because);
  }
  for (const std::string& note : plan.notes)
    text += "note         " + note + "\n";
  text += count(plan.jobs.size(), "job") + "\n";
  for (const Job& job : plan.jobs) {
    text += fmt::format("  {}  because {}\n", job.name, job.because);
    if (!verbose)
      continue;
    std::vector<std::string> words;
    for (const std::string& word : job.command.argv)
      words.push_back(shell_quote(word));
    text += "    " + join(words, " ") + "\n";
  }
  return text;
}

std::string plan_json(const BuildPlan& plan, const std::string& environment,
                      const std::vector<std::string>& hosts) {
  ordered_json jobs = ordered_json::array(), left_out = ordered_json::array(),
               ops = ordered_json::array(), toolkits = ordered_json::array();
  for (const Job& job : plan.jobs) {
    jobs.push_back({{"op", job.op},
                    {"name", job.name},
                    {"because", job.because},
                    {"command", job.command.argv},
                    {"needs", job.needs}});
  }
  for (const LeftOutOp& op : plan.left_out) {
    left_out.push_back({{"name", op.name}, {"because", op.because}});
  }
  for (const PlannedOp& op : plan.ops)
    ops.push_back({{"name", op.name}, {"archs", op.archs}});
  for (const PlannedToolkit& toolkit : plan.toolkits) {
    toolkits.push_back({{"path", toolkit.path},
                        {"version", toolkit.version},
                        {"chosen", toolkit.chosen},
                        {"because", toolkit.because}});
  }
  ordered_json whole = {{"schema", "ds-deploy.plan/1"},
                        {"environment", environment},
                        {"wheel", wheel_file_name(plan)},
                        {"archs", plan.archs},
                        {"archs_because", plan.archs_because},
                        {"compiler", plan.compiler},
                        {"nvcc", plan.nvcc},
                        {"toolkits", toolkits},
                        {"cpu_level", plan.cpu_level},
                        {"ops", ops},
                        {"left_out", left_out},
                        {"notes", plan.notes},
                        {"jobs", jobs}};
  if (!hosts.empty())
    whole["hosts"] = hosts;
  return whole.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace ds
