// SPDX-License-Identifier: Apache-2.0
//
// What the user's ssh configuration says of hosts: `ssh -G`, where the ssh program exists, so that
// every keyword means what it means to ssh (ssh_config(5)).
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "transport/transport.h"

namespace ds {

enum class UnknownHostKey { refuse, accept_new, accept_any };

struct SshSettings {
  std::string name;      ///< what `ssh` is called with: the hostfile's name
  std::string hostname;  ///< what is connected to
  std::string user;
  int port = 22;
  int family = 0;                                   ///< AddressFamily, as AF_INET
  std::string bind_address;                         ///< BindAddress
  std::vector<std::filesystem::path> identities;    ///< in the order they are tried
  std::vector<std::filesystem::path> certificates;  ///< CertificateFile
  bool identities_only = false;
  std::string agent;                      ///< socket path; empty: none
  std::filesystem::path own_known_hosts;  ///< the first UserKnownHostsFile: keys are learnt there
  std::vector<std::filesystem::path> known_hosts;  ///< the user's files, then the global ones
  std::vector<std::filesystem::path> revoked_host_keys;
  std::string host_key_name;  ///< HostKeyAlias, else hostname
  int host_key_port = 22;     ///< 0 with a HostKeyAlias, which stands in known_hosts without a port
  UnknownHostKey unknown_host_key = UnknownHostKey::refuse;
  bool hash_known_hosts = false;
  std::vector<std::string> kex, ciphers, macs;   ///< empty unless the user chose them
  std::vector<std::string> host_keys;            ///< HostKeyAlgorithms, likewise
  std::chrono::milliseconds connect_timeout{0};  ///< ConnectTimeout; 0: ours
  int alive_interval = 0;                        ///< ServerAliveInterval, seconds
  std::vector<std::string> jumps;  ///< ProxyJump, first hop first: [user@]host[:port] or ssh://...
  std::string proxy_command;       ///< ProxyCommand, %-tokens expanded
  std::string control_path;        ///< ControlPath; empty: none
  std::vector<std::string> needs_openssh;  ///< what only the ssh program can do ("GSSAPI")
  std::string problem;                     ///< why the host cannot be tried

  bool operator==(const SshSettings&) const = default;
};

/// The settings of each endpoint; their own fields win over the configuration,
/// `options.ssh_options` over both. One call of ssh where the files hold nothing that depends on a
/// name, else one for each distinct host, several at a time; those are kept between runs, by the
/// files' contents.
std::vector<SshSettings> resolve_ssh_settings(const std::vector<Endpoint>& endpoints,
                                              const TransportOptions& options);

/// The words of an ssh command line up to the host: "ssh -F FILE -o Key=Value ...".
std::vector<std::string> ssh_words(const TransportOptions& options);

}  // namespace ds
