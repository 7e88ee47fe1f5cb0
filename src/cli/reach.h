// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "cli/session.h"

namespace ds {

/// One command that does nothing on each of `hosts`; the results in their order. Progress shows
/// `stage`, `well` for results that are, and the message of others.
std::vector<ExecResult> reach_all(Session& session, const std::vector<Host>& hosts,
                                  std::string_view stage, std::string_view well,
                                  const std::function<bool(const ExecResult&)>& is_well);

/// Of a command that asks every host: refused keys before hosts that gave no answer.
ExitStatus status_of(const Fleet& fleet);

}  // namespace ds
