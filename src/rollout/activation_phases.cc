// SPDX-License-Identifier: Apache-2.0
//
// What moves the pointer of a host, and who decides that it stays: templates/dead_man.py.
#include <algorithm>

#include "base/text.h"
#include "rollout/rollout_state.h"

namespace ds {

using nlohmann::json;

namespace {

/// The program of the process that outlives a session.
std::string dead_man_program() {
  std::string text;
  for (const char* file : {"layout.py", "durable.py", "activation.py", "holder.py", "history.py",
                           "dead_man.py", "dead_man_main.py"})
    text += template_text(file);
  return text;
}

}  // namespace

std::vector<std::string> releases_of(const json& answer, const char* key) {
  const auto releases = answer.at(key).get<std::vector<std::string>>();
  const auto is_name = [](const std::string& name) {
    return name.size() == 64 && name.find_first_not_of("0123456789abcdef") == std::string::npos;
  };
  if (releases.size() > 100 || !std::all_of(releases.begin(), releases.end(), is_name))
    throw json::other_error::create(501, "no names of releases", nullptr);
  return releases;
}

namespace {

/// What the host answers of a trial that ended: it stays, or why it went back.
void take_decision(RolloutHost& host, const json& answer) {
  const std::string state = answer.value("state", "");
  if (state == "confirmed") {
    host.activated = false;
    return;
  }
  if (state != "rolled-back")
    return;
  host.activated = false;
  host.confirmed = false;
  host.outcome.state = HostState::rolled_back;
  host.outcome.step = "confirm";
  host.outcome.message = "it went back by itself: " + clean_line(answer.value("because", ""), 300);
  host.outcome.release = join(host.previous, "+");
}

}  // namespace

PhaseDescription recover_phase() {
  PhaseDescription phase;
  phase.name = "recover";
  phase.done_word = "went back";
  phase.moves_pointer = true;
  phase.time_limit = std::chrono::minutes(2);
  phase.command = [](const RolloutHost& host) {
    return PhaseCommand{{{"phase", "recover"}, {"activation", host.trial}}, {}};
  };
  phase.accept = [](RolloutHost& host, const json& answer) {
    if (!answer.value("ok", false))
      return;
    host.trial.clear();
    set_active(host, releases_of(answer, "releases"));
    host.changed = true;
  };
  return phase;
}

PhaseDescription show_outliving_phase(const std::string& run) {
  PhaseDescription phase;
  phase.name = "dead-man";
  phase.done_word = "";  // the second of the two tells
  phase.command = [run,
                   more = shared_text(json{{"dead_man", dead_man_program()}})](const RolloutHost&) {
    return PhaseCommand{.request = {{"phase", "show-outliving"}, {"run", run}}, .more = more};
  };
  phase.accept = [](RolloutHost& host, const json& answer) {
    host.outlives = answer.value("ok", false);
  };
  // One where nothing can be started has no dead-man either, and the next phase says so.
  phase.forgive = [](RolloutHost&, const json&) { return true; };
  return phase;
}

PhaseDescription is_outlived_phase(const std::string& run) {
  PhaseDescription phase;
  phase.name = "dead-man";
  phase.done_word = "outlives the session";
  phase.command = [run](const RolloutHost&) {
    return PhaseCommand{{{"phase", "is-outlived"}, {"run", run}}, {}};
  };
  phase.accept = [](RolloutHost& host, const json& answer) {
    host.outlives = host.outlives && answer.value("outlives", false);
  };
  return phase;
}

namespace {

/// Commands of the wheel that its user cannot call.
std::string remark_on_scripts(const json& answer) {
  const auto left = answer.value("scripts_left", std::vector<std::string>());
  std::vector<std::string> names;
  for (const std::string& name : left)
    names.push_back(clean_line(name, 100));
  std::string remark;
  if (!names.empty())
    remark = "not ours, so left as it was: bin/" + join(names, ", bin/");
  const std::string problem = clean_line(answer.value("scripts_problem", ""), 500);
  if (!problem.empty())
    remark += (remark.empty() ? "" : "; ") + ("a command of the wheel is missing: " + problem);
  return remark;
}

}  // namespace

PhaseDescription activate_phase(const RolloutOptions& options) {
  PhaseDescription phase;
  phase.name = "activate";
  phase.time_limit = options.policy.time_limits.activate;
  phase.done_word = "active";
  phase.moves_pointer = true;
  const json texts = {{"activation", options.run},
                      {"back", options.goal == RolloutOptions::Goal::rolled_back ||
                                   options.goal == RolloutOptions::Goal::removed},
                      {"confirm_timeout", options.policy.confirm_timeout.count()},
                      {"dead_man", dead_man_program()},
                      {"by",
                       {{"user", options.user},
                        {"machine", options.machine},
                        {"command", options.command},
                        {"message", options.message}}},
                      {"launcher", std::string(template_text("launcher.py"))},
                      {"check", std::string(template_text("check.py"))},
                      {"hook", std::string(template_text("hook.py"))}};
  phase.command = [more =
                       std::make_shared<const std::string>(texts.dump())](const RolloutHost& host) {
    return PhaseCommand{
        .request = {{"phase", "activate"}, {"releases", host.wanted}, {"armed", host.outlives}},
        .more = more};
  };
  phase.accept = [](RolloutHost& host, const json& answer) {
    if (!answer.value("ok", false))
      return;
    host.previous = releases_of(answer, "previous");
    host.activated = host.previous != host.wanted;
    host.changed |= answer.value("changed", false);
    add_remark(host, remark_on_scripts(answer));
    // One that was there already only got the hook.
    if (!host.activated)
      return;
    host.outcome.state = HostState::active;
    host.outcome.step = "activate";
    host.outcome.release = join(host.wanted, "+");
  };
  return phase;
}

PhaseDescription keep_phase(const std::string& run) {
  PhaseDescription phase;
  phase.name = "keep";
  phase.without_lock = true;
  phase.done_word = "stays";
  phase.time_limit = std::chrono::minutes(2);
  phase.moves_pointer = true;
  phase.command = [run](const RolloutHost&) {
    return PhaseCommand{{{"phase", "keep"}, {"activation", run}}, {}};
  };
  phase.accept = take_decision;
  return phase;
}

PhaseDescription rollback_phase(const std::string& run, const std::string& because) {
  PhaseDescription phase;
  phase.name = "rollback";
  phase.without_lock = true;
  phase.done_word = "rolled back";
  phase.time_limit = std::chrono::minutes(2);
  phase.moves_pointer = true;
  phase.command = [run, because](const RolloutHost&) {
    return PhaseCommand{{{"phase", "rollback"}, {"activation", run}, {"because", because}}, {}};
  };
  phase.accept = [because](RolloutHost& host, const json& answer) {
    if (!answer.value("ok", false))
      return;
    const std::vector<std::string> there = releases_of(answer, "releases");
    if (there != host.previous) {
      host.good = false;
      host.outcome.state = HostState::unknown;
      host.outcome.step = "rollback";
      host.outcome.message += "; it is at another release than before, which it was not told";
      host.outcome.release = join(there, "+");
      return;
    }
    host.outcome.message.resize(
        std::min(host.outcome.message.size(), host.outcome.message.find(going_back_failed)));
    // A culprit keeps its own step and message.
    if (!host.culprit) {
      host.outcome.step = "rollback";
      host.outcome.message = "went back, because " + because;
    }
    host.activated = false;
    host.outcome.state = HostState::rolled_back;
    host.outcome.release = join(host.previous, "+");
  };
  return phase;
}

}  // namespace ds
