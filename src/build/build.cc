// SPDX-License-Identifier: Apache-2.0
#include "build/build.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/text.h"
#include "build/depfile.h"
#include "build/file_hashes.h"
#include "build/stamp.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t longest_output = 4u << 20;
constexpr std::chrono::milliseconds file_clock_tick(20);  // file times may lag behind by so much

std::string replace_all(std::string text, std::string_view from, const std::string& to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}

void make_folder(const fs::path& folder) {
  std::error_code failure;
  fs::create_directories(folder, failure);
  if (failure) {
    throw Error(fmt::format("cannot make the folder {}: {}", folder.string(), failure.message()),
                "name another build folder", ExitStatus::usage);
  }
}

void remove_quietly(const fs::path& file) {
  std::error_code ignored;
  fs::remove(file, ignored);
}

enum class JobState { waiting, running, done, failed };

struct JobRecord {
  JobState state = JobState::waiting;
  Command command;                      ///< with its folder, the placeholders still in it
  std::string digest;                   ///< of `command`
  fs::path output, temporary, depfile;  ///< absolute
  std::vector<std::pair<std::string, std::string>> inputs;  ///< known before it was started
  std::uintmax_t weight = 0;
  fs::file_time_type started;
};

class Build {
 public:
  Build(const BuildPlan& plan, CommandRunner& runner, Status& status, const BuildOptions& options)
      : plan_(plan), runner_(runner), status_(status), options_(options) {}

  BuildResult run() {
    const auto begin = std::chrono::steady_clock::now();
    prepare();
    std::size_t left = 0;
    for (const JobRecord& record : records_)
      left += record.state == JobState::waiting;
    if (left > 0) {
      status_.stage_started("build", left);
      run_waiting();
      status_.stage_finished();
    }
    if (result_.up_to_date > 0) {
      status_.note(count(result_.up_to_date, "job") + " up to date");
    }
    result_.seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return std::move(result_);
  }

 private:
  void prepare() {
    const fs::path folder = fs::absolute(options_.folder).lexically_normal();
    const std::string suffix = ".tmp." + std::to_string(::getpid());
    for (const Job& job : plan_.jobs) {
      JobRecord record;
      record.command = job.command;
      if (record.command.cwd.empty())
        record.command.cwd = folder;
      record.digest = command_digest(record.command);
      record.output = folder / job.output;
      record.temporary = record.output.string() + suffix;
      record.depfile = record.output.string() + suffix + ".d";
      std::error_code absent;
      if (!job.inputs.empty()) {
        record.weight = fs::file_size(record.command.cwd / job.inputs.front(), absent);
        if (absent)
          record.weight = 0;
      }
      make_folder(record.output.parent_path());
      records_.push_back(std::move(record));
    }
    for (std::size_t id = 0; id < records_.size(); ++id) {
      check_interrupt();
      if (needs_are(id, JobState::done) && is_up_to_date(id))
        settle(id);
    }
  }

  bool needs_are(std::size_t id, JobState state) const {
    const std::vector<std::size_t>& needs = plan_.jobs[id].needs;
    return std::all_of(needs.begin(), needs.end(),
                       [&](std::size_t need) { return records_[need].state == state; });
  }

  bool is_up_to_date(std::size_t id) {
    const JobRecord& record = records_[id];
    const std::optional<Stamp> stamp = read_stamp(record.output.string() + ".stamp");
    return stamp && stamp->command == record.digest && is_current(*stamp, record.output, hashes_);
  }

  void settle(std::size_t id) {
    records_[id].state = JobState::done;
    ++result_.up_to_date;
  }

  void run_waiting() {
    try {
      for (;;) {
        start_what_can_be();
        if (running_ == 0)
          return;
        const CommandResult result = runner_.wait();
        --running_;
        finish(static_cast<std::size_t>(result.id), result);
      }
    } catch (...) {
      runner_.abort();
      for (const JobRecord& record : records_) {
        if (record.state == JobState::running)
          remove_temporaries(record);
      }
      throw;
    }
  }

  void start_what_can_be() {
    while (!has_given_up() && runner_.can_run_more()) {
      const std::optional<std::size_t> id = next_ready();
      if (!id)
        return;
      // What it needs was made again, maybe with the same content.
      if (!plan_.jobs[*id].needs.empty() && is_up_to_date(*id)) {
        settle(*id);
        status_.item_finished(plan_.jobs[*id].name, "up to date", false);
      } else {
        start(*id);
      }
    }
  }

  bool has_given_up() const {
    return options_.keep_going > 0 &&
           result_.failed.size() >= static_cast<std::size_t>(options_.keep_going);
  }

  /// Links first, as they end an op; then the biggest source, which is likely the longest job.
  std::optional<std::size_t> next_ready() const {
    const auto rank = [&](std::size_t id) {
      return std::pair(plan_.jobs[id].kind == Job::Kind::link, records_[id].weight);
    };
    std::optional<std::size_t> best;
    for (std::size_t id = 0; id < records_.size(); ++id) {
      if (records_[id].state != JobState::waiting || !needs_are(id, JobState::done))
        continue;
      if (!best || rank(id) > rank(*best))
        best = id;
    }
    return best;
  }

