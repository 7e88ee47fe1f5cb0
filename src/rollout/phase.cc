// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/random.h"
#include "base/text.h"
#include "rollout/rollout_state.h"

namespace ds {
namespace {

using nlohmann::json;

constexpr std::size_t answer_limit = 1u << 20;

const std::vector<std::string> host_files = {
    "layout.py",   "durable.py", "trust.py",      "receive.py",   "relay.py",   "unpack.py",
    "earlier.py",  "release.py", "activation.py", "holder.py",    "history.py", "dead_man.py",
    "pins.py",     "lock.py",    "see.py",        "launchers.py", "keep.py",    "remove.py",
    "call_pip.py", "by_pip.py",  "host.py"};

bool is_for_host_py(const PhaseDescription& phase) {
  return phase.script.empty() && phase.name != "confirm";
}

std::vector<std::string> files_of(const PhaseDescription& phase, const json& request) {
  if (is_for_host_py(phase))
    return host_files;
  if (!phase.script.empty())
    return {"layout.py", "durable.py", "call_pip.py", phase.script};
  if (request.contains("deepspeed"))
    return {"confirm_calls.py", "confirm_deepspeed.py", "confirm.py"};
  return {"confirm.py"};
}

const SharedText& program_of(const PhaseDescription& phase, const std::vector<std::string>& files) {
  SharedText& text = phase.programs[files];
  if (text == nullptr)
    text = program_text(files);
  return text;
}

/// confirm runs as a job would (its own environment); the other phases in isolated mode, so that
/// PYTHON* variables and the user site change nothing in what they write.
Exec phase_exec(const PhaseDescription& phase, const RolloutHost& host, const json& request) {
  Exec exec = host_program(*host.host, host.python, program_of(phase, files_of(phase, request)),
                           request.dump(), phase.name == "confirm");
  exec.time_limit = phase.time_limit;
  exec.fresh = phase.fresh;
  exec.output_limit = phase.most_output;
  return exec;
}

json find_answer(const std::string& out, const std::string& nonce) {
  for (const std::string& line : lines(out)) {
    if (line.starts_with(nonce + " ")) {
      return json::parse(line.substr(nonce.size() + 1), nullptr, false);
    }
  }
  return json(json::value_t::discarded);
}

std::string last_words(const ExecResult& result) {
  const std::vector<std::string> said = lines(result.err.empty() ? result.out : result.err);
  return said.empty() ? std::string() : ": " + clean_line(said.back());
}

std::string text_of(const json& answer, const char* key) {
  const auto found = answer.find(key);
  return found != answer.end() && found->is_string() ? clean_line(found->get<std::string>(), 1000)
                                                     : std::string();
}

void fail(RolloutHost& host, const PhaseDescription& phase, HostState state, std::string message) {
  // Why a host had to go back is worth as much as why it could not.
  if (phase.name == "rollback") {
    message = host.outcome.message.substr(0, host.outcome.message.find(going_back_failed)) +
              going_back_failed + message;
  }
  host.good = false;
  host.outcome.state = state;
  host.outcome.step = phase.name;
  host.outcome.message = std::move(message);
}

/// Of one that was asked and gave no answer that can be read. A confirm that dies has failed; where
/// the pointer moves, nobody knows how far it came.
HostState state_without_answer(const PhaseDescription& phase) {
  return phase.moves_pointer && phase.name != "confirm" ? HostState::unknown : HostState::failed;
}

/// The command did not run to its end.
void take_failure(const PhaseDescription& phase, RolloutHost& host, const ExecResult& result) {
  switch (result.outcome) {
    case ExecResult::Outcome::unreachable:
    case ExecResult::Outcome::lost:
    case ExecResult::Outcome::timed_out:
      fail(host, phase, phase.moves_pointer ? HostState::unknown : HostState::unreachable,
           result.message);
      return;
    case ExecResult::Outcome::login_refused:
    case ExecResult::Outcome::host_key_refused:
      host.outcome.key_refused |= result.outcome == ExecResult::Outcome::host_key_refused;
      if (phase.name == "rollback") {
        fail(host, phase, HostState::unknown, result.message);
      } else {
        fail(host, phase, HostState::refused, result.message);
        host.outcome.step = "connect";
      }
      return;
    default:
      fail(host, phase, state_without_answer(phase), result.message);
  }
}

/// The word for the progress line.
std::string take_answer(const PhaseDescription& phase, RolloutHost& host, const std::string& nonce,
                        const ExecResult& result) {
  // A whole answer is an answer, also where the session ended badly after it.
  const json answer = find_answer(result.out, nonce);
  try {
    if (answer.is_object()) {
      phase.accept(host, answer);
      if (answer.value("ok", false))
        return phase.done_word;
      if (phase.forgive && phase.forgive(host, answer))
        return text_of(answer, "problem");
      host.outcome.checksum_refused |= answer.value("checksum", false);
      const bool locked = answer.value("locked", false);
      host.outcome.lock_held |= locked;
      const HostState state = !locked               ? HostState::failed
                              : phase.moves_pointer ? HostState::unknown
                                                    : HostState::refused;
      fail(host, phase, state, text_of(answer, "problem"));
    } else if (result.outcome != ExecResult::Outcome::exited) {
      take_failure(phase, host, result);
    } else {
      fail(host, phase, state_without_answer(phase),
           fmt::format("the {} command ended with status {} and gave no answer{}", phase.name,
                       result.exit_status, last_words(result)));
    }
  } catch (const json::exception&) {
    fail(host, phase, state_without_answer(phase), "the host's answer is malformed");
  }
  return "failed: " + host.outcome.message;
}

struct Question {
  json request;
  ExecInput input;  ///< what follows it
  std::chrono::milliseconds time_limit;
};

Question question_of(const PhaseDescription& phase, const RolloutHost& host,
                     const std::string& nonce) {
  PhaseCommand command = phase.command(host);
  command.request["nonce"] = nonce;
  if (host.epoch > 0 && is_for_host_py(phase)) {
    command.request["epoch"] = host.epoch;
    command.request["run"] = host.run;
  }
  if (!host.owner_group.empty() && is_for_host_py(phase))
    command.request["owner_group"] = host.owner_group;
  if (command.more != nullptr)
    command.request["more"] = command.more->size();
  return {std::move(command.request),
          {{}, std::move(command.file), command.offset, nullptr, std::move(command.more)},
          phase.time_limit + command.more_time};
}

using Told = std::function<void(const std::string& word)>;

/// By a command of its own.
void ask_alone(const PhaseDescription& phase, RolloutHost& host, Transport& transport, Told done) {
  const std::string nonce = random_nonce();
  Question question = question_of(phase, host, nonce);
  Exec exec = phase_exec(phase, host, question.request);
  exec.time_limit = question.time_limit;
  exec.input.file = std::move(question.input.file);
  exec.input.offset = question.input.offset;
  exec.input.tail = std::move(question.input.tail);
  const std::uint64_t preamble = exec.input.text_size();
  transport.start(host.host->endpoint, std::move(exec),
                  [&phase, &host, nonce, preamble, done](const ExecResult& result) {
                    const std::string word = take_answer(phase, host, nonce, result);
                    host.outcome.seconds[phase.name] += result.seconds;
                    host.outcome.sent_bytes +=
                        result.sent_bytes - std::min(result.sent_bytes, preamble);
                    done(word);
                  });
}

void begin_program(RolloutHost& host, Transport& transport) {
  Exec exec = host_program(*host.host, host.python, program_of(*host.lock, host_files), {}, false);
  exec.output_limit = answer_limit;
  host.program = std::make_unique<HostProgram>(host.host->endpoint, std::move(exec), transport);
}

void ask_program(const PhaseDescription& phase, RolloutHost& host, Told done) {
  const std::string nonce = random_nonce();
  Question question = question_of(phase, host, nonce);
  question.input.bytes = question.request.dump() + "\n";
  host.program->ask(nonce, std::move(question.input), question.time_limit,
                    [&phase, &host, nonce, done](const ExecResult& result) {
                      const std::string word = take_answer(phase, host, nonce, result);
                      host.outcome.seconds[phase.name] += result.seconds;
                      host.outcome.sent_bytes += result.sent_bytes;
                      done(word);
                    });
}

}  // namespace

void ask_host(const PhaseDescription& phase, RolloutHost& host, Transport& transport,
              std::function<void(const std::string& word)> done) {
  const bool by_program = host.lock != nullptr && is_for_host_py(phase);
  if (by_program && host.program && host.program->open()) {
    ask_program(phase, host, [&phase, &host, &transport, done](const std::string& word) {
      // Its connection may have been gone for long.
      const bool gone = !host.good && phase.without_lock && !host.program->open();
      if (!gone)
        return done(word);
      host.good = true;
      host.outcome.state = HostState::active;
      ask_alone(phase, host, transport, done);
    });
  } else if (by_program && !phase.without_lock) {
    begin_program(host, transport);
    ask_program(*host.lock, host, [&phase, &host, done](const std::string& word) {
      if (!host.good)
        host.program.reset();
      if (host.good && &phase != host.lock)
        ask_program(phase, host, done);
      else
        done(word);
    });
  } else {
    ask_alone(phase, host, transport, std::move(done));
  }
}

void forget_answers(const std::vector<RolloutHost*>& hosts) {
  for (RolloutHost* host : hosts) {
    if (host->program)
      host->program->forget();
  }
}

void run_phase(const PhaseDescription& phase, const std::vector<RolloutHost*>& hosts,
               Transport& transport, Status& status) {
  if (hosts.empty())
    return;
  status.stage_started(phase.name, hosts.size());
  for (RolloutHost* host : hosts) {
    status.item_started(host->outcome.host);
    ask_host(phase, *host, transport, [host, &status](const std::string& word) {
      if (!word.empty())
        status.item_finished(host->outcome.host, word, !host->good);
    });
  }
  try {
    transport.run();
  } catch (...) {
    forget_answers(hosts);
    throw;
  }
  status.stage_finished();
}

void with_retries(std::vector<RolloutHost*> hosts, int retries, HostState again,
                  const std::function<void(const std::vector<RolloutHost*>&)>& step) {
  for (int attempt = 0; !hosts.empty(); ++attempt) {
    step(hosts);
    std::erase_if(hosts, [](const RolloutHost* host) {
      return host->good || (host->outcome.state != HostState::unreachable &&
                            host->outcome.state != HostState::unknown);
    });
    if (attempt == retries)
      return;
    for (RolloutHost* host : hosts) {
      host->good = true;
      host->outcome.state = again;
      host->outcome.message.clear();
    }
  }
}

}  // namespace ds
