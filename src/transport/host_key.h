// SPDX-License-Identifier: Apache-2.0
//
// Public host keys: the blobs of RFC 4253, their text in OpenSSH's files, their names for people.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace ds {

/// Strict base64 with padding, as OpenSSH's files have it; nothing for any other text.
std::optional<std::string> decode_base64(std::string_view text);
std::string encode_base64(std::string_view bytes);

struct HostKey {
  std::string plain;         ///< blob of the public key, spelt the one way that can be compared
  bool certificate = false;  ///< it came inside a certificate
  bool weak = false;         ///< RSA below 1024 bits: ssh passes over it
};

/// Nothing for a blob that ssh would not take: unknown type, wrong length.
std::optional<HostKey> parse_host_key(std::string_view blob);

/// "ssh-ed25519 AAAA... comment", as known_hosts has it after the names.
std::optional<HostKey> parse_host_key_text(std::string_view text);

std::string key_type(std::string_view key);         ///< "ssh-ed25519"
std::string key_fingerprint(std::string_view key);  ///< "SHA256:..." as ssh-keygen prints it
std::string key_text(std::string_view key);         ///< "ssh-ed25519 AAAA..."

/// "ED25519 SHA256:...", as ssh speaks of a key.
std::string describe_key(std::string_view key);

/// "256 SHA256:... NAME (ED25519)", the line of `ssh-keygen -l`.
std::string keygen_line(std::string_view key, std::string_view name);

/// Sorts key types as ssh prefers them: lower is better.
std::size_t key_type_rank(std::string_view type);

}  // namespace ds
