// SPDX-License-Identifier: Apache-2.0
//
// An environment that pip makes for a build, kept in the cache.
#pragma once

#include <filesystem>
#include <string>

#include "cli/session.h"

namespace ds {

/// The interpreter of a virtual environment of `python` that holds `requirements` (pip's format)
/// and setuptools; made once for each content and Python. Error (build_failed) with pip's words if
/// it cannot be made.
std::string private_environment(const std::filesystem::path& requirements,
                                const std::string& python, Session& session);

}  // namespace ds
