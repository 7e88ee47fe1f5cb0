// SPDX-License-Identifier: Apache-2.0
//
// Logins that ask somebody at a terminal: this program runs itself at one (support/at_terminal.py),
// as the test case "terminal helper".
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>

#include "base/interrupt.h"
#include "support/login_driver.h"

using namespace ds;

namespace {

namespace fs = std::filesystem;

bool has(const std::string& text, const std::string& piece) {
  const bool found = text.find(piece) != std::string::npos;
  if (!found)
    MESSAGE("it says: ", text);
  return found;
}

std::size_t times(const std::string& text, const std::string& piece) {
  std::size_t found = 0;
  for (std::size_t at = text.find(piece); at != std::string::npos; at = text.find(piece, at + 1))
    ++found;
  return found;
}

bool possible(const std::string& test) {
  return SshdHost::possible(test) &&
         needs("command -v ssh-agent && command -v ssh-add", test, "no ssh-agent") &&
         needs("python3 -c 'import pty'", test, "no python3 with pty");
}

/// Two logins with one key ring, at a terminal; what it showed. `answers` is a list in JSON.
std::string at_terminal(const SshdHost& host, const std::string& file, const std::string& answers) {
  const TempDir folder;
  const ShellResult ran =
      shell("TMPDIR=" + folder.path().string() + " DS_LOGIN_PORT=" + std::to_string(host.port()) +
            " DS_LOGIN_FILE=" + file + " python3 " DS_TESTS_DIR "/support/at_terminal.py " +
            shell_quote(answers) + " " + fs::read_symlink("/proc/self/exe").string() +
            " --no-skip -tc='terminal helper'");
  // Neither an agent nor its folder is left behind.
  CAPTURE(ran.output);
  CHECK(fs::is_empty(folder.path()));
  CHECK(shell("pgrep -f [s]sh-agent.*" + folder.path().filename().string()).status != 0);
  return ran.output;
}

/// A server whose PAM asks for a password and takes "geheim"; `account` is its rule for accounts.
class PamHost {
 public:
  explicit PamHost(const std::string& methods, const std::string& account = "pam_permit.so") {
    const std::string at = folder_.path().string();
    write_file(at + "/check", "#!/bin/sh\n[ \"$(tr -d '\\0')\" = geheim ]\n", 0700);
    write_file(at + "/sshd", "auth required pam_exec.so quiet expose_authtok " + at +
                                 "/check\naccount required " + account +
                                 "\nsession required pam_permit.so\n");
    host_.emplace(
        "UsePAM yes\nPermitRootLogin yes\nKbdInteractiveAuthentication yes\n" + methods,
        "unshare -m sh -c 'mount --bind " + at + " /etc/pam.d && exec \"$@\"' at /usr/bin/env");
  }
  static bool possible(const std::string& test) {
    return ds::needs("[ $(id -u) = 0 ] && unshare -m true && ls /lib/*/security/pam_exec.so", test,
                     "PAM needs root and a mount namespace");
  }
  SshdHost& host() { return *host_; }

 private:
  TempDir folder_;
  std::optional<SshdHost> host_;
};

}  // namespace

TEST_CASE("terminal helper" * doctest::skip()) {
  const char* port = std::getenv("DS_LOGIN_PORT");
  const char* file = std::getenv("DS_LOGIN_FILE");
  if (port == nullptr || file == nullptr)
    return;
  const InterruptHandlers handlers;
  const SshSettings settings = login_settings(std::atoi(port), {file});
  try {
    KeyRing ring;
    for (int i = 0; i < 2; ++i) {
      const LoginOutcome outcome = log_in(settings, ring);
      std::cout << "LOGIN " << (outcome.ok() ? "done" : outcome.problem) << std::endl;
    }
  } catch (const Interrupted&) {
    std::cout << "INTERRUPTED" << std::endl;
    ::_exit(0);  // what main() does about it is not tested here
  }
}

