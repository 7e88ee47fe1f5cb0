// SPDX-License-Identifier: Apache-2.0
#include "cli/run_build.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/text.h"
#include "build/build.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

int job_count(const Options& options) {
  if (options.jobs > 0)
    return options.jobs;
  const char* max_jobs = std::getenv("MAX_JOBS");
  if (max_jobs != nullptr && *max_jobs != '\0') {
    const std::optional<long> number = parse_integer(max_jobs, 1, 4096);
    if (!number) {
      throw UsageError("MAX_JOBS is '" + clean_line(max_jobs) + "', which is no number of jobs",
                       "unset it, or set it to 1 or more");
    }
    return static_cast<int>(*number);
  }
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

std::uint64_t bytes_of(const std::string& option, const std::string& text) {
  const std::optional<std::uint64_t> bytes = parse_bytes(text);
  if (!bytes) {
    throw UsageError(fmt::format("{} is '{}', which is no size", option, clean_line(text)),
                     "write a number with K, M, G or T, as in 16G");
  }
  return *bytes;
}

[[noreturn]] void refuse(const BuildResult& result, const Options& options) {
  std::set<std::string> ops;
  for (const FailedJob& job : result.failed)
    ops.insert(job.op);
  const std::vector<std::string> names(ops.begin(), ops.end());
  const char* messages = result.failed.size() == 1
                             ? "the compiler's messages stand above and in"
                             : "the messages of the first stand above, those of all in";
  const fs::path logs = result.failed.front().log.parent_path().parent_path();
  throw Error(
      fmt::format("{} failed to compile: {}{}", count(result.failed.size(), "job"),
                  join(names, ", "), options.command == "deploy" ? "; no host was changed" : ""),
      fmt::format("{} {}; DS_BUILD_<OP>=0 leaves an op out", messages, logs.string()),
      ExitStatus::build_failed);
}

std::string summary(const BuildResult& result) {
  double cpu = 0, serial = 0;
  for (const JobRun& run : result.runs) {
    cpu += run.cpu_seconds;
    serial += run.ended - run.began;
  }
  const double faster = serial / std::max(result.seconds, 0.001);
  const std::string ratio =
      faster < 1.05 ? "" : fmt::format(", {:.1f} times faster than one by one", faster);
  return fmt::format("build: {} ran in {} ({} of CPU{}), {} up to date, {} from the cache",
                     count(result.runs.size(), "job"), human_seconds(result.seconds),
                     human_seconds(cpu), ratio, result.up_to_date, result.from_cache);
}

/// Makes everything once more, in a folder of its own and without the store, and compares.
void refuse_other_bytes(const BuildPlan& plan, CommandRunner& runner, Session& session,
                        BuildOptions how) {
  const fs::path first = how.folder;
  const TempDir again("ds-deploy-again");
  how.folder = again.path() / "build";
  how.cache = again.path() / "cache";
  FileHashes hashes;
  const BuildResult result = build(plan, runner, session.status(), how, hashes);
  if (!result.ok())
    refuse(result, session.options());
  std::vector<std::string> other;
  for (const Job& job : plan.jobs) {
    if (job.kind == Job::Kind::precompile)
      continue;
    if (sha256_file(first / job.output) != sha256_file(how.folder / job.output))
      other.push_back(job.name);
  }
  if (!other.empty()) {
    throw Error(
        fmt::format("not reproducible: {} made other bytes the second time", join(other, ", ")),
        "look for __TIME__, random seeds and the order of inputs", ExitStatus::build_failed);
  }
  session.status().remark(
      fmt::format("reproducible: {} made the same bytes twice", count(plan.jobs.size(), "job")));
}

}  // namespace

fs::path cache_folder(const Options& options) {
  return options.cache_folder.empty() ? cache_home() / "cache"
                                      : fs::absolute(expand_home(options.cache_folder));
}

void run_build(const BuildPlan& plan, const fs::path& folder, Session& session,
               FileHashes& hashes) {
  const Options& options = session.options();
  BuildOptions how;
  how.folder = folder;
  how.cache = cache_folder(options);
  how.keep_going = options.keep_going;
  how.all_messages = options.verbose;
  how.explain = options.explain;
  if (!options.memory_limit.empty())
    how.memory = bytes_of("--memory-limit", options.memory_limit);
  const std::uint64_t cache_size = bytes_of("--cache-size", options.cache_size);

  RunnerOptions running;
  running.slots = job_count(options);
  how.slots = running.slots;
  running.max_load = options.max_load;
  running.limit = std::chrono::seconds(options.job_timeout);
  const char* makeflags = std::getenv("MAKEFLAGS");
  std::unique_ptr<JobServer> server = join_job_server(makeflags != nullptr ? makeflags : "");
  if (!server)
    server = make_job_server(running.slots);
  running.job_server = server.get();
  const std::unique_ptr<CommandRunner> runner = make_command_runner(running);

  const BuildResult result = build(plan, *runner, session.status(), how, hashes);
  if (!options.trace.empty())
    write_file(fs::absolute(expand_home(options.trace)), timeline(plan, result));
  if (!result.ok())
    refuse(result, session.options());
  if (result.runs.empty())
    session.status().note(summary(result));
  else
    session.status().remark(summary(result));
  if (options.verify_reproducible)
    refuse_other_bytes(plan, *runner, session, how);
  if (!result.runs.empty())
    Cache(how.cache).trim(cache_size);
}

ExitStatus manage_cache(Session& session) {
  const Options& options = session.options();
  const Cache cache(cache_folder(options));
  std::string did;
  if (options.action == "trim")
    did = human_bytes(cache.trim(bytes_of("--cache-size", options.cache_size))) + " dropped";
  else if (options.action == "verify")
    did = fmt::format("{} damaged and dropped", count(cache.verify(), "file"));
  const CacheUse use = cache.use();
  std::string text;
  if (options.json) {
    const nlohmann::ordered_json json = {{"schema", "ds-deploy.cache/1"},
                                         {"folder", cache.folder().string()},
                                         {"outputs", use.outputs},
                                         {"results", use.results},
                                         {"exports", use.exports},
                                         {"packages", use.packages},
                                         {"sources", use.sources},
                                         {"environments", use.environments},
                                         {"bytes", use.bytes}};
    text = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  } else {
    text = fmt::format("{}\n{} in {}, {}, {}, {}, {} and {}\n", clean_line(cache.folder().string()),
                       human_bytes(use.bytes), count(use.outputs, "output"),
                       count(use.results, "result"), count(use.packages, "package"),
                       count(use.sources, "source"), count(use.environments, "environment"),
                       count(use.exports, "symbol table"));
    if (!did.empty())
      text += did + "\n";
  }
  std::fputs(text.c_str(), stdout);
  return ExitStatus::ok;
}

}  // namespace ds
