// SPDX-License-Identifier: Apache-2.0
//
// Host keys that a run has seen, what is said of them, and how they get on file.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "transport/known_hosts.h"

namespace ds {

/// A host key that was not taken.
struct SeenHostKey {
  std::string name;  ///< of the machine that showed it: HostKeyAlias, else HostName
  int port = 22;     ///< 0: the name is a HostKeyAlias
  std::string key;   ///< the blob it showed
  KeyCheck check;
  std::filesystem::path file;  ///< the first UserKnownHostsFile; empty: there is none
  bool hash_names = false;     ///< HashKnownHosts
};

/// Why the key is not taken, and what to do: one line, clean.
std::string host_key_refusal(const SeenHostKey& seen);

struct NewHostKey {
  std::string name;
  int port = 22;  ///< 0: the name is a HostKeyAlias
  std::string key;
  bool hash_names = false;
};

/// Adds keys that are not on file to the end of `file`, under a lock and by a single write; what is
/// there is never rewritten. The file (0600) and its folder (0700) are made if they are missing.
/// Gives for each key what was on file by then: `unknown` means that it was added; all others were
/// left as they are. Error for a name or key that has no place in such a file, and if the file
/// cannot be locked within 10 s, read or written.
std::vector<KeyCheck> append_host_keys(const std::filesystem::path& file,
                                       std::span<const NewHostKey> keys);

inline KeyCheck append_host_key(const std::filesystem::path& file, const std::string& name,
                                int port, std::string_view key, bool hash_names) {
  const NewHostKey added{name, port, std::string(key), hash_names};
  return append_host_keys(file, {&added, 1}).front();
}

}  // namespace ds
