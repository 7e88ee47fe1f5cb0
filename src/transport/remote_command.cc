// SPDX-License-Identifier: Apache-2.0
#include "transport/remote_command.h"

#include <fmt/format.h>

#include "base/random.h"
#include "base/text.h"
#include "transport/terminal_prompt.h"

namespace ds {
namespace {

/// Ends everything that the command started once the server's process for this connection is gone:
/// sshd itself ends nothing. That process is the nearest sshd above (a ForceCommand may have put a
/// wrapper between), else the parent. It polls, because its stdin and stdout are the command's; it
/// outlives the command by a second at most. A server whose process cannot be seen is left alone;
/// it is looked for before the command begins, for it may be gone right after.
constexpr const char* kGuard = R"sh((trap '' TERM HUP
p=$PPID
q=$p
while [ "$q" -gt 1 ] && read -r s < /proc/$q/stat; do
    c=${s#*\(}
    s=${s##*\) }
    case $c in sshd*) p=$q; break ;; esac
    s=${s#* }
    q=${s%% *}
done
kill -0 $p || exit
(while sleep 1; do
    kill -0 $$ || exit
    kill -0 $p || { kill -TERM 0; sleep 3; kill -KILL 0; }
done) &) </dev/null >/dev/null 2>&1
)sh";

/// The last that has anything on it.
std::string last_line(const std::string& text) {
  std::string last;
  for (const std::string& line : lines(text)) {
    if (!trim(line).empty())
      last = clean_line(line);
  }
  return last;
}

}  // namespace

SudoAccess::~SudoAccess() {
  wipe(password);
}

std::string SudoAccess::preamble() const {
  return sudo == Sudo::ask_password ? password + "\n" : "";
}

std::string SudoAccess::script(const std::string& script) const {
  if (sudo == Sudo::no)
    return script;
  // "exec /bin/sh -c ..." without its exec.
  const std::string command = login_shell_command(script).substr(5);
  if (sudo == Sudo::yes)
    return "exec sudo -n -- " + command;
  // Where sudo asks for nothing it reads nothing, and the line must not become the command's.
  return fmt::format(
      "if sudo -n true 2>/dev/null; then IFS= read -r _; exec sudo -n -- {0}; fi\n"
      "exec sudo -S -p '' -- {0}",
      command);
}

RemoteCommand::RemoteCommand(const Exec& exec, const SudoAccess& access, bool tells_begin)
    : nonce_(random_nonce()), sudo_(access.sudo != Sudo::no) {
  const std::string begin =
      tells_begin ? fmt::format("printf '\\n%s\\n' {} >&2\n", nonce_) : std::string();
  line_ = login_shell_command(
      access.script(fmt::format("{}{}(\n{}\n)\nprintf '\\n%s %s\\n' {} \"$?\" >&2",
                                exec.guarded ? kGuard : "", begin, exec.script, nonce_)));
}

bool RemoteCommand::take_begin(std::string& err) const {
  const std::string frame = "\n" + nonce_ + "\n";
  const std::size_t at = err.find(frame);
  if (at == std::string::npos)
    return false;
  err.erase(at, frame.size());
  return true;
}

bool RemoteCommand::read_end(ExecResult& result) const {
  const std::string frame = "\n" + nonce_ + " ";
  const std::size_t at = result.err.rfind(frame);
  if (at == std::string::npos)
    return false;
  // What else is left of the command may go on writing behind it.
  const std::size_t begins = at + frame.size();
  const std::string said = result.err.substr(begins, result.err.find('\n', begins) - begins);
  result.exit_status = static_cast<int>(parse_integer(said, 0, 255).value_or(255));
  result.err.resize(at);
  // A shell says 128 + n for a command that signal n ended.
  if (result.exit_status > 128 && result.exit_status < 128 + 65) {
    result.outcome = ExecResult::Outcome::signalled;
    result.message = fmt::format("the command was killed by signal {}", result.exit_status - 128);
  }
  return true;
}

bool RemoteCommand::refused(int status, const std::string& where, const std::string& name,
                            ExecResult& result) const {
  std::string said = last_line(result.err);
  if (said.empty())
    said = last_line(result.out);
  if (said.empty() && status == 0)
    return false;
  result.outcome = ExecResult::Outcome::login_refused;
  result.message = fmt::format(
      "{}: the login worked, but no command can be run: {} (status {}); {}", where,
      said.empty() ? "the host said nothing" : "the host said: " + said, status,
      sudo_ ? "commands run under sudo there: -K asks for its password"
            : fmt::format("look at the account's login shell, its start-up files and ForceCommand; "
                          "to see it: ssh {} true",
                          clean_line(name)));
  return true;
}

}  // namespace ds
