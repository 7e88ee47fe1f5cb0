// SPDX-License-Identifier: Apache-2.0
//
// What earlier runs left to do on hosts, by the journal: a release, or a proof by their GPUs.
#pragma once

#include <map>
#include <string>

#include "base/error.h"
#include "cli/options.h"
#include "cli/session.h"

namespace ds {

/// `resume --owed [RUN]`: hosts that were left out get what they were to get, run by run, the
/// oldest first; those that still cannot take it stay owed.
ExitStatus resume_owed(const Options& options);

/// `verify --owed`: the self-tests that were not run because somebody used the GPUs.
ExitStatus prove_owed(const Options& options);

/// Of the session's hosts: "the release of run 20261127-010203-abcdef: ds-deploy resume --owed".
std::map<std::string, std::string> debts_of_hosts(Session& session);

}  // namespace ds
