// SPDX-License-Identifier: Apache-2.0
#include "cli/publish.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>

#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

struct ReportFile {
  const char* option;
  const std::string& name;
  std::string (*content)(const Report&);
};

std::vector<ReportFile> report_files(const Options& options) {
  return {{"--junit", options.junit, report_junit}, {"--html", options.html, report_html}};
}

/// What a link names is written, not the link.
fs::path path_of(const std::string& name) {
  const fs::path path = fs::absolute(expand_home(name));
  std::error_code unreadable;
  const fs::path target = fs::weakly_canonical(path, unreadable);
  return unreadable ? path : target;
}

void print(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

/// The runner owns the file, and other steps have written to it.
void add_to_summary(const std::string& text, const char* file) {
  const Fd fd(::open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644));
  const bool written =
      fd && ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
  if (!written) {
    throw Error("cannot write the summary that GITHUB_STEP_SUMMARY names, " + clean_line(file) +
                    ": " + errno_text(errno),
                {}, ExitStatus::usage);
  }
}

std::string printed(const Report& report, const Options& options) {
  for (const ReportFile& file : report_files(options)) {
    if (file.name == "-")
      return file.content(report);
  }
  if (options.format == "json")
    return report_json(report);
  return options.format == "github" ? report_github(report, options.verbose)
                                    : report_text(report, options.verbose);
}

}  // namespace

void refuse_unwritable_reports(const Options& options) {
  for (const ReportFile& file : report_files(options)) {
    if (file.name.empty() || file.name == "-")
      continue;
    const fs::path path = path_of(file.name);
    std::error_code absent;
    const fs::file_status there = fs::status(path, absent);
    if (fs::exists(there) && !fs::is_regular_file(there)) {
      throw UsageError(std::string(file.option) + ": " + clean_line(file.name) +
                           (fs::is_directory(there) ? " is a folder" : " is not a regular file"),
                       "name a file, or - for the standard output");
    }
    std::string probe = path.string() + ".XXXXXX";
    const Fd fd(::mkostemp(probe.data(), O_CLOEXEC));
    if (!fd) {
      throw UsageError(std::string(file.option) + ": cannot write " + clean_line(file.name) + ": " +
                           errno_text(errno),
                       "name a file in a folder that is there and that you may write to");
    }
    ::unlink(probe.c_str());
  }
}

ExitStatus publish(const Report& report, Session& session) {
  const Options& options = session.options();
  ExitStatus status = exit_status(report);
  // First, so that nothing that happens to a file can cost the answer.
  print(printed(report, options));
  const auto attempt = [&](const std::function<void()>& write) {
    try {
      write();
    } catch (const Error& error) {
      session.status().warning(error.what());
      status = status == ExitStatus::ok ? error.status() : status;
    }
  };
  for (const ReportFile& file : report_files(options)) {
    if (!file.name.empty() && file.name != "-")
      attempt([&] { write_file(path_of(file.name), file.content(report)); });
  }
  const char* summary = std::getenv("GITHUB_STEP_SUMMARY");
  if (options.format == "github" && summary != nullptr && *summary != '\0')
    attempt([&] { add_to_summary(report_markdown(report), summary); });
  return status;
}

}  // namespace ds
