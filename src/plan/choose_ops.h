// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "config/config.h"
#include "plan/plan.h"

namespace ds {

struct ChosenOp {
  const Op* op = nullptr;
  std::string because;
  bool asked_for = false;  ///< by DS_BUILD_<OP>=1
};

struct OpChoice {
  std::vector<ChosenOp> chosen;
  std::vector<LeftOutOp> left_out;
  std::vector<std::string> notes;
};

/// The value of a switch; unset and empty are nothing. UsageError, with `fix`, for other values
/// than 0 and 1.
std::optional<bool> read_switch(const std::map<std::string, std::string>& environment,
                                const std::string& variable, const std::string& fix);

/// What DS_BUILD_OPS and DS_BUILD_<OP> ask for; whether it can be built is judged later. UsageError
/// for other values than 0 and 1, Error (build_failed) for an op that does not exist.
OpChoice choose_ops(const std::vector<Op>& ops,
                    const std::map<std::string, std::string>& environment);

}  // namespace ds