TEST_CASE("ssh login: the passphrase of every type is asked once") {
  if (!possible("ssh login: the passphrase"))
    return;
  SshdHost host;
  for (const char* type :
       {"ed25519", "ecdsa -b 256", "ecdsa -b 384", "ecdsa -b 521", "rsa -b 3072", "rsa -m PEM"}) {
    CAPTURE(type);
    shell("rm -f " + host.path("key") + "*");
    host.make_key("key", type, "geheim");
    shell("cp " + host.path("key.pub") + " " + host.path("user_key.pub"));
    const std::string shown =
        at_terminal(host, host.path("key"), R"([["Enter passphrase", "geheim\n"]])");
    CHECK(times(shown, "LOGIN done") == 2);
    CHECK(times(shown, "Enter passphrase") == 1);
    CHECK(times(shown, "geheim") == 0);
  }
}

TEST_CASE("ssh login: a passphrase that is wrong, refused or interrupted") {
  if (!possible("ssh login: a passphrase that is wrong"))
    return;
  SshdHost host;
  host.make_key("key", "ed25519", "geheim");
  shell("cp " + host.path("key.pub") + " " + host.path("user_key.pub"));
  const std::string key = host.path("key");
  std::string shown =
      at_terminal(host, key, R"([["Enter passphrase", "wrong\n"], ["try again", "geheim\n"]])");
  CHECK(times(shown, "LOGIN done") == 2);
  shown = at_terminal(host, key, R"([["Enter passphrase", "\n"]])");
  CHECK(times(shown, "(its passphrase was not given)") == 2);
  CHECK(times(shown, "Enter passphrase") == 1);
  shown = at_terminal(host, key, R"([["Enter passphrase", "\u0003"]])");
  CHECK(has(shown, "INTERRUPTED"));
}

TEST_CASE("ssh login: keyboard-interactive") {
  if (!possible("ssh login: keyboard-interactive") ||
      !PamHost::possible("ssh login: keyboard-interactive"))
    return;
  PamHost pam("PubkeyAuthentication no\n");
  const std::string key = pam.host().path("user_key");
  std::string shown = at_terminal(
      pam.host(), key, R"([["node1: Password: ", "geheim\n"], ["node1: Password: ", "geheim\n"]])");
  CHECK(times(shown, "LOGIN done") == 2);
  CHECK(times(shown, "geheim") == 0);
  // Who gives up is not asked by the next host.
  shown = at_terminal(pam.host(), key, R"([["Password", "\u0004"]])");
  CHECK(times(shown, "Password: ") == 1);
  CHECK(times(shown, "refused the login of") == 2);
  shown = at_terminal(pam.host(), key, R"([["Password", "\u0003"]])");
  CHECK(has(shown, "INTERRUPTED"));
}

TEST_CASE("ssh login: a key, then a second factor") {
  if (!possible("ssh login: a second factor") || !PamHost::possible("ssh login: a second factor"))
    return;
  PamHost pam("AuthenticationMethods publickey,keyboard-interactive\n");
  const std::string key = pam.host().path("user_key");
  const std::string shown =
      at_terminal(pam.host(), key, R"([["Password", "geheim\n"], ["Password", "geheim\n"]])");
  CHECK(times(shown, "LOGIN done") == 2);
  if (open_terminal())
    return;
  KeyRing ring;
  const LoginOutcome outcome = log_in(login_settings(pam.host().port(), {key}), ring);
  CHECK(has(outcome.problem, "tried " + key +
                                 " (taken, but it is not enough); it takes publickey, " +
                                 "and now something more than a key"));
}

TEST_CASE("ssh login: a rule for accounts is a refusal") {
  if (!possible("ssh login: a rule for accounts") ||
      !PamHost::possible("ssh login: a rule for accounts"))
    return;
  PamHost pam("", "pam_deny.so");
  const std::string key = pam.host().path("user_key");
  KeyRing ring;
  const LoginOutcome outcome = log_in(login_settings(pam.host().port(), {key}), ring);
  CHECK(outcome.progress == SshProgress::failed);
  CHECK(outcome.after_acceptance);
  CHECK(outcome.by_openssh.empty());
  CHECK(has(outcome.problem, "after it had taken the key " + key));
}
