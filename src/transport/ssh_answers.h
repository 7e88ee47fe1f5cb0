// SPDX-License-Identifier: Apache-2.0
//
// Asks `ssh -G`, as seldom as possible: it costs 5 to 7 ms of CPU a call.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "transport/transport.h"

namespace ds {

struct SshAnswer {
  std::string asked_as;                                    ///< the name that ssh was given
  std::vector<std::pair<std::string, std::string>> pairs;  ///< keyword in lower case, value
  std::string problem;                                     ///< why there is none
  std::string value(const std::string& keyword) const;     ///< "" if it was not said
};

struct SshAnswers {
  bool no_ssh = false;             ///< there is no ssh program: nothing was asked
  bool algorithms_chosen = false;  ///< by somebody, perhaps for some hosts alone
  SshAnswer defaults;              ///< what ssh does without any file; empty if nobody asks
  bool one_for_all = false;        ///< the files hold nothing that depends on a name
  std::map<std::string, SshAnswer> by_name;
  const SshAnswer* of(const std::string& name) const;
};

/// Answers for the distinct `names`, kept in `options.cache` between runs.
SshAnswers ask_ssh(const std::vector<std::string>& names, const TransportOptions& options);

}  // namespace ds
