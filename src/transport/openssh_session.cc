// SPDX-License-Identifier: Apache-2.0
//
// Commands by the system's ssh, for hosts that libssh2 cannot serve: one process for each command,
// in batch mode, so that it never asks.
#include <fmt/format.h>
#include <sys/wait.h>

#include "base/text.h"
#include "transport/process_session.h"

namespace ds {
namespace {

using Outcome = ExecResult::Outcome;

/// ssh says 255 for everything that is its own failure; its last words tell which. The texts are
/// those of OpenSSH 8 to 10 (sshconnect.c, sshconnect2.c).
Outcome outcome_of(const std::string& said) {
  const auto has = [&said](const char* words) { return said.find(words) != std::string::npos; };
  if (has("Host key verification failed") || has("HOST IDENTIFICATION HAS CHANGED"))
    return Outcome::host_key_refused;
  if (has("Permission denied") || has("Too many authentication failures") || has("Access denied") ||
      has("account is not available") || has("has expired"))
    return Outcome::login_refused;
  return Outcome::unreachable;
}

std::string last_words(const std::vector<std::string>& said) {
  std::string text;
  for (std::size_t i = said.size() > 3 ? said.size() - 3 : 0; i < said.size(); ++i)
    text += (text.empty() ? "" : "; ") + clean_line(said[i]);
  return text.empty() ? "it failed without a word" : text;
}

/// ssh's warning about a host key without its frame: what it saw, where the other key is, the way
/// out (warn_changed_key and check_host_key in sshconnect.c).
std::string about_host_key(const std::vector<std::string>& said, const std::string& name) {
  const auto after = [&said](std::string_view start) -> std::string {
    for (const std::string& line : said) {
      if (const std::string_view words = trim(line); words.starts_with(start))
        return std::string(words.substr(start.size()));
    }
    return {};
  };
  const std::string way_out = "to see the key, compare it and add it: ssh " + name;
  const std::string seen = after("SHA256:");
  const std::string offending = after("Offending ");
  const std::string remove = after("ssh-keygen ");
  const bool revoked = join(said, " ").find(" revoked") != std::string::npos;
  if (seen.empty() || offending.empty() || remove.empty())
    return last_words(said) + (revoked ? "" : "; " + way_out);
  return clean_line(fmt::format(
      "the host key changed: it shows SHA256:{}, on file is the {}; somebody may stand in between; "
      "if the host was set up anew, remove the old key: ssh-keygen {}; then, {}",
      seen.substr(0, seen.find_last_not_of('.') + 1), offending, remove, way_out));
}

class OpensshSession : public ProcessSession {
 public:
  OpensshSession(const SshSettings& settings, const TransportOptions& options,
                 const SudoAccess& sudo, const Loop& loop)
      : ProcessSession(sudo, loop), settings_(settings), options_(options) {}

 protected:
  Command command_for(const CommandIo& io) override {
    command_ = RemoteCommand(io.exec(), sudo_, io.stays());
    return {words(io.stays()), {}, {}};
  }

  bool has_begun(std::string& err) const override { return command_.take_begin(err); }

  void judge(int status, bool begun, ExecResult& result) const override {
    const bool ended = command_.read_end(result);
    if (!ended && begun) {
      result.outcome = Outcome::lost;
      result.message = settings_.name + ", by ssh: the connection broke during the command: " +
                       last_words(lines(clean(result.err)));
    } else if (!ended && WIFEXITED(status) && WEXITSTATUS(status) == 255) {
      const std::vector<std::string> said = lines(clean(result.err));
      result.outcome = outcome_of(result.err);
      result.message =
          settings_.name + ", by ssh: " +
          (result.outcome == Outcome::host_key_refused ? about_host_key(said, settings_.name)
                                                       : last_words(said));
    } else if (!ended && !(WIFEXITED(status) &&
                           command_.refused(WEXITSTATUS(status), settings_.name + ", by ssh",
                                            settings_.name, result))) {
      result.outcome = Outcome::lost;
      result.message = settings_.name + ", by ssh: the connection ended before the command did";
    }
  }

  std::chrono::milliseconds grace() const override { return options_.connect_timeout; }

 private:
  std::vector<std::string> words(bool stays) const {
    std::vector<std::string> words = ssh_words(options_);
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(options_.connect_timeout).count();
    // -x -a -T: no X11, no agent, no terminal; a first -o wins over the configuration. A process
    // that became a master (ControlPersist) would keep our pipes open.
    words.insert(words.end(), {"-x", "-a", "-T", "-o", "BatchMode=yes", "-o", "ControlMaster=no",
                               "-o", fmt::format("ConnectTimeout={}", seconds)});
    if (settings_.unknown_host_key == UnknownHostKey::refuse)
      words.insert(words.end(), {"-o", "StrictHostKeyChecking=yes"});
    // A command has its time limit; one that stays may be silent for hours, its host dead.
    if (stays && settings_.alive_interval <= 0)
      words.insert(words.end(), {"-o", "ServerAliveInterval=15"});
    words.insert(words.end(), {"-l", settings_.user, "-p", std::to_string(settings_.port)});
    words.insert(words.end(), {"-o", "HostName=" + settings_.hostname});
    for (const std::filesystem::path& file : settings_.identities)
      words.insert(words.end(), {"-o", "IdentityFile=" + file.string()});
    words.insert(words.end(), {"--", settings_.name, command_.line()});
    return words;
  }

  const SshSettings& settings_;
  const TransportOptions& options_;
  RemoteCommand command_;
};

}  // namespace

std::unique_ptr<HostSession> make_openssh_session(const SshSettings& settings,
                                                  const TransportOptions& options,
                                                  const SudoAccess& sudo, const Loop& loop) {
  return std::make_unique<OpensshSession>(settings, options, sudo, loop);
}

}  // namespace ds
