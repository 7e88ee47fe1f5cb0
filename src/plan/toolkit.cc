// SPDX-License-Identifier: Apache-2.0
#include "plan/toolkit.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <tuple>

#include "base/text.h"
#include "compat/compat.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

struct Obstacles {
  std::string compiler, archs, driver, torch;  ///< clauses on the toolkit; empty: none
  std::size_t missing_archs = 0;

  std::vector<std::string> all() const {
    std::vector<std::string> texts;
    for (const std::string* text : {&compiler, &archs, &torch, &driver}) {
      if (!text->empty())
        texts.push_back(*text);
    }
    return texts;
  }
  /// Worst first: without its compiler it makes nothing at all.
  auto rank() const {
    return std::tuple(!compiler.empty(), missing_archs + !driver.empty() + !torch.empty());
  }
};

/// nvcc refuses host compilers that are newer than it knows.
std::string compiler_obstacle(const std::string& cuda, const HostCompiler& compiler,
                              const Catalog& catalog) {
  const std::optional<long> major = parse_integer(major_of(compiler.version), 1, 1000);
  const Catalog::Toolkit* toolkit = catalog.toolkit(cuda);
  if (!major || compiler.kind == HostCompiler::Kind::other || toolkit == nullptr)
    return {};
  const bool clang = compiler.kind == HostCompiler::Kind::clang;
  const int newest = clang ? toolkit->clang : toolkit->gcc;
  if (newest == 0 || *major <= newest)
    return {};
  return fmt::format("takes {} up to {}, and {} is {}", clang ? "clang" : "GCC", newest,
                     compiler.path, compiler.version);
}

Obstacles obstacles_of(const Tool& toolkit, const ToolkitNeeds& needs) {
  Obstacles found;
  found.compiler = compiler_obstacle(toolkit.version, needs.compiler, *needs.catalog);
  std::vector<std::string> archs, hosts;
  for (const Arch& arch : needs.archs) {
    if (!arch.ptx && !nvcc_makes(toolkit.version, arch, *needs.catalog))
      archs.push_back(capability_text(arch));
  }
  found.missing_archs = archs.size();
  if (!archs.empty())
    found.archs = "cannot compile for " + join(archs, ", ");
  const Catalog::Major* major = needs.catalog->major_of(toolkit.version);
  const std::string floor = major == nullptr ? "" : major->driver;
  for (const auto& [host, driver] : needs.drivers) {
    if (compare_versions(driver, floor) < 0)
      hosts.push_back(fmt::format("{} has {}", host, driver));
  }
  if (!hosts.empty())
    found.driver = fmt::format("needs NVIDIA driver {}, and {}", floor, some_of(hosts));
  if (!needs.torch.cuda.empty() && major_of(needs.torch.cuda) != major_of(toolkit.version)) {
    found.torch = fmt::format("is not CUDA {}, which torch {} is built with", needs.torch.cuda,
                              needs.torch.version);
  }
  return found;
}

std::size_t best_of(const std::vector<Tool>& toolkits, const std::vector<Obstacles>& obstacles) {
  std::size_t best = 0;
  for (std::size_t at = 1; at < toolkits.size(); ++at) {
    const auto here = obstacles[at].rank(), there = obstacles[best].rank();
    const bool newer = compare_versions(toolkits[at].version, toolkits[best].version) > 0;
    if (here < there || (here == there && newer))
      best = at;
  }
  return best;
}

std::string because_chosen(std::size_t among, bool named, const Obstacles& obstacles) {
  const std::string but = join(obstacles.all(), "; ");
  const std::string why = named          ? "CUDA_HOME names it"
                          : among == 1   ? "it is the only one"
                          : !but.empty() ? "no other has fewer obstacles"
                                         : "it is the newest without an obstacle";
  return but.empty() ? why : why + ", though it " + but;
}

std::string because_not(const Tool& toolkit, const Tool& chosen, bool named,
                        const Obstacles& obstacles) {
  if (!obstacles.all().empty())
    return "it " + join(obstacles.all(), "; ");
  if (named)
    return "CUDA_HOME names another";
  return toolkit.version == chosen.version ? "it was found later"
                                           : fmt::format("CUDA {} is newer", chosen.version);
}

}  // namespace

HostCompiler host_compiler(const std::string& program, const std::vector<Tool>& known) {
  HostCompiler compiler;
  compiler.path = program;
  const std::string name = fs::path(program).filename().string();
  if (name.find("clang") != std::string::npos)
    compiler.kind = HostCompiler::Kind::clang;
  else if (name.find("g++") != std::string::npos || name.find("gcc") != std::string::npos)
    compiler.kind = HostCompiler::Kind::gcc;
  for (const Tool& tool : known) {
    if (tool.path == program || fs::path(tool.path).filename() == program)
      compiler.version = tool.version;
  }
  return compiler;
}

bool named_by(const std::string& cuda_home, const Tool& toolkit) {
  const fs::path wanted = (fs::path(cuda_home) / "bin" / "nvcc").lexically_normal();
  return !cuda_home.empty() && fs::path(toolkit.path).lexically_normal() == wanted;
}

std::vector<JudgedToolkit> judge_toolkits(const std::vector<Tool>& toolkits,
                                          const std::string& cuda_home, const ToolkitNeeds& needs) {
  std::vector<JudgedToolkit> judged;
  if (toolkits.empty())
    return judged;
  std::vector<Obstacles> obstacles;
  for (const Tool& toolkit : toolkits)
    obstacles.push_back(obstacles_of(toolkit, needs));
  const auto home = std::find_if(toolkits.begin(), toolkits.end(),
                                 [&](const Tool& toolkit) { return named_by(cuda_home, toolkit); });
  const bool named = home != toolkits.end();
  const std::size_t chosen =
      named ? static_cast<std::size_t>(home - toolkits.begin()) : best_of(toolkits, obstacles);
  for (std::size_t at = 0; at < toolkits.size(); ++at) {
    const Obstacles& here = obstacles[at];
    JudgedToolkit one{toolkits[at], at == chosen, "", {}};
    one.because = one.chosen ? because_chosen(toolkits.size(), named, here)
                             : because_not(one.tool, toolkits[chosen], named, here);
    for (const std::string& text : {here.compiler, here.driver}) {
      if (!text.empty())
        one.warnings.push_back(fmt::format("CUDA {} {}", one.tool.version, text));
    }
    judged.push_back(std::move(one));
  }
  return judged;
}

}  // namespace ds
