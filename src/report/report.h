// SPDX-License-Identifier: Apache-2.0
//
// Folds everything that happened into an answer: text and a page for people, JSON
// (ds-deploy.report/1), JUnit and workflow commands for programs, and the exit status. Pure; what
// hosts and files say is cleaned and escaped for each form.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "artifact/artifact.h"
#include "audit/audit.h"
#include "base/error.h"
#include "rollout/rollout.h"
#include "wheel/wheel.h"

namespace ds {

struct ReportedOp {
  std::string name;
  std::vector<std::string> archs;
};

struct ReportedWheel {
  std::string file, sha256;
  std::uint64_t bytes = 0;
  std::vector<ReportedOp> ops;
  std::vector<std::string> hosts = {};  ///< that get it; empty: all
};

struct Report {
  std::string run, command;
  std::string environment;  ///< "/opt/venv/bin/python", or "3 environments: ..."
  bool dry_run = false;
  HostState goal = HostState::confirmed;  ///< to which the command takes every host
  bool accept_left_out = false;  ///< hosts that the policy left out count for no exit status
  bool interrupted = false;
  std::optional<Error> stopped;  ///< the run could not go on after the first byte was sent
  std::vector<ReportedWheel> wheels;
  std::vector<std::string> left_out;  ///< "fused_adam: no nvcc was found"
  std::vector<HostOutcome> hosts;
  AuditReport audit;
  std::vector<std::string> notes;
  std::string plan_text;                  ///< of a dry run; empty where wheels were named
  std::string plan_json;                  ///< the same: a line for each wheel
  std::optional<RolloutPlan> rollout;     ///< of a dry run
  std::map<std::string, double> seconds;  ///< by stage
};

/// The command takes every host to such a state.
bool is_goal(HostState state, const Report& report);

/// The brief's table: 0 if every host is where the command takes it; else the first of 6, 8, 7, 4,
/// 130, 5, 3 that applies. A run that was stopped has its error's status in the place of 130. A
/// host that only went back with others has not failed. Hosts that were left out count as what they
/// are (3 or 5), unless they are accepted and some host is where it was to be.
ExitStatus exit_status(const Report& report);

/// What a run to `goal` would do; empty: nothing.
std::string rollout_text(const RolloutPlan& plan, HostState goal, bool verbose);

std::string report_text(const Report& report, bool verbose);
std::string report_json(const Report& report);

/// One file that asks for nothing else: a page that sorts and filters, readable without its script.
std::string report_html(const Report& report);

/// A test suite for each host, a test case for each rule and op; a warning is a test that passed
/// and said something, what could not be learnt is one that was skipped.
std::string report_junit(const Report& report);

/// The text, and the worst of it as workflow commands of GitHub Actions.
std::string report_github(const Report& report, bool verbose);
std::string report_markdown(const Report& report);  ///< for GITHUB_STEP_SUMMARY

/// "node[01-03,07]", "rack[1-8]-node[01-16]": hosts whose names differ in one number are folded, by
/// the last number, then by the one before. Beyond about `limit` characters "..." stands for the
/// rest.
std::string fold_hosts(const std::vector<std::string>& names,
                       std::size_t limit = std::string::npos);

/// The command that brings hosts what they are owed: "ds-deploy resume --owed".
std::string command_for(const std::string& owed);

/// ReportedWheel of a wheel that was inspected.
ReportedWheel reported_wheel(const Wheel& wheel, const Requirements& requirements,
                             const std::vector<std::string>& hosts = {});

}  // namespace ds
