// SPDX-License-Identifier: Apache-2.0
//
// Commands by the system's ssh, for hosts that libssh2 cannot serve: one process for each command,
// in batch mode, so that it never asks.
#include <fmt/format.h>
#include <sys/wait.h>

#include "base/text.h"
#include "process/process.h"
#include "transport/remote_command.h"
#include "transport/session.h"
#include "transport/stream_pump.h"

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

class OpensshSession : public HostSession {
 public:
  OpensshSession(const SshSettings& settings, const TransportOptions& options,
                 const SudoAccess& sudo, const Loop& loop)
      : settings_(settings), options_(options), sudo_(sudo), loop_(loop) {}

  void begin(Exec exec) override {
    exec_ = std::move(exec);
    result_ = {};
    command_ = RemoteCommand(exec_, sudo_);
    began_ = loop_.now();
    pump_ = std::make_unique<StreamPump>(spawn_with_pipes(Command{words(), {}, {}}), exec_.input,
                                         sudo_.preamble());
  }

  void wants(std::vector<pollfd>& waits) const override {
    if (pump_)
      pump_->wants(waits);
  }

  std::optional<ExecResult> step() override {
    if (!pump_)
      return std::nullopt;
    pump_->move(result_.out, result_.err);
    if (result_.out.size() + result_.err.size() > exec_.output_limit)
      return give_up(Outcome::flooded, printed_too_much(exec_));
    if (pump_->ended())
      return finished();
    if (loop_.now() >= deadline())
      return give_up(Outcome::timed_out, took_too_long(exec_));
    return std::nullopt;
  }

  Clock::time_point deadline() const override {
    return pump_ ? began_ + exec_.time_limit + options_.connect_timeout : Clock::time_point::max();
  }
  bool weighs() const override { return pump_ != nullptr; }
  std::size_t descriptors() const override { return pump_ ? 3 : 0; }

 private:
  std::vector<std::string> words() const {
    std::vector<std::string> words = ssh_words(options_);
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(options_.connect_timeout).count();
    // -x -a -T: no X11, no agent, no terminal; a first -o wins over the configuration. A process
    // that became a master (ControlPersist) would keep our pipes open.
    words.insert(words.end(), {"-x", "-a", "-T", "-o", "BatchMode=yes", "-o", "ControlMaster=no",
                               "-o", fmt::format("ConnectTimeout={}", seconds)});
    if (settings_.unknown_host_key == UnknownHostKey::refuse)
      words.insert(words.end(), {"-o", "StrictHostKeyChecking=yes"});
    words.insert(words.end(), {"-l", settings_.user, "-p", std::to_string(settings_.port)});
    words.insert(words.end(), {"-o", "HostName=" + settings_.hostname});
    for (const std::filesystem::path& file : settings_.identities)
      words.insert(words.end(), {"-o", "IdentityFile=" + file.string()});
    words.insert(words.end(), {"--", settings_.name, command_.line()});
    return words;
  }

  ExecResult finished() {
    const int status = pump_->reap();
    const bool ended = command_.read_end(result_);
    if (!ended && WIFEXITED(status) && WEXITSTATUS(status) == 255) {
      const std::vector<std::string> said = lines(clean(result_.err));
      result_.outcome = outcome_of(result_.err);
      result_.message = settings_.name + ", by ssh: " +
                        (said.empty() ? "it failed without a word" : last_words(said));
    } else if (!ended && WIFEXITED(status) && WEXITSTATUS(status) != 0) {
      result_.exit_status = WEXITSTATUS(status);
    } else if (!ended) {
      result_.outcome = Outcome::lost;
      result_.message = settings_.name + ", by ssh: the connection ended before the command did";
    }
    return settled();
  }

  static std::string last_words(const std::vector<std::string>& said) {
    std::string text;
    for (std::size_t i = said.size() > 3 ? said.size() - 3 : 0; i < said.size(); ++i)
      text += (text.empty() ? "" : "; ") + clean_line(said[i]);
    return text;
  }

  ExecResult give_up(Outcome outcome, std::string message) {
    result_.outcome = outcome;
    result_.message = std::move(message);
    return settled();
  }

  ExecResult settled() {
    result_.sent_bytes = pump_->sent();
    result_.seconds = std::chrono::duration<double>(loop_.now() - began_).count();
    pump_.reset();
    return std::move(result_);
  }

  const SshSettings& settings_;
  const TransportOptions& options_;
  const SudoAccess& sudo_;
  const Loop& loop_;
  Exec exec_;
  RemoteCommand command_;
  ExecResult result_;
  Clock::time_point began_;
  std::unique_ptr<StreamPump> pump_;
};

}  // namespace

std::unique_ptr<HostSession> make_openssh_session(const SshSettings& settings,
                                                  const TransportOptions& options,
                                                  const SudoAccess& sudo, const Loop& loop) {
  return std::make_unique<OpensshSession>(settings, options, sudo, loop);
}

}  // namespace ds
