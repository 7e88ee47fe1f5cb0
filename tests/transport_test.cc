// SPDX-License-Identifier: Apache-2.0
//
// The transport against this machine's sh and a real sshd.
#include <doctest/doctest.h>

#include <functional>
#include <thread>

#include "support/sshd_host.h"

using namespace ds;
using Outcome = ExecResult::Outcome;
using namespace std::chrono_literals;

namespace {

Exec command(const std::string& script, const std::string& input = "") {
  Exec exec;
  exec.script = script;
  exec.input.bytes = input;
  exec.time_limit = 20s;
  return exec;
}

ExecResult run(Transport& transport, const Endpoint& endpoint, const Exec& exec) {
  ExecResult result;
  transport.start(endpoint, exec, [&result](ExecResult ended) { result = std::move(ended); });
  transport.run();
  return result;
}

/// What every transport owes, whatever lies between.
void keeps_the_contract(Transport& transport, const Endpoint& endpoint) {
  const ExecResult said = run(transport, endpoint, command("printf out; printf err >&2; exit 7"));
  CHECK(said.outcome == Outcome::exited);
  CHECK(said.exit_status == 7);
  CHECK(said.out == "out");
  CHECK(said.err == "err");

  CHECK(run(transport, endpoint, command("pwd")).exit_status == 0);
  CHECK(run(transport, endpoint, command("nonsense-command")).exit_status == 127);

  const std::string five_megabytes(5'000'000, 'x');
  const ExecResult echoed = run(transport, endpoint, command("cat", five_megabytes));
  CHECK(echoed.ok());
  CHECK(echoed.out == five_megabytes);
  CHECK(echoed.sent_bytes == five_megabytes.size());

  // It reads nothing and ends well all the same.
  const ExecResult deaf = run(transport, endpoint, command("exit 0", five_megabytes));
  CHECK(deaf.ok());

  TempDir folder;
  write_file(folder.path() / "data", "the file\n");
  Exec with_file = command("cat", "first, ");
  with_file.input.file = folder.path() / "data";
  CHECK(run(transport, endpoint, with_file).out == "first, the file\n");

  const ExecResult killed = run(transport, endpoint, command("kill -9 $$"));
  CHECK(killed.outcome == Outcome::signalled);
  CHECK(killed.message.find("killed by signal") != std::string::npos);

  Exec slow = command("sleep 30");
  slow.time_limit = 300ms;
  const ExecResult late = run(transport, endpoint, slow);
  CHECK(late.outcome == Outcome::timed_out);
  CHECK(late.message.find("0.3 s") != std::string::npos);

  Exec loud = command("yes");
  loud.output_limit = 100'000;
  CHECK(run(transport, endpoint, loud).outcome == Outcome::flooded);

  // After all that a good command still works.
  CHECK(run(transport, endpoint, command("echo well")).out == "well\n");
}

const std::string nasty =
    "printf '%s|' \"it's\" '$HOME `id` !x \\\\ %s \"q\" *' \"caf\xc3\xa9\" 'a\nb'; cat; exit 3";
const std::string nasty_says = "it's|$HOME `id` !x \\\\ %s \"q\" *|caf\xc3\xa9|a\nb|";

}  // namespace

TEST_CASE("transport: this machine") {
  const std::unique_ptr<Transport> transport = make_transport({});
  Endpoint endpoint;
  endpoint.kind = Endpoint::Kind::local;
  keeps_the_contract(*transport, endpoint);
}

TEST_CASE("transport: over sshd") {
  if (!SshdHost::possible("transport: over sshd"))
    return;
  SshdHost host;
  const std::unique_ptr<Transport> transport = make_transport(host.options());
  keeps_the_contract(*transport, SshdHost::endpoint());
}

TEST_CASE("transport: any login shell runs the same script") {
  for (const std::string name : {"sh", "dash", "bash", "tcsh", "csh", "fish", "zsh", "ksh"}) {
    if (shell("command -v " + name).status != 0)
      continue;
    CAPTURE(name);
    const ShellResult ran = shell("printf input | " + name + " -c " +
                                  shell_quote(login_shell_command("(\n" + nasty + "\n)\n")));
    CHECK(ran.status == 3);
    CHECK(ran.output == nasty_says + "input");
  }
}

TEST_CASE("transport: quoting survives the login shell of the account") {
  if (!SshdHost::possible("transport: quoting survives the login shell of the account"))
    return;
  SshdHost host;
  const std::unique_ptr<Transport> transport = make_transport(host.options());
  const ExecResult said = run(*transport, SshdHost::endpoint(), command(nasty, "input"));
  CHECK(said.exit_status == 3);
  CHECK(said.out == nasty_says + "input");
}

