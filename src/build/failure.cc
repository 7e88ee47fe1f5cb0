// SPDX-License-Identifier: Apache-2.0
#include "build/failure.h"

#include <fmt/format.h>

#include <csignal>
#include <cstring>

#include "base/text.h"
#include "cache/cache.h"

namespace ds {

std::string failure_of(const CommandResult& result, const Job& job, bool made) {
  if (result.timed_out)
    return fmt::format("failed: it ran out of time after {}", human_seconds(result.seconds));
  if (result.signal == SIGKILL)
    return "failed: it was killed, as when memory runs out";
  if (result.signal != 0)
    return fmt::format("failed: {}", ::strsignal(result.signal));
  if (result.exit_status == 127)
    return fmt::format("failed: {} could not be run", clean_line(job.command.argv.front()));
  if (result.exit_status != 0)
    return fmt::format("failed with status {}", result.exit_status);
  return made ? "" : "failed: it ended well, but wrote no output";
}

bool killed_for_memory(const CommandResult& result) {
  return !result.timed_out &&
         (result.signal == SIGKILL || result.exit_status == 128 + SIGKILL ||
          result.output.find("Killed signal terminated program") != std::string::npos ||
          result.output.find("died due to signal 9") != std::string::npos);
}

std::filesystem::path log_file(const Job& job, const std::filesystem::path& build_folder) {
  return build_folder / "log" / job.op / (job.output.filename().string() + ".log");
}

void write_log(const FailedJob& failed, const std::string& failure) {
  write_memory(failed.log, fmt::format("# {}: {}\n{}\n\n{}\n", clean_line(failed.name), failure,
                                       failed.command, failed.output));
}

}  // namespace ds
