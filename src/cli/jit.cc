// SPDX-License-Identifier: Apache-2.0
#include "cli/jit.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/text.h"
#include "cache/cache.h"
#include "cli/make_wheel.h"
#include "cli/run_build.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

/// Where PyTorch keeps what it compiles (torch.utils.cpp_extension, TORCH_EXTENSIONS_DIR).
fs::path extensions_folder() {
  const char* named = std::getenv("TORCH_EXTENSIONS_DIR");
  if (named != nullptr && *named != '\0')
    return fs::absolute(expand_home(named));
  return cache_home().parent_path() / "torch_extensions";
}

/// "py311_cu130_torch2.11_sm90_x86-64-v3": what has another of these lives in a folder of its own.
std::string environment_key(const PlannedWheel& planned) {
  const HostFacts& here = planned.builder;
  const std::vector<std::string> python = split(here.python.version, '.');
  std::string key = python.size() < 2 ? "py" : "py" + python[0] + python[1];
  if (!planned.plan.cuda.empty())
    key += "_cu" + join(split(planned.plan.cuda, '.'), "");
  if (!here.torch.version.empty())
    key += "_torch" + here.torch.version;
  if (!planned.plan.archs.empty())
    key += "_sm" + join(planned.plan.archs, ".");
  key += fmt::format("_{}-v{}", here.machine, planned.plan.cpu_level);
  for (char& c : key) {
    if (c == '/' || c == ' ')
      c = '-';
  }
  return key;
}

}  // namespace

ExitStatus jit(Session& session) {
  const std::string& name = session.options().action;
  const PlannedWheel planned = plan_wheel(session, name);
  for (const std::string& note : planned.plan.notes)
    session.status().warning(note);
  const fs::path folder =
      extensions_folder() / "ds-deploy" / environment_key(planned) / planned.plan.ops.front().name;
  const FileLock lock(folder / "lock", [&](const std::string& owner) {
    session.status().remark(fmt::format("{} is being built by {}; waiting", name, owner));
  });
  run_build(planned.plan, folder, session);
  const fs::path library = folder / planned.plan.ops.front().library;
  const nlohmann::ordered_json json = {
      {"schema", "ds-deploy.jit/1"}, {"op", name}, {"library", library.string()}};
  const std::string text =
      session.options().json
          ? json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n"
          : library.string() + "\n";
  std::fputs(text.c_str(), stdout);
  return ExitStatus::ok;
}

}  // namespace ds