TEST_CASE("transport: one connection serves many commands, and is made anew when it broke") {
  if (!SshdHost::possible("transport: one connection serves many commands"))
    return;
  SshdHost host;
  const std::unique_ptr<Transport> transport = make_transport(host.options());
  const auto logins = [&host] {
    std::size_t number = 0;
    for (const std::string& line : lines(host.log()))
      number += line.find("Accepted publickey") != std::string::npos ? 1 : 0;
    return number;
  };
  const ExecResult first =
      run(*transport, SshdHost::endpoint(), command("ps -o ppid= -p $PPID; echo $PPID"));
  REQUIRE(first.ok());
  CHECK(run(*transport, SshdHost::endpoint(), command("echo again")).out == "again\n");
  CHECK(logins() == 1);

  SUBCASE("between two commands") {
    shell("kill -9 " + lines(first.out).back());
    std::this_thread::sleep_for(200ms);
    CHECK(run(*transport, SshdHost::endpoint(), command("echo anew")).out == "anew\n");
    CHECK(logins() == 2);
  }
  SUBCASE("during a command") {
    const ExecResult lost = run(*transport, SshdHost::endpoint(),
                                command("kill -9 " + lines(first.out).back() + "; sleep 1"));
    CHECK(lost.outcome == Outcome::lost);
    CHECK(run(*transport, SshdHost::endpoint(), command("echo anew")).out == "anew\n");
  }
}

TEST_CASE("transport: many hosts, few at a time, and commands that start commands") {
  if (!SshdHost::possible("transport: many hosts, few at a time"))
    return;
  SshdHost host;
  TransportOptions options = host.options();
  options.fanout = 3;
  const std::unique_ptr<Transport> transport = make_transport(options);
  int first = 0, second = 0;
  for (int i = 0; i < 8; ++i) {
    const Endpoint endpoint = SshdHost::endpoint("node" + std::to_string(i));
    transport->start(endpoint, command("echo 1"), [&, endpoint](const ExecResult& result) {
      first += result.out == "1\n" ? 1 : 0;
      transport->start(endpoint, command("echo 2"),
                       [&](const ExecResult& more) { second += more.out == "2\n" ? 1 : 0; });
    });
  }
  transport->run();
  CHECK(first == 8);
  CHECK(second == 8);
}

TEST_CASE("transport: hosts that cannot be reached say why") {
  TransportOptions options;
  options.connect_timeout = 300ms;
  options.ssh_config = "/dev/null";
  const std::unique_ptr<Transport> transport = make_transport(options);
  SilentPort silent;
  Endpoint endpoint = SshdHost::endpoint("127.0.0.1");
  endpoint.port = silent.port();

  const ExecResult mute = run(*transport, endpoint, command("true"));
  CHECK(mute.outcome == Outcome::unreachable);
  CHECK(mute.message == "connect to 127.0.0.1:" + std::to_string(silent.port()) +
                            ": it takes connections, but no SSH session began in 0.3 s");

  silent.close();
  const ExecResult closed = run(*transport, endpoint, command("true"));
  CHECK(closed.outcome == Outcome::unreachable);
  CHECK(closed.message.find("Connection refused") != std::string::npos);

  const ExecResult unnamed =
      run(*transport, SshdHost::endpoint("no-such-host.invalid"), command("true"));
  CHECK(unnamed.outcome == Outcome::unreachable);
  CHECK(unnamed.message.find("no-such-host.invalid") != std::string::npos);

  const ExecResult option =
      run(*transport, SshdHost::endpoint("-oProxyCommand=x"), command("true"));
  CHECK(option.outcome == Outcome::unreachable);
  CHECK(option.message.find("cannot begin with '-'") != std::string::npos);
}

TEST_CASE("transport: a login that is refused says what was tried") {
  if (!SshdHost::possible("transport: a login that is refused says what was tried"))
    return;
  SshdHost host;
  host.make_key("stranger", "ed25519");
  host.make_key("locked", "ed25519", "a phrase");
  host.configure(host.path("stranger"), "  IdentityFile " + host.path("locked") +
                                            "\n  IdentityFile " + host.path("absent") +
                                            "\n  IdentitiesOnly yes\n");
  const std::unique_ptr<Transport> transport = make_transport(host.options());
  const ExecResult refused = run(*transport, SshdHost::endpoint(), command("true"));
  CHECK(refused.outcome == Outcome::login_refused);
  CHECK(refused.message.find("tried " + host.path("stranger") + ", " + host.path("locked") +
                             "; it takes publickey") != std::string::npos);
}

TEST_CASE("transport: the agent's keys") {
  if (!SshdHost::possible("transport: the agent's keys") ||
      !needs("command -v ssh-agent", "transport: the agent's keys", "no ssh-agent"))
    return;
  SshdHost host;
  const std::string socket = host.path("agent");
  const ShellResult agent = shell("eval $(ssh-agent -a " + socket +
                                  ") > /dev/null; echo $SSH_AGENT_PID > " + host.path("agent_pid"));
  REQUIRE(agent.status == 0);
  host.make_key("other", "ed25519");
  const auto login = [&] {
    host.configure(host.path("absent"), "  IdentityAgent " + socket + "\n");
    return run(*make_transport(host.options()), SshdHost::endpoint(), command("echo in"));
  };
  CHECK(login().message.find("holds no keys, or is locked") != std::string::npos);
  for (const std::string key : {"other", "user_key"})
    shell("SSH_AUTH_SOCK=" + socket + " ssh-add -q " + host.path(key));
  CHECK(login().out == "in\n");
  shell("SSH_AUTH_SOCK=" + socket + " ssh-add -q -d " + host.path("user_key"));
  const std::string refused = login().message;
  CAPTURE(refused);
  CHECK(refused.find("tried agent key ") != std::string::npos);
  shell("kill $(cat " + host.path("agent_pid") + ")");
}
