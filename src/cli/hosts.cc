// SPDX-License-Identifier: Apache-2.0
#include "cli/hosts.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/session.h"
#include "process/process.h"

namespace ds {
namespace {

constexpr std::size_t largest_hostfile = 64u << 20;

std::string standard_input() {
  std::string text;
  char block[1 << 16];
  while (text.size() <= largest_hostfile) {
    const ssize_t got = ::read(STDIN_FILENO, block, sizeof block);
    if (got > 0)
      text.append(block, static_cast<std::size_t>(got));
    else if (got == 0)
      return text;
    else if (errno != EINTR)
      throw Error("cannot read the hostfile from the standard input: " + errno_text(errno));
  }
  throw UsageError("the hostfile on the standard input is too large", "write hosts, one a line");
}

Inventory read_hostfile(const std::string& file) {
  if (file == "-")
    return parse_hostfile(standard_input(), "standard input");
  return parse_hostfile(read_file(expand_home(file), largest_hostfile), file);
}

/// "gres:gpu:h100:8(S:0-1),gres:shard:16", "8", "gpu:8": GPUs on each node; 0: it does not say.
int gpus_in(const std::string& text) {
  for (const std::string& entry : split(text, ',')) {
    const std::string word = entry.substr(0, entry.find('('));
    const std::size_t colon = word.rfind(':');
    if (colon != std::string::npos && word.find("gpu:") == std::string::npos)
      continue;
    const auto number =
        parse_integer(colon == std::string::npos ? word : word.substr(colon + 1), 1, 4096);
    if (number)
      return static_cast<int>(*number);
  }
  return 0;
}

/// By Slurm's own commands; each task of an array has a line of its own. Source: squeue(1),
/// "--format".
Inventory nodes_of_job(const std::string& job) {
  const CommandResult result =
      run_command({{"squeue", "-h", "-j", job, "-t", "R,CG,S,CF", "-o", "%N|%b"}, {}, {}},
                  std::chrono::seconds(30));
  if (result.exit_status == 127) {
    throw UsageError("--slurm-job asks squeue, which is not in PATH",
                     "run it where Slurm's commands are, or name a hostfile");
  }
  std::vector<std::string> nodes;
  int gpus = 1;
  for (const std::string& line : lines(result.output)) {
    const std::size_t bar = line.find('|');
    const std::string names(trim(line.substr(0, bar)));
    if (names.empty())
      continue;
    nodes.push_back(names);
    gpus = std::max(gpus, bar == std::string::npos ? 0 : gpus_in(line.substr(bar + 1)));
  }
  if (!result.ok() || nodes.empty()) {
    const std::string said = clean_line(result.errors, 200);
    throw UsageError(
        fmt::format("Slurm job {} has no nodes now{}", job, said.empty() ? "" : ": " + said),
        "see: squeue");
  }
  return slurm_inventory(join(nodes, ","), "Slurm job " + job, gpus);
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

Inventory read_inventory(const Options& options) {
  if (!options.hosts.empty())
    return parse_hostfile(options.hosts, "the hosts of that run");
  if (options.local_only)
    return local_inventory();
  if (!options.slurm_job.empty())
    return nodes_of_job(options.slurm_job);
  std::vector<Inventory> inventories;
  for (const std::string& file : options.hostfiles)
    inventories.push_back(read_hostfile(file));
  if (inventories.size() == 1)
    return inventories.front();
  if (!inventories.empty())
    return join_inventories(inventories);
  if (std::filesystem::exists(default_hostfile))
    return read_hostfile(default_hostfile);
  const std::string nodes = variable("SLURM_JOB_NODELIST");
  if (!nodes.empty()) {
    return slurm_inventory(nodes, "SLURM_JOB_NODELIST",
                           std::max(gpus_in(variable("SLURM_GPUS_ON_NODE")), 1));
  }
  throw UsageError(fmt::format("no hostfile was given, and there is no {}", default_hostfile),
                   "give --hostfile FILE, or --local_only for this machine alone");
}

}  // namespace ds
