// SPDX-License-Identifier: Apache-2.0
#include "transport/ssh_login.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/interrupt.h"
#include "base/text.h"
#include "process/process.h"
#include "transport/host_key.h"
#include "transport/ssh_wire.h"
#include "transport/terminal_prompt.h"

namespace ds {
namespace {

constexpr int kMostQuestions = 3;  // ssh's NumberOfPasswordPrompts

/// The algorithm that libssh2 chose, out of what is to be signed (RFC 4252, section 7): session,
/// message, user, service, "publickey", yes, algorithm.
std::string signature_algorithm(std::string_view data) {
  const bool session = take_string(data).has_value();
  if (!session || data.empty())
    return {};
  data.remove_prefix(1);
  for (int i = 0; i < 3; ++i)
    take_string(data);
  if (data.empty())
    return {};
  data.remove_prefix(1);
  return std::string(take_string(data).value_or(std::string_view()));
}

}  // namespace

SshLogin::~SshLogin() {
  // Destroyed while it waits for a list of keys: the time was over.
  if (agent_ && phase_ == Phase::agent)
    ring_.give_up_agent(settings_.agent);
}

void SshLogin::wants(std::vector<pollfd>& waits) const {
  if (agent_)
    agent_->wants(waits);
}

SshProgress SshLogin::step() {
  SshProgress progress = SshProgress::done;
  while (phase_ != Phase::done && progress == SshProgress::done)
    progress = advance();
  return progress;
}

SshProgress SshLogin::advance() {
  switch (phase_) {
    case Phase::methods:
      return ask_methods();
    case Phase::agent:
      return ask_agent();
    case Phase::keys:
      return try_keys();
    case Phase::questions:
      return ask_person();
    case Phase::done:
      break;
  }
  return SshProgress::done;
}

bool SshLogin::takes(const std::string& method) const {
  const std::vector<std::string> methods = split(methods_, ',');
  return std::find(methods.begin(), methods.end(), method) != methods.end();
}

SshProgress SshLogin::ask_methods() {
  const SshProgress asked = connection_.login_methods(settings_.user, methods_);
  if (asked == SshProgress::waiting)
    return asked;
  if (asked == SshProgress::failed)
    return lost();
  phase_ = methods_.empty() ? Phase::done : takes("publickey") ? Phase::agent : Phase::questions;
  return asked;
}

SshProgress SshLogin::ask_agent() {
  const std::string& socket = settings_.agent;
  const AgentKeys none;
  if (!socket.empty() && ring_.agent(socket) == nullptr) {
    if (!agent_)
      agent_ = std::make_unique<AgentClient>(socket);
    AgentKeys held;
    const SshProgress asked = agent_->list(held.keys);
    if (asked == SshProgress::waiting)
      return asked;
    if (asked == SshProgress::failed)
      held.problem = agent_->problem();
    else if (held.keys.empty())
      held.problem = "the ssh agent " + clean_line(socket) + " holds no keys, or is locked";
    ring_.remember_agent(socket, std::move(held));
  }
  // Another host's login may have been told the list first: what was asked here is still under way,
  // and no later question may take its answer.
  agent_.reset();
  const AgentKeys& agent = socket.empty() ? none : *ring_.agent(socket);
  if (!agent.problem.empty())
    notes_.push_back(agent.problem);
  keys_ = order_login_keys(settings_, ring_, agent);
  phase_ = Phase::keys;
  return SshProgress::done;
}

SshProgress SshLogin::try_keys() {
  while (next_key_ < keys_.size()) {
    const LoginKey& key = keys_[next_key_];
    if (!key.unusable.empty()) {
      give_up(key, key.unusable);
      continue;
    }
    const bool file_alone = key.agent.empty() && !ring_.can_sign_with_files();
    const SshProgress offered = file_alone ? offer_file(key) : offer(key);
    if (offered == SshProgress::waiting)
      return offered;
    if (offered == SshProgress::done) {
      phase_ = Phase::done;
      return offered;
    }
    if (connection_.lost())
      return lost();
  }
  phase_ = Phase::questions;
  return SshProgress::done;
}

/// `failed` once the server has refused the key, or it cannot sign: the next one is up then.
SshProgress SshLogin::offer(const LoginKey& key) {
  if (key.blob.empty()) {
    give_up(key, "its public half is unknown; make it with ssh-keygen -y");
    return SshProgress::failed;
  }
  for (;;) {
    const SshProgress progress = connection_.login_with_key(
        settings_.user, key.blob,
        [&](std::string_view data, std::string& signature) { return sign(key, data, signature); });
    if (progress == SshProgress::waiting && wants_unlock_) {
      // Here and not in sign(): an interrupt cannot be thrown through libssh2.
      wants_unlock_ = false;
      cannot_sign_ = ring_.unlock(key.file);
      unlocked_ = true;
      continue;
    }
    if (progress == SshProgress::waiting || progress == SshProgress::done)
      return progress;
    if (connection_.lost())
      return progress;
    ++offered_;
    const bool signature_sent = taken_ && cannot_sign_.empty();
    signed_ = signed_ || signature_sent;
    give_up(key, signature_sent ? "taken, but it is not enough" : cannot_sign_);
    return progress;
  }
}

SshProgress SshLogin::sign(const LoginKey& key, std::string_view data, std::string& signature) {
  taken_ = true;
  const bool in_file = key.agent.empty();
  wants_unlock_ = in_file && !unlocked_;
  if (wants_unlock_)
    return SshProgress::waiting;
  if (!cannot_sign_.empty())
    return SshProgress::failed;
  if (!agent_)
    agent_ = std::make_unique<AgentClient>(in_file ? ring_.own_socket() : key.agent);
  const SshProgress made = agent_->sign(key.signs_with, data, signature_algorithm(data), signature);
  if (made == SshProgress::failed)
    cannot_sign_ = agent_->problem();
  if (made != SshProgress::waiting)
    agent_.reset();
  return made;
}

/// Without ssh-agent and ssh-add libssh2 reads the file, if it can.
SshProgress SshLogin::offer_file(const LoginKey& key) {
  const std::string type = key_type(key.signs_with);
  const bool certificate = key_type(key.blob).find("-cert-v01@") != std::string::npos;
  if (certificate || (type == "ssh-rsa" && SshConnection::older_than(1, 11, 0))) {
    give_up(key, "needs ssh-agent, which is not installed");
    return SshProgress::failed;
  }
  const SshProgress progress = connection_.login_with_file(settings_.user, key.file.string());
  if (progress == SshProgress::failed && !connection_.lost()) {
    ++offered_;
    give_up(key, connection_.unusable_file() ? "cannot be used without its passphrase" : "");
  }
  return progress;
}

void SshLogin::give_up(const LoginKey& key, const std::string& why) {
  tried_.push_back(why.empty() ? key.label : key.label + " (" + why + ")");
  if (key.openssh_can && better_by_openssh_.empty())
    better_by_openssh_ = key.label + ": " + why;
  taken_ = wants_unlock_ = unlocked_ = false;
  cannot_sign_.clear();
  ++next_key_;
}

bool SshLogin::may_ask_person() {
  // After a key that was not enough the server may want another proof than it said at first.
  if (!signed_ && !takes("keyboard-interactive"))
    return false;
  if (gave_up_ || !ring_.answers_questions() || questions_ >= kMostQuestions)
    return false;
  needs_terminal_ = !open_terminal();
  return !needs_terminal_;
}

SshProgress SshLogin::ask_person() {
  if (!asking_ && !may_ask_person())
    return refuse();
  asking_ = true;
  const SshProgress progress = connection_.login_interactively(
      settings_.user,
      [this](const std::string& instruction, const std::vector<SshConnection::Prompt>& prompts) {
        return answers(instruction, prompts);
      });
  check_interrupt();
  if (progress == SshProgress::waiting)
    return progress;
  asking_ = false;
  if (progress == SshProgress::done) {
    phase_ = Phase::done;
    return progress;
  }
  if (connection_.lost())
    return lost();
  if (gave_up_)
    ring_.give_up_questions();
  if (++questions_ == 1)
    tried_.push_back("keyboard-interactive");
  return SshProgress::done;
}

/// Fewer than there are prompts once the person gave up: the server refuses then.
std::vector<std::string> SshLogin::answers(const std::string& instruction,
                                           const std::vector<SshConnection::Prompt>& prompts) {
  std::vector<std::string> given;
  asked_person_ |= !prompts.empty();
  const Fd terminal = open_terminal();
  if (!instruction.empty() && !gave_up_)
    tell_on_terminal(terminal, who() + ": " + instruction);
  for (const SshConnection::Prompt& prompt : prompts) {
    std::optional<std::string> answer;
    if (!gave_up_)
      answer = ask_on_terminal(terminal, who() + ": " + prompt.text + " ", prompt.echo);
    gave_up_ = !answer;
    if (gave_up_)
      break;
    given.push_back(std::move(*answer));
  }
  return given;
}

std::string SshLogin::who() const {
  return clean_line(settings_.user) + "@" + clean_line(settings_.name);
}

std::string SshLogin::what_was_tried() const {
  const bool no_keys = !methods_.empty() && !takes("publickey");
  const std::string tried = !tried_.empty() ? join(tried_, ", ")
                            : no_keys       ? "nothing, for the server takes no keys"
                                            : "nothing, for no key was found";
  return "tried " + tried + (notes_.empty() ? "" : "; " + join(notes_, "; "));
}

SshProgress SshLogin::refuse() {
  const char* fix = "";
  if (needs_terminal_)
    fix = "; keyboard-interactive needs a terminal";
  else if (takes("publickey") && tried_.empty())
    fix = "; name a key (IdentityFile, or identity= in the hostfile), or start an agent";
  else if (takes("publickey") && !signed_)
    fix =
        "; add the public half of one to authorized_keys there (ssh-copy-id), or name another key "
        "(IdentityFile, or identity= in the hostfile)";
  problem_ = fmt::format("refused the login of {}: {}; it takes {}{}{}", clean_line(settings_.user),
                         what_was_tried(), methods_,
                         signed_ ? ", and now something more than a key" : "", fix);
  if (!takes("publickey") && !takes("keyboard-interactive") && !takes("password"))
    better_by_openssh_ = "the server takes only " + methods_;
  return SshProgress::failed;
}

/// The server hung up in the middle of the login.
SshProgress SshLogin::lost() {
  const std::string words = connection_.server_words();
  const std::string user = clean_line(settings_.user);
  const std::string said = words.empty() ? "" : ": " + words;
  better_by_openssh_.clear();
  if (phase_ == Phase::keys && next_key_ < keys_.size() && taken_) {
    after_acceptance_ = true;
    problem_ = fmt::format(
        "refused the login of {} after it had taken the key {}{}; a rule for this account keeps it "
        "out there (expired, pam_access, pam_slurm_adopt)",
        user, keys_[next_key_].label, said);
  } else if (words.find("Too many authentication failures") != std::string::npos) {
    if (phase_ == Phase::keys && next_key_ < keys_.size())
      tried_.push_back(keys_[next_key_].label);
    problem_ = fmt::format(
        "refused the login of {}{}, after {}: {}; name the right key for this host in your ssh "
        "configuration (IdentityFile FILE, IdentitiesOnly yes)",
        user, said, count(offered_ + 1, "key"), what_was_tried());
  } else {
    problem_ =
        fmt::format("closed the connection during the login of {}{}; {}", user,
                    words.empty() ? ": " + connection_.last_error() : said, what_was_tried());
  }
  return SshProgress::failed;
}

}  // namespace ds