  Command with_names(const JobRecord& record, const fs::path& output, const fs::path& dep) const {
    Command command = record.command;
    for (std::string& word : command.argv) {
      word = replace_all(replace_all(word, "@OUT@", output.string()), "@DEP@", dep.string());
    }
    return command;
  }

  void start(std::size_t id) {
    JobRecord& record = records_[id];
    record.inputs.clear();
    for (const fs::path& input : plan_.jobs[id].inputs) {
      const fs::path file = (record.command.cwd / input).lexically_normal();
      record.inputs.emplace_back(file.string(), hashes_.of(file));
    }
    record.started = fs::file_time_type::clock::now();
    record.state = JobState::running;
    ++result_.ran;
    ++running_;
    status_.item_started(plan_.jobs[id].name);
    runner_.start(static_cast<int>(id), with_names(record, record.temporary, record.depfile));
  }

  void finish(std::size_t id, const CommandResult& result) {
    JobRecord& record = records_[id];
    const std::string failure = failure_of(result, record);
    if (failure.empty()) {
      keep_output(record);
      record.state = JobState::done;
      status_.item_finished(plan_.jobs[id].name, "done in " + human_seconds(result.seconds), false,
                            clean(trim(result.output), longest_output));
      return;
    }
    remove_temporaries(record);
    record.state = JobState::failed;
    std::string output = clean(trim(result.output), longest_output);
    if (output.empty())
      output = failure;
    const Command shown = with_names(record, record.output, record.output.string() + ".d");
    std::vector<std::string> words;
    for (const std::string& word : shown.argv)
      words.push_back(shell_quote(word));
    const std::string command =
        clean(fmt::format("cd {} && {}", shell_quote(shown.cwd.string()), join(words, " ")));
    status_.item_finished(plan_.jobs[id].name, failure, true, to_show(output));
    result_.failed.push_back({plan_.jobs[id].op, plan_.jobs[id].name, command, output});
  }

  /// What a failed job said, or nothing: an error in a header that eight jobs read is one error.
  std::string to_show(const std::string& output) const {
    const std::vector<FailedJob>& before = result_.failed;
    const bool shown = std::any_of(before.begin(), before.end(), [&output](const FailedJob& job) {
      return job.output == output;
    });
    return before.empty() || (options_.all_messages && !shown) ? output : std::string();
  }

  /// Why a job has failed, in a few words; empty if it has not.
  std::string failure_of(const CommandResult& result, const JobRecord& record) const {
    if (result.timed_out)
      return "failed: it ran out of time";
    if (result.signal == SIGKILL)
      return "failed: it was killed, as when memory runs out";
    if (result.signal != 0)
      return fmt::format("failed: {}", ::strsignal(result.signal));
    if (result.exit_status == 127) {
      return fmt::format("failed: {} could not be run", clean_line(record.command.argv.front()));
    }
    if (result.exit_status != 0)
      return fmt::format("failed with status {}", result.exit_status);
    std::error_code absent;
    if (!fs::is_regular_file(record.temporary, absent)) {
      return "failed: it ended well, but wrote no output";
    }
    return {};
  }

  void keep_output(JobRecord& record) {
    bool edited = false;
    std::error_code failure;
    if (fs::is_regular_file(record.depfile, failure)) {
      for (const std::string& name : parse_depfile(read_file(record.depfile))) {
        const fs::path file = (record.command.cwd / name).lexically_normal();
        edited = edited || was_edited_since(record.started, file);
        record.inputs.emplace_back(file.string(), hashes_.of(file));
      }
    }
    std::sort(record.inputs.begin(), record.inputs.end());
    record.inputs.erase(std::unique(record.inputs.begin(), record.inputs.end()),
                        record.inputs.end());
    const std::string stamp_file = record.output.string() + ".stamp";
    // Never an old stamp beside a new output.
    remove_quietly(stamp_file);
    fs::rename(record.temporary, record.output, failure);
    if (failure) {
      throw Error(fmt::format("cannot write {}: {}", record.output.string(), failure.message()), {},
                  ExitStatus::usage);
    }
    remove_temporaries(record);
    hashes_.forget(record.output);
    // Without a stamp it is made again next time: the compiler may have read the older header.
    if (!edited) {
      write_stamp(stamp_file, {record.digest, hashes_.of(record.output), record.inputs});
    }
  }

  static bool was_edited_since(fs::file_time_type started, const fs::path& file) {
    std::error_code absent;
    const fs::file_time_type changed = fs::last_write_time(file, absent);
    // A time that is yet to come says nothing: clocks of other machines, unpacked archives.
    return absent ||
           (changed >= started - file_clock_tick && changed <= fs::file_time_type::clock::now());
  }

  static void remove_temporaries(const JobRecord& record) {
    remove_quietly(record.temporary);
    remove_quietly(record.depfile);
  }

  const BuildPlan& plan_;
  CommandRunner& runner_;
  Status& status_;
  const BuildOptions& options_;
  std::vector<JobRecord> records_;  ///< one for each job of the plan
  FileHashes hashes_;
  std::size_t running_ = 0;
  BuildResult result_;
};

}  // namespace

BuildResult build(const BuildPlan& plan, CommandRunner& runner, Status& status,
                  const BuildOptions& options) {
  return Build(plan, runner, status, options).run();
}

}  // namespace ds
