// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "transport/transport.h"

namespace ds {

/// What the files say that ssh would read (ssh_config(5)), as far as it matters for asking it less
/// often.
struct SshConfigFiles {
  bool depends_on_name = false;   ///< Host, Match or a %-token: each host has to be asked for
  bool depends_on_world = false;  ///< Match exec, canonical names: an answer may not be kept
  bool sets_algorithms = false;   ///< Ciphers, MACs or KexAlgorithms, here or by -o
  std::string contents;           ///< of all files, included ones too
};

SshConfigFiles read_ssh_config_files(const TransportOptions& options);

}  // namespace ds
