// SPDX-License-Identifier: Apache-2.0
#include "cli/plan_source.h"

#include "base/error.h"
#include "base/file.h"
#include "cli/run_build.h"
#include "source/source.h"

namespace ds {

namespace fs = std::filesystem;

std::vector<std::string> source_environment(const HostFacts& builder) {
  const std::map<std::string, std::string> own = environment_map();
  const auto home = own.find("CUDA_HOME");
  if ((home != own.end() && !home->second.empty()) || builder.nvcc.empty())
    return {};
  return {"CUDA_HOME=" + fs::path(builder.nvcc.front().path).parent_path().parent_path().string()};
}

namespace {

SourceTree tree_of(Session& session, const HostFacts& builder) {
  const Options& options = session.options();
  const std::string python = session.python_here();
  if (python.empty()) {
    throw UsageError("no interpreter was named whose torch the tree is built with",
                     "give --python /path/of/venv/bin/python: it has to be on this machine, with "
                     "the hosts' Python and torch");
  }
  SourceOptions how;
  how.in_use = &session.in_use();
  how.cache = cache_folder(options);
  how.environment = source_environment(builder);
  SourceTree tree = read_source(fs::absolute(expand_home(options.source)), python, how);
  tree.digest = source_digest(tree.root);
  return tree;
}

}  // namespace

PlannedWheel plan_source_wheel(Session& session) {
  PlannedWheel planned;
  planned.folder = build_folder(session.options());
  // Without hosts that answer there is still a wheel to build.
  const Fleet& fleet = session.fleet();
  planned.builder = session.build_machine();
  planned.source = tree_of(session, planned.builder);
  planned.plan = make_source_plan(*planned.source, fleet, planned.builder,
                                  plan_options(session.options(), environment_map()));
  return planned;
}

std::string explain_source_flags(Session& session) {
  const Options& options = session.options();
  const Fleet& fleet = session.fleet();
  const HostFacts builder = session.build_machine();
  return explain_flags(tree_of(session, builder), options.explain_flags, fleet, builder,
                       plan_options(options, environment_map()));
}

}  // namespace ds
