// SPDX-License-Identifier: Apache-2.0
//
// Folds everything that happened into an answer: text for people, JSON (ds-deploy.report/1) for
// programs, and the exit status. Pure.
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
  bool interrupted = false;
  std::optional<Error> stopped;  ///< the run could not go on after the first byte was sent
  std::vector<ReportedWheel> wheels;
  std::vector<std::string> left_out;  ///< "fused_adam: no nvcc was found"
  std::vector<HostOutcome> hosts;
  AuditReport audit;
  std::vector<std::string> notes;
  std::string plan_text;                  ///< of a dry run; empty where wheels were named
  std::string plan_json;                  ///< the same: a line for each wheel
  std::map<std::string, double> seconds;  ///< by stage
};

/// The brief's table: 0 if every host is where the command takes it; else the first of 6, 8, 7, 4,
/// 130, 5, 3 that applies. A run that was stopped has its error's status in the place of 130. A
/// host that only went back with others has not failed.
ExitStatus exit_status(const Report& report);

std::string report_text(const Report& report, bool verbose);
std::string report_json(const Report& report);

/// "node[01-03,07] (4)": hosts whose names differ in one number are folded.
std::string fold_hosts(const std::vector<std::string>& names);

/// ReportedWheel of a wheel that was inspected.
ReportedWheel reported_wheel(const Wheel& wheel, const Requirements& requirements,
                             const std::vector<std::string>& hosts = {});

}  // namespace ds
