// SPDX-License-Identifier: Apache-2.0
//
// trust: the keys of hosts that are not on file are shown and, once confirmed, added.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/session.h"
#include "inventory/inventory.h"
#include "transport/transport.h"

namespace ds {

/// What there is to say of one host's key.
struct TrustedHost {
  enum class State {
    known,        ///< the key is on file
    fresh,        ///< not on file; can be added
    added,        ///< was fresh, and is on file now
    refused,      ///< changed, revoked, or nothing that trust can settle; `message` says why
    unreachable,  ///< no key was seen; `message` says why
  };
  std::string host;
  State state = State::known;
  SeenHostKey seen;     ///< fresh, added
  std::string message;  ///< refused, unreachable
};

/// `results` are what a command that does nothing gave, one for each host.
std::vector<TrustedHost> sort_host_keys(const std::vector<Host>& hosts,
                                        const std::vector<ExecResult>& results);

/// One line for each host that is not known, as `ssh-keygen -l` prints keys, and a count of those
/// that are.
std::string trust_text(const std::vector<TrustedHost>& hosts);
std::string trust_json(const std::vector<TrustedHost>& hosts);

/// "Add these 12 keys to FILE?"; empty if there is nothing to add.
std::string trust_question(const std::vector<TrustedHost>& hosts);

/// Adds the fresh keys. One that somebody else put on file meanwhile is known, or refused if it is
/// another one.
void add_host_keys(std::vector<TrustedHost>& hosts);

ExitStatus trust_status(const std::vector<TrustedHost>& hosts);

ExitStatus trust(Session& session);

}  // namespace ds
