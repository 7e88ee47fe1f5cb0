// SPDX-License-Identifier: Apache-2.0
#include "build/build.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/text.h"
#include "build/compile_commands.h"
#include "build/costs.h"
#include "build/disk.h"
#include "build/edited.h"
#include "build/failure.h"
#include "build/job_key.h"
#include "build/job_record.h"
#include "build/precompiled.h"
#include "build/schedule.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t longest_output = 4u << 20;

class Build {
 public:
  Build(const BuildPlan& plan, CommandRunner& runner, Status& status, const BuildOptions& options,
        FileHashes& hashes)
      : plan_(plan),
        runner_(runner),
        status_(status),
        options_(options),
        cache_(options.cache),
        hashes_(hashes),
        programs_(hashes_, options.cache / "programs"),
        keys_(hashes_, programs_),
        costs_(options.cache / "costs"),
        headers_(plan.jobs, folder_) {}

  BuildResult run() {
    prepare();
    const auto left = static_cast<std::size_t>(
        std::count_if(records_.begin(), records_.end(), [](const auto& job) { return !job.done; }));
    if (left > 0) {
      status_.stage_started("build", left);
      shown_ = true;
      check_room();
      run_ready();
      status_.stage_finished();
    }
    remember();
    result_.seconds = now();
    return std::move(result_);
  }

