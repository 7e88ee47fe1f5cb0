// SPDX-License-Identifier: Apache-2.0
//
// Where the journal lies.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace ds {

/// The folder, with mode 0700 if it is made here, known to outlive a loss of power.
void make_private_folder(const std::filesystem::path& folder);

/// "NFS" for statfs(2)'s f_type of a file system that other machines may write to; empty: none.
std::string network_file_system(std::uint32_t type);
std::string network_file_system_of(const std::filesystem::path& folder);

}  // namespace ds
