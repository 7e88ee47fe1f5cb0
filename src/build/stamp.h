// SPDX-License-Identifier: Apache-2.0
//
// Beside every output lies a stamp: what it was made by and from. While all of that is unchanged,
// making it again would give the same.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "build/file_hashes.h"
#include "process/process.h"

namespace ds {

struct Stamp {
  std::string command;                                      ///< command_digest()
  std::string output;                                       ///< SHA-256 of what was made
  std::vector<std::pair<std::string, std::string>> inputs;  ///< path, SHA-256
  bool operator==(const Stamp&) const = default;
};

/// Nothing if there is none, or none that can be read: the output is then made again.
std::optional<Stamp> read_stamp(const std::filesystem::path& file);
void write_stamp(const std::filesystem::path& file, const Stamp& stamp);

/// True if output and inputs still have the content that the stamp says.
bool is_current(const Stamp& stamp, const std::filesystem::path& output, FileHashes& hashes);

/// A digest of the words, the folder, the variables that compilers heed, and of the compilers
/// themselves: path, size and time of change.
std::string command_digest(const Command& command);

}  // namespace ds
