// SPDX-License-Identifier: Apache-2.0
//
// Runs the jobs of a plan, on one thread: the longest way to the end first, as many at once as the
// runner takes and the memory holds, and none that was done before in the same way.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "cache/cache.h"
#include "plan/plan.h"
#include "process/process.h"
#include "ui/ui.h"

namespace ds {

struct BuildOptions {
  std::filesystem::path folder;  ///< objects and libraries; made if absent
  std::filesystem::path cache;   ///< the store of results, shared by all builds of this user
  int keep_going = 1;            ///< stop starting jobs after so many failures; 0: never
  bool all_messages = false;     ///< show those of later failures too, unless they were shown
  bool explain = false;          ///< say of each job why it runs
  std::uint64_t memory = 0;      ///< bytes that jobs may use together; 0: memory_to_use()
  int slots = 1;                 ///< as many as the runner has
};

struct FailedJob {
  std::string op, name;
  std::string command;        ///< as a shell would take it
  std::string output;         ///< the compiler's messages, clean, whole
  std::filesystem::path log;  ///< the same, with the command, in the build folder
};

/// A job that was run, for the timeline.
struct JobRun {
  std::size_t job = 0;   ///< its place in the plan
  std::size_t slot = 0;  ///< from 0; two jobs at one time never have the same
  double began = 0;      ///< seconds since the build began
  double ended = 0;
  double cpu_seconds = 0;
  std::uint64_t memory = 0;  ///< bytes, the most at one time
  bool failed = false;
};

struct BuildResult {
  std::vector<FailedJob> failed;  ///< in the order they failed
  std::vector<JobRun> runs;       ///< in the order they ended
  std::size_t up_to_date = 0;     ///< their outputs were in the build folder
  std::size_t from_cache = 0;     ///< their outputs were in the store
  double seconds = 0;
  bool ok() const { return failed.empty(); }
};

/// A job is done before in the same way when its words, the programs behind them, the variables
/// that they heed, every input and every header that it read have the content they had (by
/// SHA-256). Outputs appear by rename. In a job's words @OUT@ stands for its output, @DEP@ for the
/// file that names its headers, @KEEP@ for a folder of its own, @FOLDER@ for the one it runs in,
/// @BUILD@ for the build folder,
/// @THREADS@ for the slots that it has: more than one when no other job is ready for them.
/// `hashes` are those of this machine; they are saved.
BuildResult build(const BuildPlan& plan, CommandRunner& runner, Status& status,
                  const BuildOptions& options, FileHashes& hashes);

/// The runs as a timeline in Chrome's trace event format, which Perfetto and chrome://tracing open:
/// a row for each slot, memory above them, the jobs that nothing could have ended earlier marked
/// "critical" (Trace Event Format, "JSON Object Format").
std::string timeline(const BuildPlan& plan, const BuildResult& result);

}  // namespace ds