 private:
  double now() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
  }

  void prepare() {
    const std::string suffix = temporary_suffix();
    for (const char* folder : {"obj", "lib", "pch"})
      remove_abandoned(folder_ / folder);
    std::vector<JobCost> costs;
    for (const Job& job : plan_.jobs) {
      JobRecord record(JobFiles(job, folder_, suffix));
      for (const std::size_t need : job.needs) {
        if (headers_.is_header(need))
          continue;
        ++record.needed;
        records_[need].needed_by.push_back(records_.size());
      }
      std::error_code absent;
      const std::uintmax_t size =
          job.inputs.empty() ? 0 : fs::file_size(record.files.absolute(job.inputs[0]), absent);
      costs.push_back(costs_.expected(job, absent ? 0 : size));
      records_.push_back(std::move(record));
    }
    save_compile_commands(plan_, folder_);
    schedule_.emplace(plan_.jobs, std::move(costs),
                      options_.memory > 0 ? options_.memory : memory_to_use());
    for (std::size_t id = 0; id < records_.size(); ++id) {
      check_interrupt();
      const std::vector<std::size_t>& needs = plan_.jobs[id].needs;
      const bool first = std::all_of(needs.begin(), needs.end(),
                                     [this](std::size_t need) { return headers_.is_header(need); });
      if (first && !headers_.is_header(id))
        look({id});
    }
    const std::vector<std::size_t> wanted = headers_.wanted();
    for (std::size_t id = 0; id < records_.size(); ++id) {
      if (!headers_.is_header(id))
        continue;
      if (std::find(wanted.begin(), wanted.end(), id) != wanted.end())
        schedule_->ready(id);
      else
        free_those_of_header(id);
    }
  }

  void free_those_of_header(std::size_t id) {
    records_[id].done = true;
    for (const std::size_t next : headers_.release(id))
      schedule_->ready(next);
  }

  /// Their inputs are there: are they done already? Then so may be those that need them.
  void look(std::vector<std::size_t> open) {
    while (!open.empty()) {
      const std::size_t id = open.back();
      open.pop_back();
      JobRecord& record = records_[id];
      record.key = keys_.of(plan_.jobs[id], record.files.folder());
      if (is_made(id))
        free_those_behind(id, open);
      else if (!headers_.holds(id))
        schedule_->ready(id);
    }
  }

  /// The job is done: adds to `open` those that need nothing else.
  void free_those_behind(std::size_t id, std::vector<std::size_t>& open) {
    records_[id].done = true;
    for (const std::size_t next : records_[id].needed_by) {
      if (--records_[next].needed == 0)
        open.push_back(next);
    }
  }

  bool is_made(std::size_t id) {
    JobRecord& record = records_[id];
    const std::string output = record.files.output().string();
    std::string path, changed;
    const auto hash_of = [&](std::string_view input) -> std::string_view {
      path.assign(input);
      return hashes_.of(input.starts_with('/') ? path : record.files.absolute(path));
    };
    const std::optional<MadeResult> made = cache_.find(record.key, hash_of, &changed);
    if (!made) {
      record.because = why_not(record.files.absolute(changed), !changed.empty());
      return false;
    }
    const bool here = hashes_.of(output) == made->output;
    if (!here && !cache_.fetch(made->output, output)) {
      record.because = "its output is neither in the build folder nor in the cache";
      return false;
    }
    if (!here)
      hashes_.forget(output);
    cache_.touch(record.key, made->output);
    ++(here ? result_.up_to_date : result_.from_cache);
    if (shown_) {
      status_.item_finished(plan_.jobs[id].name, here ? "up to date" : "from the cache", false,
                            here ? std::string() : made->messages);
    } else if (!here && !made->messages.empty()) {
      status_.remark(made->messages);
    }
    return true;
  }

  std::string why_not(const std::string& input, bool was_made) {
    if (!was_made)
      return "nothing was made yet by this command from these files";
    return input + (hashes_.of(input).empty() ? " is gone" : " changed");
  }

  void run_ready() {
    try {
      for (;;) {
        start_what_can_be();
        tell_time_left();
        if (!schedule_->any_running())
          return;
        if (const std::optional<CommandResult> result = runner_.wait())
          finish(static_cast<std::size_t>(result->id), *result);
      }
    } catch (...) {
      runner_.abort();
      for (const JobRecord& record : records_) {
        if (record.running)
          record.files.remove_temporaries();
      }
      throw;
    }
  }

  void start_what_can_be() {
    while (!has_given_up() && !schedule_->none_ready() && runner_.can_run_more()) {
      const std::optional<std::size_t> id = schedule_->start();
      if (!id)
        return;
      start(*id);
    }
  }

  void check_room() {
    std::vector<JobCost> left;
    for (std::size_t id = 0; id < records_.size(); ++id) {
      if (!records_[id].done)
        left.push_back(schedule_->cost(id));
    }
    check_disks(disk_needs(left, folder_, options_.cache, options_.slots), status_);
  }

  void tell_time_left() {
    if (now() < told_ + 0.25)
      return;
    told_ = now();
    if (const std::optional<double> left = time_left(records_, *schedule_, slots_.size(), now()))
      status_.time_left(*left);
  }

  bool has_given_up() const {
    return options_.keep_going > 0 &&
           result_.failed.size() >= static_cast<std::size_t>(options_.keep_going);
  }

  std::size_t free_slot() {
    const auto free = std::find(slots_.begin(), slots_.end(), false);
    const auto slot = static_cast<std::size_t>(free - slots_.begin());
    if (free == slots_.end())
      slots_.push_back(false);
    slots_[slot] = true;
    return slot;
  }

  void start(std::size_t id) {
    JobRecord& record = records_[id];
    const Job& job = plan_.jobs[id];
    if (options_.explain)
      status_.remark(fmt::format("{}: {}", job.name, clean_line(record.because)));
    record.running = true;
    record.slot = free_slot();
    record.began = now();
    status_.item_started(job.name);
    const int others = static_cast<int>(schedule_->ready_jobs());
    const int threads = job.threads > 1 ? 1 + runner_.take_more(job.threads - 1, others) : 1;
    runner_.start(static_cast<int>(id), record.files.command(job, threads));
  }

  void finish(std::size_t id, const CommandResult& result) {
    JobRecord& record = records_[id];
    const Job& job = plan_.jobs[id];
    const auto memory = static_cast<std::uint64_t>(result.peak_rss_kb) * 1024;
    record.running = false;
    slots_[record.slot] = false;
    schedule_->ended(id);
    std::error_code absent;
    const std::string failure =
        failure_of(result, job, fs::is_regular_file(record.files.made(), absent));
    result_.runs.push_back(
        {id, record.slot, record.began, now(), result.cpu_seconds, memory, !failure.empty()});
    if (headers_.is_header(id)) {
      finish_header(id, result, failure);
      return;
    }
    if (failure.empty()) {
      costs_.learn(job, {result.seconds, memory, fs::file_size(record.files.made(), absent),
                         record.files.kept_bytes()});
      const std::string messages = clean(trim(result.output), longest_output);
      keep(id, messages);
      status_.item_finished(job.name, "done in " + human_seconds(result.seconds), false, messages);
      std::vector<std::size_t> open;
      free_those_behind(id, open);
      look(std::move(open));
      return;
    }
    record.files.remove_temporaries();
    if (killed_for_memory(result) && !record.tried_alone) {
      run_alone(id);
    } else {
      fail(id, failure, clean(trim(result.output), longest_output));
    }
  }

  /// Those that wait for it are made without it, if they have to be.
  void finish_header(std::size_t id, const CommandResult& result, const std::string& failure) {
    const JobRecord& record = records_[id];
    const Job& job = plan_.jobs[id];
    std::error_code absent;
    if (failure.empty()) {
      const auto memory = static_cast<std::uint64_t>(result.peak_rss_kb) * 1024;
      costs_.learn(job, {result.seconds, memory, fs::file_size(record.files.made(), absent), 0});
      headers_.made(id, record.files.headers());
      record.files.keep();
      status_.item_finished(job.name, "done in " + human_seconds(result.seconds), false, {});
    } else {
      record.files.remove_temporaries();
      status_.item_finished(job.name, failure + "; they are compiled without it", false, {});
    }
    free_those_of_header(id);
  }

  void run_alone(std::size_t id) {
    JobRecord& record = records_[id];
    status_.warning(plan_.jobs[id].name +
                    ": killed, as when memory runs out; it is run again, alone");
    record.tried_alone = true;
    record.because = "it was killed, as when memory runs out";
    schedule_->run_alone(id);
    schedule_->ready(id);
  }

  void fail(std::size_t id, const std::string& failure, std::string output) {
    if (output.empty())
      output = failure;
    const Job& job = plan_.jobs[id];
    status_.item_finished(job.name, failure, true, to_show(output));
    const JobFiles& files = records_[id].files;
    result_.failed.push_back(
        {job.op, job.name, files.shell_line(job), output, log_file(job, folder_)});
    write_log(result_.failed.back(), failure);
  }

  /// What a failed job said, or nothing: an error in a header that eight jobs read is one error.
  std::string to_show(const std::string& output) const {
    const std::vector<FailedJob>& before = result_.failed;
    const bool shown = std::any_of(before.begin(), before.end(), [&output](const FailedJob& job) {
      return job.output == output;
    });
    return before.empty() || (options_.all_messages && !shown) ? output : std::string();
  }

  void keep(std::size_t id, const std::string& messages) {
    const JobRecord& record = records_[id];
    const Job& job = plan_.jobs[id];
    std::vector<std::string> read = record.files.headers();
    const std::vector<std::string>& beside = headers_.read_by(id);
    read.insert(read.end(), beside.begin(), beside.end());
    const bool compiled = job.kind == Job::Kind::compile;
    if (compiled) {
      for (const fs::path& input : job.inputs)
        read.push_back(record.files.absolute(input));
    }
    std::sort(read.begin(), read.end());
    read.erase(std::unique(read.begin(), read.end()), read.end());
    InputHashes inputs;
    bool edited = false;
    std::error_code absent;
    const std::string own = (folder_ / "pch").string() + "/";
    for (const std::string& file : read) {
      if (file.starts_with(own))
        continue;  // made by this build; what it stands for is in the list
      edited = edited || edited_since(file, wall_clock_began_);
      inputs.emplace_back(record.files.portable(file), hashes_.of(file));
    }
    record.files.keep();
    fs::remove(log_file(job, folder_), absent);
    const std::string output = record.files.output().string();
    hashes_.forget(output);
    // Else it is made again next time: the compiler may have read what was not hashed.
    if (!edited)
      cache_.add(record.key, {hashes_.of(output), messages}, inputs, record.files.output());
  }

  void remember() {
    hashes_.save();
    programs_.save();
    if (!result_.runs.empty())
      costs_.save();
  }

  const BuildPlan& plan_;
  CommandRunner& runner_;
  Status& status_;
  const BuildOptions& options_;
  const fs::path folder_ = fs::absolute(options_.folder).lexically_normal();
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  const std::chrono::system_clock::time_point wall_clock_began_ = std::chrono::system_clock::now();
  Cache cache_;
  FileHashes& hashes_;
  Programs programs_;
  JobKeys keys_;
  JobCosts costs_;
  Precompiled headers_;
  std::vector<JobRecord> records_;  ///< one for each job of the plan
  std::optional<Schedule> schedule_;
  std::vector<bool> slots_;  ///< true: taken
  bool shown_ = false;       ///< the stage has begun
  double told_ = 0;          ///< when the time left was told last
  BuildResult result_;
};

}  // namespace

BuildResult build(const BuildPlan& plan, CommandRunner& runner, Status& status,
                  const BuildOptions& options, FileHashes& hashes) {
  return Build(plan, runner, status, options, hashes).run();
}

}  // namespace ds
