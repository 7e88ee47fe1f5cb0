// SPDX-License-Identifier: Apache-2.0
//
// OpenSSH's known_hosts files (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT), by a matcher of our own:
// libssh2's ignores @revoked and takes a key of another type for an unknown host. The verdicts are
// those of ssh with StrictHostKeyChecking and without CheckHostIP.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "transport/host_key.h"

namespace ds {

enum class KeyVerdict {
  match,
  unknown,
  changed,     ///< other keys are on file, also if only of other types
  revoked,     ///< by @revoked or by a RevokedHostKeys file; refused whatever else is on file
  unreadable,  ///< a RevokedHostKeys file cannot be read; then ssh takes no key at all
  authority,   ///< a @cert-authority stands for the host: what counts is its host certificate
  key_list,    ///< a RevokedHostKeys file is a binary list (KRL), which only ssh reads
};

/// The host is to be handed to the system's ssh: libssh2 asks for no host certificate and reads no
/// KRL.
bool only_ssh_can_tell(KeyVerdict verdict);

/// A line of a known_hosts file that stands for the host.
struct KnownKey {
  enum class Marker { none, revoked, authority };
  std::filesystem::path file;
  int line = 0;
  Marker marker = Marker::none;
  bool pattern = false;  ///< its names have wildcards: the line may stand for other hosts too
  HostKey key;
  std::string where() const;  ///< "file:line"
};

struct KeyCheck {
  KeyVerdict verdict = KeyVerdict::unknown;
  std::string where;               ///< "file:line" that decided; empty if unknown
  std::vector<KnownKey> expected;  ///< changed: every key on file for this host
};

/// What is on file for one host.
struct KnownHost {
  std::vector<KnownKey> named;  ///< under the name that ssh looks up
  std::vector<KnownKey> bare;   ///< under the name without its port, where ssh looks next
};

/// What ssh looks for in the file: the name in lower case, or "[name]:port" where the port is not
/// 22. Port 0 stands for a HostKeyAlias, which ssh takes as it is.
std::string known_host_name(const std::string& name, int port);

/// Reads the files once; what it answers never changes after that. Cheap for thousands of hosts,
/// but for hashed names: each costs one HMAC per host (1 us).
class KnownHosts {
 public:
  /// `files`: those of the user, then the global ones. What is absent, unreadable or wrong in them
  /// counts as not there, a wrong line alone, as in ssh. `revoked`: RevokedHostKeys.
  explicit KnownHosts(const std::vector<std::filesystem::path>& files,
                      const std::vector<std::filesystem::path>& revoked = {});
  KnownHosts(KnownHosts&&) = default;

  KnownHost find(const std::string& name, int port) const;

  /// `key` is the blob that the server shows, of whatever type but no certificate.
  KeyCheck check(const KnownHost& host, std::string_view key) const;
  KeyCheck check(const std::string& name, int port, std::string_view key) const {
    return check(find(name, port), key);
  }

  /// The types of the keys on file, as ssh prefers them: what the server is to be asked for first,
  /// so that it shows the key that is known.
  static std::vector<std::string> key_types(const KnownHost& host);
  std::vector<std::string> key_types(const std::string& name, int port) const {
    return key_types(find(name, port));
  }

 private:
  struct Line {
    std::uint32_t file = 0;
    int number = 0;
    KnownKey::Marker marker = KnownKey::Marker::none;
    bool pattern = false;
    std::string_view names, key;
  };
  struct PatternLine {
    std::uint32_t line = 0;
    std::vector<std::string> names;  ///< in lower case
  };
  struct HashedLine {
    std::uint32_t line = 0;
    std::string salt, hash;
  };
  struct RevokedList {
    std::filesystem::path file;
    KeyVerdict fault = KeyVerdict::match;  ///< unreadable, key_list, or none
    int bad_line = 0;                      ///< 0: the whole file
    std::unordered_map<std::string, int> keys;
  };

  static bool parse_line(std::string_view text, Line& line);
  static RevokedList read_revoked(const std::filesystem::path& file);
  void add_file(const std::filesystem::path& file);
  void index(std::uint32_t number);
  std::vector<KnownKey> keys_of(const std::string& name) const;
  KeyCheck check_lists(const std::string& key) const;

  std::vector<std::filesystem::path> files_;
  std::deque<std::string> texts_;  ///< what the lines point into; a deque keeps addresses
  std::vector<Line> lines_;
  std::unordered_map<std::string, std::vector<std::uint32_t>> names_;
  std::vector<PatternLine> patterns_;
  std::vector<HashedLine> hashed_;
  bool has_authorities_ = false;
  std::vector<RevokedList> revoked_;
};

}  // namespace ds
