// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/machine.h"
#include "base/text.h"
#include "journal/journal.h"

namespace ds {
namespace {

std::string read_proc(const std::string& file) {
  try {
    return read_file("/proc/" + file, 4096);
  } catch (const Error&) {
    return {};
  }
}

std::string boot_id() {
  return clean_line(read_proc("sys/kernel/random/boot_id"), 64);
}

struct ProcessStat {
  std::string state;         ///< empty: /proc does not tell
  std::int64_t started = 0;  ///< clock ticks since boot
};

ProcessStat stat_of(std::int64_t pid) {
  const std::string text = read_proc(std::to_string(pid) + "/stat");
  // The program's name stands in parentheses and may hold anything.
  const std::size_t end = text.rfind(')');
  if (end == std::string::npos)
    return {};
  constexpr std::size_t state = 0, start_time = 19;  // fields 3 and 22 of proc_pid_stat(5)
  const std::vector<std::string> fields = split_words(text.substr(end + 1));
  if (fields.size() <= start_time)
    return {};
  return {fields[state], parse_integer(fields[start_time], 0, INT64_MAX).value_or(0)};
}

}  // namespace

ProcessRecord this_process() {
  return {::getpid(), stat_of(::getpid()).started, boot_id()};
}

RunLife life_of(const RunRecord& run) {
  if (run.ended)
    return RunLife::ended;
  const ProcessRecord& process = run.process;
  const std::string boot = boot_id();
  if (run.machine != host_name() || process.boot.empty() || boot.empty() || process.pid <= 0)
    return RunLife::unknown;
  if (process.boot != boot || !may_be_running(std::to_string(process.pid)))
    return RunLife::died;
  const ProcessStat stat = stat_of(process.pid);
  if (stat.state.empty() || process.started == 0)
    return RunLife::unknown;
  // One that was killed keeps its number until its parent asks.
  const bool gone = stat.state == "Z" || stat.state == "X" || stat.started != process.started;
  return gone ? RunLife::died : RunLife::runs;
}

}  // namespace ds
