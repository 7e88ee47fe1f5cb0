// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "base/file.h"
#include "base/text.h"
#include "support/shell.h"
#include "transport/bastions.h"
#include "transport/remote_command.h"

using namespace ds;
using Outcome = ExecResult::Outcome;

namespace {

/// The nonce, as /bin/sh finds it in the command line.
std::string nonce_of(const RemoteCommand& command) {
  for (const std::string& word : split_words(command.line())) {
    if (word.size() == 32 && word.find_first_not_of("0123456789abcdef") == std::string::npos)
      return word;
  }
  FAIL("no nonce in " << command.line());
  return {};
}

ExecResult with_err(const std::string& err) {
  ExecResult result;
  result.err = err;
  return result;
}

}  // namespace

TEST_CASE("remote command: the frame says how it ended and is taken away") {
  const RemoteCommand command(Exec{"exit 7", {}});
  const std::string frame = "\n" + nonce_of(command) + " ";
  ExecResult result = with_err("said" + frame + "7\n");
  CHECK(command.read_end(result));
  CHECK(result.outcome == Outcome::exited);
  CHECK(result.exit_status == 7);
  CHECK(result.err == "said");

  ExecResult killed = with_err(frame + "137\n");
  CHECK(command.read_end(killed));
  CHECK(killed.outcome == Outcome::signalled);
  CHECK(killed.message.find("signal 9") != std::string::npos);
}

TEST_CASE("remote command: the last frame counts, and what comes behind it does not") {
  const RemoteCommand command(Exec{"", {}});
  const std::string frame = "\n" + nonce_of(command) + " ";
  ExecResult result = with_err("a" + frame + "0\nb" + frame + "3\nwritten later by a daemon\n");
  CHECK(command.read_end(result));
  CHECK(result.exit_status == 3);
  CHECK(result.err == "a" + frame + "0\nb");
}

TEST_CASE("remote command: without a whole frame nothing ended") {
  const RemoteCommand command(Exec{"", {}});
  const std::string nonce = nonce_of(command);
  for (const std::string& err :
       {std::string(), std::string("said\n"), nonce + " 0\n", "\n" + nonce, "\n" + nonce + "\n0\n",
        std::string("\n00000000000000000000000000000000 0\n")}) {
    ExecResult result = with_err(err);
    CHECK_FALSE(command.read_end(result));
    CHECK(result.err == err);
    CHECK(result.exit_status == -1);
  }
  // A status that was cut off or garbled is no success.
  for (const char* status : {"", "x", "1x\n", "-1\n", "256\n", "99999999999999999999\n"}) {
    ExecResult result = with_err("\n" + nonce + " " + status);
    CHECK(command.read_end(result));
    CHECK(result.exit_status == 255);
  }
}

TEST_CASE("remote command: no two have the same nonce") {
  CHECK(nonce_of(RemoteCommand(Exec{"", {}})) != nonce_of(RemoteCommand(Exec{"", {}})));
}

TEST_CASE("jump host: every way to write one") {
  const struct {
    const char* text;
    const char* user;
    const char* name;
    int port;
  } cases[] = {{"bastion", "", "bastion", 0},
               {"me@bastion", "me", "bastion", 0},
               {"bastion:2222", "", "bastion", 2222},
               {"me@bastion:2222", "me", "bastion", 2222},
               {"ssh://bastion", "", "bastion", 0},
               {"ssh://me@bastion:22", "me", "bastion", 22},
               {"m@e@bastion", "m@e", "bastion", 0},
               {"[::1]", "", "::1", 0},
               {"[2001:db8::1]:2222", "", "2001:db8::1", 2222},
               {"me@[fe80::1%eth0]:22", "me", "fe80::1%eth0", 22},
               {"2001:db8::1", "", "2001:db8::1", 0},
               {"ssh://me@[::1]:22", "me", "::1", 22}};
  for (const auto& expected : cases) {
    CAPTURE(expected.text);
    const Endpoint endpoint = jump_endpoint(expected.text);
    CHECK(endpoint.user == expected.user);
    CHECK(endpoint.name == expected.name);
    CHECK(endpoint.port == expected.port);
    CHECK(endpoint.kind == Endpoint::Kind::ssh);
  }
}

TEST_CASE("remote command: sudo keeps stdin for the command, with and without a password") {
  if (!needs("sudo -n true", "remote command: sudo", "no sudo without a password"))
    return;
  TempDir folder;
  for (const Sudo sudo : {Sudo::yes, Sudo::ask_password}) {
    const SudoAccess access{sudo, "secret"};
    const std::string script = folder.path() / "script";
    write_file(script, access.script("id -u; cat; exit 3"));
    write_file(folder.path() / "input", access.preamble() + "for the command\n");
    const ShellResult ran = shell("sh " + script + " < " + (folder.path() / "input").string());
    CAPTURE(ran.output);
    CHECK(ran.output == "0\nfor the command\n");
    CHECK(ran.status == 3);
    // No secret where `ps` or a log could show it.
    CHECK(read_file(script).find("secret") == std::string::npos);
  }
}
