// SPDX-License-Identifier: Apache-2.0
//
// The file: how it is made, known for ours, and opened.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "journal/database.h"

namespace ds {

/// The journal in this folder, made if there is none.
std::unique_ptr<Database> open_to_write(const std::filesystem::path& folder,
                                        const std::string& network);

/// Of a path, or an environment, as readers take it.
inline constexpr std::size_t longest_path = 4096;

/// The table of hosts has them; one of the first version has not.
bool has_environments(const Database& database);

/// nullptr if there is none.
std::unique_ptr<Database> open_to_read(const std::filesystem::path& folder);

}  // namespace ds
