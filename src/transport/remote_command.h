// SPDX-License-Identifier: Apache-2.0
//
// What is sent for a script, and how its end is told from the connection's: a login shell in
// between, sshd and libssh2 all may say status 0 when nothing ended at all.
#pragma once

#include <string>

#include "transport/transport.h"

namespace ds {

/// How commands become root, and the password for it, if one was asked for.
struct SudoAccess {
  Sudo sudo = Sudo::no;
  std::string password;

  /// `script` under sudo. With a password its line stands before everything else on stdin.
  std::string script(const std::string& script) const;
  std::string preamble() const;
  ~SudoAccess();
};

class RemoteCommand {
 public:
  RemoteCommand() = default;
  /// With `tells_begin` it writes a frame on stderr before the script is run.
  explicit RemoteCommand(const Exec& exec, const SudoAccess& access = {}, bool tells_begin = false);

  /// The command line, for whatever login shell.
  const std::string& line() const { return line_; }

  /// Takes the frame of its beginning out of `err`. False, and nothing done, where there is none.
  bool take_begin(std::string& err) const;

  /// Takes the frame that the command wrote on stderr at its end out of `result.err` and fills in
  /// outcome and exit status. False, and nothing done, where there is no frame.
  bool read_end(ExecResult& result) const;

  /// Of a command without a frame: the login worked, but something in between (a login shell that
  /// is none, a ForceCommand, sudo) ended with `status` instead. What it said is the reason. False,
  /// and nothing done, where it said nothing and the status is 0, which libssh2 says of none too.
  bool refused(int status, const std::string& where, const std::string& name,
               ExecResult& result) const;

 private:
  std::string nonce_, line_;
  bool sudo_ = false;
};

}  // namespace ds
