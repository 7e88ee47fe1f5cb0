// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

namespace fleet {

/// What a host does wrong, "WORD" or "WORD:NUMBER", for reset and stall also "WORD:+NUMBER".
struct Fault {
  enum class Kind {
    none,
    refuse,    ///< no listener: connection refused
    drop,      ///< SYNs are dropped, as a full backlog or a firewall does
    never,     ///< accepts, says nothing
    banner,    ///< an SSH banner, then silence
    close,     ///< closes at once without a byte (number: connections, 0 is all)
    startups,  ///< closes as MaxStartups does (number: connections, 0 is all)
    penalty,   ///< closes as PerSourcePenalties does (number: connections, 0 is all)
    reset,     ///< RST after `number` bytes from the client
    stall,     ///< nothing passes any more after `number` bytes from the client
    slow,      ///< every byte comes `number` milliseconds later, in both directions
    rate,      ///< at most `number` bytes a second in each direction
    hang,      ///< the command never ends and ignores SIGTERM
    kill,      ///< sshd dies `number` milliseconds after the command began
  };
  Kind kind = Kind::none;
  long number = 0;
  bool after_keys = false;  ///< "+": the bytes are counted from the client's SSH_MSG_NEWKEYS on

  /// Nothing is accepted.
  bool silences_the_listener() const { return kind == Kind::refuse || kind == Kind::drop; }
  /// The connection is turned away before sshd is started, a limited number of times perhaps.
  bool turns_away() const {
    return kind == Kind::close || kind == Kind::startups || kind == Kind::penalty;
  }
  bool counts_bytes() const { return kind == Kind::reset || kind == Kind::stall; }
  /// fleetd has to stand between client and sshd.
  bool relayed() const { return counts_bytes() || kind == Kind::slow || kind == Kind::rate; }
  /// hostshell does it, told by the file ROOT/fault.
  bool in_the_command() const { return kind == Kind::hang || kind == Kind::kill; }
};

std::optional<Fault> parse_fault(const std::string& text);

}  // namespace fleet
