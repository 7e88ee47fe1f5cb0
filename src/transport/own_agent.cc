// SPDX-License-Identifier: Apache-2.0
#include "transport/own_agent.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <climits>
#include <cstdlib>

#include "base/error.h"
#include "base/text.h"

namespace ds {
namespace {

constexpr int kStartLimit = 5000;  // ms
constexpr auto kAddLimit = std::chrono::seconds(10);

bool installed(const std::string& program) {
  const char* path = std::getenv("PATH");
  for (const std::string& folder : split(path != nullptr ? path : "/usr/bin:/bin", ':')) {
    if (::access((folder + "/" + program).c_str(), X_OK) == 0)
      return true;
  }
  return false;
}

/// The first line, a process id, as soon as it is there; nothing if none comes in time.
std::optional<long> read_pid(const Fd& from) {
  std::string text;
  pollfd wait{from.get(), POLLIN, 0};
  while (!text.ends_with('\n') && ::poll(&wait, 1, kStartLimit) > 0) {
    char buffer[64];
    const ssize_t got = ::read(from.get(), buffer, sizeof buffer);
    if (got <= 0)
      return std::nullopt;
    text.append(buffer, static_cast<std::size_t>(got));
  }
  return parse_integer(trim(text), 2, INT_MAX);
}

/// What ssh-add complained of, without its frame of '@'.
std::string complaint(const std::string& errors) {
  std::vector<std::string> said;
  for (const std::string& line : lines(errors)) {
    if (!line.starts_with("@"))
      said.push_back(line);
  }
  return clean_line(join(said, " "));
}

}  // namespace

OwnAgent::~OwnAgent() {
  // Its process id stays its own until its parent, our child, has ended.
  if (agent_ > 0)
    ::kill(agent_, SIGTERM);
  if (child_.pid > 0)
    end_child(child_.pid);
}

bool OwnAgent::possible() {
  return installed("ssh-agent") && installed("ssh-add");
}

std::string OwnAgent::socket() const {
  return folder_ ? (folder_->path() / "agent").string() : std::string();
}

std::string OwnAgent::start() {
  try {
    folder_.emplace("ds-deploy-agent");
    child_ = spawn_with_pipes(
        {{"ssh-agent", "-a", socket(), "sh", "-c", "echo \"$SSH_AGENT_PID\"; exec cat"}, {}, {}});
  } catch (const Error& error) {
    return error.what();
  }
  const std::optional<long> pid = read_pid(child_.out);
  if (!pid) {
    std::string said(1000, '\0');
    const ssize_t got = ::read(child_.err.get(), said.data(), said.size());
    said.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return "ssh-agent does not start: " + clean_line(said);
  }
  agent_ = static_cast<pid_t>(*pid);
  return {};
}

Command OwnAgent::ssh_add(const std::filesystem::path& file) const {
  return {{"ssh-add", "-q", file.string()}, {}, {"SSH_AUTH_SOCK=" + socket()}};
}

std::string OwnAgent::add(const std::filesystem::path& file) {
  if (!folder_) {
    const std::string problem = start();
    if (!problem.empty())
      return problem;
  }
  if (agent_ <= 0)
    return "ssh-agent does not start";
  // A program that answers nothing, instead of a question that nobody sees.
  Command silent = ssh_add(file);
  silent.environment.insert(silent.environment.end(),
                            {"SSH_ASKPASS=false", "SSH_ASKPASS_REQUIRE=force", "DISPLAY=none"});
  const CommandResult added = run_command(silent, kAddLimit);
  if (added.ok())
    return {};
  const std::string said = complaint(added.errors);
  return said.empty() ? add_with_passphrase(file) : said;
}

std::string OwnAgent::add_with_passphrase(const std::filesystem::path& file) const {
  const Fd terminal = open_terminal();
  if (!terminal) {
    return "cannot be used without its passphrase; run ssh-add " + clean_line(file.string()) +
           " first, or start from a terminal";
  }
  Command asking = ssh_add(file);
  asking.environment.push_back("SSH_ASKPASS_REQUIRE=never");
  return run_on_terminal(asking, terminal).ok() ? "" : "its passphrase was not given";
}

}  // namespace ds
