// SPDX-License-Identifier: Apache-2.0
//
// OpenSSH's known_hosts files (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT), by a matcher of our own:
// libssh2's ignores @revoked and takes a key of another type for an unknown host.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace ds {

struct KnownHostLine {
  std::string file;
  int line = 0;
  std::string marker;    ///< "@revoked", "@cert-authority" or empty
  std::string patterns;  ///< names, wildcards, or |1|salt|hash
  std::string type;      ///< "ssh-ed25519"
  std::string key;       ///< decoded key blob
};

/// Lines that cannot be read are left out, as ssh does. Files that do not exist hold nothing.
std::vector<KnownHostLine> read_known_hosts(const std::vector<std::filesystem::path>& files);

/// What ssh looks for in the file: the name, or "[name]:port" where the port is not 22.
std::string known_host_name(const std::string& name, int port);

enum class KeyVerdict { match, unknown, changed, revoked };

struct KeyCheck {
  KeyVerdict verdict = KeyVerdict::unknown;
  std::string where;  ///< "file:line" of the entry that decided
};

/// `name` is the host key alias or address; the port counts as ssh counts it ([name]:port).
KeyCheck check_host_key(const std::vector<KnownHostLine>& lines, const std::string& name, int port,
                        std::string_view key);

/// The key types on file for this host, in the files' order, without revoked ones.
std::vector<std::string> known_key_types(const std::vector<KnownHostLine>& lines,
                                         const std::string& name, int port);

/// "SHA256:..." as ssh-keygen prints it.
std::string key_fingerprint(std::string_view key);

}  // namespace ds
