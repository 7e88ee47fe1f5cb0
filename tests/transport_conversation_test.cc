// SPDX-License-Identifier: Apache-2.0
//
// Commands that stay: what Conversation and Transport::converse() promise, against this machine's
// sh, a real sshd by libssh2 and by the ssh program, and the doubles that other tests use.
#include <doctest/doctest.h>
#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "support/fake_transport.h"
#include "support/shell_transport.h"
#include "support/sshd_host.h"
#include "transport/command_io.h"

using namespace ds;
using Outcome = ExecResult::Outcome;
using namespace std::chrono_literals;

namespace {

/// Answers each line but "hush"; "quit" ends it, "put N" reads N bytes, "flood" prints for ever.
const std::string kScript = R"sh(while IFS= read -r line; do
  case $line in
    hush) ;;
    quit) printf rest; echo ill >&2; exit 3 ;;
    put*) echo "got $(head -c "${line#put }" | cksum)" ;;
    flood) yes ;;
    long) head -c 300000 /dev/zero | tr '\0' x; sleep 20 ;;
    err*) head -c "${line#err }" /dev/zero | tr '\0' e >&2; echo "end of err" >&2; echo said ;;
    pid) echo "pid $$ $PPID" ;;
    later) sleep 0.3; echo late ;;
    stuck) sleep 20 ;;
    deaf) exec < /dev/null; sleep 20 ;;
    *) echo "said $line" ;;
  esac
done
echo "bye"
)sh";

Endpoint local(const std::string& name = "here") {
  Endpoint endpoint;
  endpoint.name = name;
  endpoint.kind = Endpoint::Kind::local;
  return endpoint;
}

/// One conversation and all that came of it. Every line that it hears answers what it was told.
struct Peer {
  std::vector<std::string> lines;
  std::vector<ExecResult> ends;
  std::function<void(const std::string&)> on_line;
  std::unique_ptr<Conversation> talk;

  Peer(Transport& transport, const Endpoint& endpoint, Exec exec) {
    talk = transport.converse(
        endpoint, std::move(exec),
        [this](std::string_view line) {
          lines.emplace_back(line);
          if (talk && line != "noise")
            talk->answered();
          if (on_line)
            on_line(lines.back());
        },
        [this](ExecResult result) { ends.push_back(std::move(result)); });
    CHECK(lines.empty());
    CHECK(ends.empty());
  }
  Peer(Transport& transport, const Endpoint& endpoint, const std::string& script = kScript)
      : Peer(transport, endpoint, command(script)) {}
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  static Exec command(const std::string& script) {
    Exec exec;
    exec.script = script;
    exec.time_limit = 20s;
    return exec;
  }
  void say(const std::string& line, std::chrono::milliseconds limit = 20s) {
    talk->send({line + "\n", {}, 0}, limit);
  }
  std::string last() const { return lines.empty() ? "" : lines.back(); }
};

ExecResult run(Transport& transport, const Endpoint& endpoint, const Exec& exec) {
  ExecResult result;
  transport.start(endpoint, exec, [&result](ExecResult ended) { result = std::move(ended); });
  transport.run();
  return result;
}

/// It ends within a while.
bool gone(const std::string& pid) {
  for (int i = 0; i < 60; ++i) {
    if (::kill(std::stoi(pid), 0) != 0)
      return true;
    std::this_thread::sleep_for(100ms);
  }
  return false;
}

std::string cksum(const std::string& text) {
  TempDir folder;
  write_file(folder.path() / "text", text);
  return lines(shell("cksum < " + (folder.path() / "text").string()).output).front();
}

void hears_line_by_line(Transport& transport, const Endpoint& endpoint) {
  Exec exec = Peer::command("echo noise; " + kScript);
  exec.input.bytes = "first\n";
  Peer peer(transport, endpoint, exec);
  peer.talk->send({}, 20s);  // Nothing but an answer to what was sent with the command.
  transport.run();
  CHECK(peer.lines == std::vector<std::string>{"noise", "said first"});
  for (int i = 0; i < 100; ++i) {
    peer.say(std::to_string(i));
    transport.run();
    CHECK(peer.last() == "said " + std::to_string(i));
  }
  // Nothing is awaited: run() comes back, and the conversation stays.
  transport.run();
  CHECK(peer.talk->open());
  CHECK(peer.ends.empty());

  // Many at once, sent from within `heard`.
  int left = 100;
  peer.on_line = [&](const std::string&) {
    if (--left > 0)
      peer.say("more");
  };
  peer.say("more");
  transport.run();
  CHECK(left == 0);

  peer.on_line = {};
  peer.say("quit");
  transport.run();
  REQUIRE(peer.ends.size() == 1);
  CHECK_FALSE(peer.talk->open());
  const ExecResult& end = peer.ends.front();
  CHECK(end.outcome == Outcome::exited);
  CHECK(end.exit_status == 3);
  CHECK(end.out == "rest");
  CHECK(end.err.ends_with("ill\n"));
  CHECK(end.sent_bytes == 0);
  // Over is over.
  peer.say("anybody?");
  peer.talk->answered();
  peer.talk->end(1s);
  transport.run();
  CHECK(peer.ends.size() == 1);
}

void uploads_in_between(Transport& transport, const Endpoint& endpoint) {
  TempDir folder;
  std::string text;
  for (int i = 0; text.size() < 3'000'000; ++i)
    text += std::to_string(i) + "\n";
  const std::string file = folder.path() / "file";
  write_file(file, text);
  Peer peer(transport, endpoint);
  peer.say("before");
  transport.run();
  const std::size_t offset = 1'234'567;
  const std::string rest = text.substr(offset);
  peer.talk->send({"put " + std::to_string(rest.size()) + "\n", file, offset}, 20s);
  // A short one behind it stands in line.
  peer.say("after", 0ms);
  transport.run();
  CHECK(peer.talk->sent() == rest.size());
  CHECK(std::find(peer.lines.begin(), peer.lines.end(), "got " + cksum(rest)) != peer.lines.end());
  // Its answer, which nobody awaited, must not be taken for the next one.
  for (int tries = 0; tries < 400 && peer.last() != "said after"; ++tries)
    transport.attend(50ms);
  peer.talk->send({"put " + std::to_string(text.size()) + "\n", file, 0}, 20s);
  transport.run();
  CHECK(peer.last() == "got " + cksum(text));
  CHECK(peer.talk->sent() == rest.size() + text.size());
  peer.talk->end(20s);
  transport.run();
  REQUIRE(peer.ends.size() == 1);
  CHECK(peer.ends.front().ok());
  CHECK(peer.last() == "bye");
  CHECK(peer.ends.front().sent_bytes == rest.size() + text.size());
  CHECK(peer.talk->sent() == rest.size() + text.size());
}

void minds_limits(Transport& transport, const Endpoint& endpoint) {
  const auto fails = [&](const std::string& line, const char* words) {
    CAPTURE(line);
    Peer peer(transport, endpoint);
    peer.say(line, 400ms);
    transport.run();
    REQUIRE(peer.ends.size() == 1);
    CHECK(peer.ends.front().outcome == Outcome::timed_out);
    CAPTURE(peer.ends.front().message);
    CHECK(peer.ends.front().message.find(words) != std::string::npos);
  };
  fails("hush", "gave no answer within 0.4 s");
  // A limit that was stopped runs no more, and the newest counts.
  Peer peer(transport, endpoint);
  peer.say("fine", 5s);
  transport.run();
  peer.say("hush", 300ms);
  peer.say("later", 5s);
  transport.run();
  CHECK(peer.last() == "late");
  // None is awaited: run() is back once it is written.
  peer.say("hush", 0ms);
  transport.run();
  CHECK(peer.ends.empty());
  // One that is awaited goes on being so.
  peer.say("hush", 300ms);
  peer.say("hush", 0ms);
  transport.run();
  REQUIRE(peer.ends.size() == 1);
  CHECK(peer.ends.front().outcome == Outcome::timed_out);

  Peer slow(transport, endpoint);
  slow.say("stuck", 0ms);
  slow.talk->end(400ms);
  slow.say("too late");
  transport.run();
  REQUIRE(slow.ends.size() == 1);
  CHECK(slow.ends.front().message.find("did not end within 0.4 s") != std::string::npos);
}

void bounds_what_it_says(Transport& transport, const Endpoint& endpoint) {
  const auto ends = [&](const std::string& line, const std::string& words) {
    Exec exec = Peer::command(kScript);
    exec.output_limit = 1'000'000;
    Peer peer(transport, endpoint, exec);
    peer.say(line);
    transport.run();
    // It may merely wait, and floods all the same.
    for (int i = 0; i < 200 && peer.ends.empty(); ++i)
      transport.attend(20ms);
    REQUIRE(peer.ends.size() == 1);
    CHECK(peer.ends.front().outcome == Outcome::flooded);
    CHECK(peer.ends.front().message == "the command printed " + words + " bytes");
  };
  ends("flood", "more than 1000000");
  ends("long", "a line of more than 262144");

  // What counts is what it says to one request; of stderr the end is kept.
  Exec exec = Peer::command(kScript);
  exec.output_limit = 1'000'000;
  Peer peer(transport, endpoint, exec);
  for (int i = 0; i < 4; ++i) {
    peer.say("err 400000");
    transport.run();
    CHECK(peer.ends.empty());
  }
  peer.talk->end(20s);
  transport.run();
  REQUIRE(peer.ends.size() == 1);
  CHECK(peer.ends.front().ok());
  CHECK(peer.ends.front().err.size() <= 2 * Conversation::kKeptErr);
  CHECK(peer.ends.front().err.ends_with("end of err\n"));
}

std::string pid_of(Transport& transport, Peer& peer) {
  peer.say("pid");
  transport.run();
  return split_words(peer.last()).at(1);
}

void ends_with_its_handle(Transport& transport, const Endpoint& endpoint) {
  Peer peer(transport, endpoint);
  const std::string pid = pid_of(transport, peer);
  peer.talk.reset();
  CHECK(gone(pid));
  transport.run();
  CHECK(peer.ends.empty());

  // In the middle of its own callback.
  Peer sudden(transport, endpoint);
  const std::string other = pid_of(transport, sudden);
  sudden.on_line = [&](const std::string&) { sudden.talk.reset(); };
  sudden.say("one");
  sudden.say("two");
  const std::size_t before = sudden.lines.size();
  transport.run();
  CHECK(sudden.lines.size() == before + 1);
  CHECK(sudden.ends.empty());
  CHECK(gone(other));

  // In that of another, and before it has begun.
  auto first = std::make_unique<Peer>(transport, endpoint);
  Peer second(transport, endpoint);
  const std::string third = pid_of(transport, *first);
  second.on_line = [&](const std::string&) { first.reset(); };
  second.say("one");
  transport.run();
  CHECK(gone(third));
  { const Peer never(transport, endpoint); }
  transport.run();
  second.on_line = {};
  second.say("still here");
  transport.run();
  CHECK(second.last() == "said still here");

  // And after its end.
  second.talk->end(20s);
  transport.run();
  CHECK(second.ends.size() == 1);
  second.talk.reset();
}

void lives_through_an_exception(Transport& transport, const Endpoint& endpoint) {
  Peer waits(transport, endpoint);
  waits.say("one");
  transport.run();
  Peer awaits(transport, endpoint);
  awaits.say("two");
  transport.run();
  Endpoint other = endpoint;
  other.name = "other";
  bool called = false;
  transport.start(other, Peer::command("sleep 20"), [&](const ExecResult&) { called = true; });
  awaits.on_line = [&](const std::string& line) {
    if (line == "late")
      throw Interrupted();
  };
  awaits.say("later");
  CHECK_THROWS_AS(transport.run(), Interrupted);
  awaits.on_line = {};
  awaits.say("three");
  waits.say("four");
  transport.run();
  CHECK(awaits.last() == "said three");
  CHECK(waits.last() == "said four");
  CHECK(awaits.ends.empty());
  CHECK_FALSE(called);
  CHECK(run(transport, other, Peer::command("echo well")).out == "well\n");
}

void everything(Transport& transport, const Endpoint& endpoint) {
  hears_line_by_line(transport, endpoint);
  uploads_in_between(transport, endpoint);
  minds_limits(transport, endpoint);
  bounds_what_it_says(transport, endpoint);
  ends_with_its_handle(transport, endpoint);
  lives_through_an_exception(transport, endpoint);
}

std::size_t logins(const SshdHost& host) {
  std::size_t number = 0;
  for (const std::string& line : lines(host.log()))
    number += line.find("Accepted publickey") != std::string::npos ? 1 : 0;
  return number;
}

}  // namespace

TEST_CASE("conversation: with this machine") {
  everything(*make_transport({}), local());
}

TEST_CASE("conversation: over sshd by libssh2") {
  if (!SshdHost::possible("conversation: over sshd by libssh2"))
    return;
  SshdHost host;
  TransportOptions options = host.options();
  options.backend = SshBackend::libssh2;
  everything(*make_transport(options), SshdHost::endpoint());
}

TEST_CASE("conversation: over sshd by the ssh program") {
  if (!SshdHost::possible("conversation: over sshd by the ssh program"))
    return;
  SshdHost host;
  TransportOptions options = host.options();
  options.backend = SshBackend::openssh;
  everything(*make_transport(options), SshdHost::endpoint());
}

TEST_CASE("conversation: uploads wait for their turn, lines do not") {
  TransportOptions options;
  options.fanout = 1;
  options.stall_timeout = 20s;
  const std::unique_ptr<Transport> transport = make_transport(options);
  TempDir folder;
  const std::string file = folder.path() / "file";
  write_file(file, std::string(1'000'000, 'x'));
  Peer slow(*transport, local("slow"),
            Peer::command("read -r _; echo ready; read -r _; sleep 1.5; wc -c; echo done"));
  Peer other(*transport, local("other"));
  Peer lines(*transport, local("lines"));
  slow.say("go");
  other.say("go");
  lines.say("go");
  transport->run();
  slow.talk->send({"\n", file, 0}, 20s);
  std::vector<std::string> order;
  bool before_the_upload = false;
  lines.on_line = [&](const std::string&) {
    order.push_back("line");
    before_the_upload = other.talk->sent() == 0 && slow.talk->sent() < 1'000'000;
  };
  other.on_line = [&](const std::string&) {
    order.push_back("upload");
    CHECK(slow.talk->sent() == 1'000'000);
  };
  other.talk->send({"put 1000000\n", file, 0}, 20s);
  lines.say("quick");
  slow.talk->end(20s);
  transport->run();
  CHECK(order == std::vector<std::string>{"line", "upload"});
  CHECK(before_the_upload);
  REQUIRE(slow.ends.size() == 1);
  CHECK(slow.ends.front().ok());
}

TEST_CASE("conversation: an upload that stands still, one that nobody reads, and a missing file") {
  TransportOptions options;
  options.stall_timeout = 1s;
  const std::unique_ptr<Transport> transport = make_transport(options);
  TempDir folder;
  const std::string file = folder.path() / "file";
  write_file(file, std::string(1'000'000, 'x'));

  Peer stuck(*transport, local("stuck"));
  stuck.talk->send({"stuck\n", file, 0}, 20s);
  Peer deaf(*transport, local("deaf"));
  deaf.talk->send({"deaf\n", file, 0}, 1200ms);
  Peer missing(*transport, local("missing"));
  missing.talk->send({"put 3\n", folder.path() / "absent", 0}, 20s);
  transport->run();
  REQUIRE(stuck.ends.size() == 1);
  CHECK(stuck.ends.front().message == "no byte of the upload moved in 1 s");
  CHECK(stuck.talk->sent() < 1'000'000);
  REQUIRE(deaf.ends.size() == 1);
  CHECK(deaf.ends.front().message.find("gave no answer within 1.2 s") != std::string::npos);
  REQUIRE(missing.ends.size() == 1);
  CHECK(missing.ends.front().message.find("cannot read") != std::string::npos);
}

TEST_CASE("conversation: one that waits is served by attend(), and its end is seen by run()") {
  const std::unique_ptr<Transport> transport = make_transport({});
  Peer peer(*transport, local(), "echo $$; sleep 0.3; echo tick; cat");
  transport->run();
  const auto began = std::chrono::steady_clock::now();
  transport->attend(900ms);
  CHECK(std::chrono::steady_clock::now() - began >= 900ms);
  REQUIRE(peer.last() == "tick");
  ::kill(-std::stoi(peer.lines.front()), SIGKILL);
  std::this_thread::sleep_for(100ms);
  CHECK(peer.ends.empty());
  transport->run();
  REQUIRE(peer.ends.size() == 1);
  CHECK(peer.ends.front().outcome == Outcome::signalled);
}

TEST_CASE("conversation: one that an interrupt finds before it has begun is lost") {
  TransportOptions options;
  options.fanout = 1;
  const std::unique_ptr<Transport> transport = make_transport(options);
  transport->start(local("one"), Peer::command("echo"),
                   [](const ExecResult&) { throw Interrupted(); });
  Peer unbegun(*transport, local("two"));
  CHECK_THROWS_AS(transport->run(), Interrupted);
  CHECK(unbegun.ends.empty());
  CHECK(unbegun.talk->open());
  unbegun.say("hello");
  transport->run();
  REQUIRE(unbegun.ends.size() == 1);
  CHECK(unbegun.ends.front().outcome == Outcome::lost);
  CHECK(unbegun.ends.front().message == "two: interrupted before the command began");
}

TEST_CASE("conversation: methods of one whose transport is gone do nothing") {
  std::unique_ptr<Transport> transport = make_transport({});
  Peer peer(*transport, local());
  const std::string pid = pid_of(*transport, peer);
  transport.reset();
  CHECK(gone(pid));
  CHECK_FALSE(peer.talk->open());
  peer.say("anybody?");
  peer.talk->answered();
  peer.talk->end(1s);
  CHECK(peer.talk->sent() == 0);
  CHECK(peer.ends.empty());
}

TEST_CASE("conversation: which connection it has") {
  if (!SshdHost::possible("conversation: which connection it has"))
    return;
  SshdHost host;
  const std::unique_ptr<Transport> transport = make_transport(host.options());
  const Endpoint endpoint = SshdHost::endpoint();
  CHECK(run(*transport, endpoint, Peer::command("echo 1")).ok());
  CHECK(logins(host) == 1);
  Peer peer(*transport, endpoint);
  peer.say("takes the idle one");
  transport->run();
  CHECK(logins(host) == 1);
  CHECK(run(*transport, endpoint, Peer::command("echo 2")).ok());
  CHECK(logins(host) == 2);
  transport->hang_up(endpoint);
  CHECK(run(*transport, endpoint, Peer::command("echo 3")).ok());
  CHECK(logins(host) == 3);
  Exec fresh = Peer::command("echo 4");
  fresh.fresh = true;
  CHECK(run(*transport, endpoint, fresh).ok());
  CHECK(logins(host) == 4);
  CHECK(run(*transport, endpoint, Peer::command("echo 5")).ok());
  CHECK(logins(host) == 4);
  transport->hang_up(endpoint);
  transport->hang_up(SshdHost::endpoint("nobody"));
  // It ends well, and leaves its connection to the next command.
  peer.talk->end(20s);
  transport->run();
  REQUIRE(peer.ends.size() == 1);
  CHECK(peer.ends.front().ok());
  CHECK(run(*transport, endpoint, Peer::command("echo 6")).ok());
  CHECK(logins(host) == 4);
  fresh.script = kScript;
  Peer anew(*transport, endpoint, fresh);
  anew.say("well");
  transport->run();
  CHECK(logins(host) == 5);
  CHECK(run(*transport, endpoint, Peer::command("echo 7")).ok());
  CHECK(logins(host) == 6);
}

TEST_CASE("conversation: a connection that ends while it waits is lost") {
  if (!SshdHost::possible("conversation: a connection that ends while it waits is lost"))
    return;
  SshdHost host;
  for (const SshBackend backend : {SshBackend::libssh2, SshBackend::openssh}) {
    TransportOptions options = host.options();
    options.backend = backend;
    const std::unique_ptr<Transport> transport = make_transport(options);
    Peer peer(*transport, SshdHost::endpoint(), "ps -o ppid= -p $PPID; echo $PPID; cat");
    Peer other(*transport, SshdHost::endpoint());
    peer.talk->send({"x\n", {}, 0}, 20s);
    other.say("well");
    peer.on_line = {};
    transport->run();
    for (int i = 0; i < 50 && peer.lines.size() < 3; ++i)
      transport->attend(20ms);
    REQUIRE(peer.lines.size() == 3);
    shell("kill -9 " + peer.lines.at(1));
    std::this_thread::sleep_for(300ms);
    transport->run();
    REQUIRE(peer.ends.size() == 1);
    CAPTURE(peer.ends.front().message);
    CHECK(peer.ends.front().outcome == Outcome::lost);
    CHECK(other.ends.empty());
  }
}

TEST_CASE("conversation: a command that does not begin") {
  if (!SshdHost::possible("conversation: a command that does not begin"))
    return;
  for (const auto& [force, outcome, words] :
       {std::tuple("sleep 20", Outcome::timed_out, "did not begin within 0.5 s"),
        std::tuple("echo No entry; exit 1", Outcome::login_refused, "No entry")}) {
    SshdHost host(std::string("ForceCommand ") + force + "\n");
    for (const SshBackend backend : {SshBackend::libssh2, SshBackend::openssh}) {
      TransportOptions options = host.options();
      options.backend = backend;
      options.connect_timeout = 5s;
      const std::unique_ptr<Transport> transport = make_transport(options);
      Exec exec = Peer::command(kScript);
      exec.time_limit = outcome == Outcome::timed_out ? 500ms : 20000ms;
      Peer peer(*transport, SshdHost::endpoint(), exec);
      peer.say("hello");
      transport->run();
      REQUIRE(peer.ends.size() == 1);
      CAPTURE(peer.ends.front().message);
      CHECK(peer.ends.front().outcome == outcome);
      CHECK(peer.ends.front().message.find(words) != std::string::npos);
      CHECK(peer.lines.empty());
    }
  }
}

TEST_CASE("conversation: a host that is not reached") {
  TransportOptions options;
  options.ssh_config = "/dev/null";
  options.connect_timeout = 300ms;
  const std::unique_ptr<Transport> transport = make_transport(options);
  SilentPort closed;
  Endpoint endpoint = SshdHost::endpoint("127.0.0.1");
  endpoint.port = closed.port();
  closed.close();
  Peer peer(*transport, endpoint);
  peer.say("hello");
  Peer unnamed(*transport, SshdHost::endpoint("-x"));
  transport->run();
  REQUIRE(peer.ends.size() == 1);
  CHECK(peer.ends.front().outcome == Outcome::unreachable);
  REQUIRE(unnamed.ends.size() == 1);
  CHECK(unnamed.ends.front().outcome == Outcome::unreachable);
}

TEST_CASE("conversation: under sudo") {
  if (!needs("sudo -n true", "conversation: under sudo", "no sudo without a password"))
    return;
  TransportOptions options;
  options.sudo = Sudo::yes;
  const std::unique_ptr<Transport> transport = make_transport(options);
  Peer peer(*transport, local(), "[ \"$(id -u)\" = 0 ] || exit 9\n" + kScript);
  peer.say("well");
  transport->run();
  CHECK(peer.last() == "said well");
  peer.say("still");
  transport->run();
  CHECK(peer.last() == "said still");
}

TEST_CASE("conversation: sudo is what begins it") {
  // One that becomes nobody else, in front of the others on PATH.
  TempDir folder;
  write_file(folder.path() / "sudo",
             "#!/bin/sh\n[ \"$1 $2\" = '-n --' ] || exit 1\nshift 2\nAS_ROOT=yes exec \"$@\"\n",
             0755);
  const std::string before = std::getenv("PATH");
  ::setenv("PATH", (folder.path().string() + ":" + before).c_str(), 1);
  TransportOptions options;
  options.sudo = Sudo::yes;
  const std::unique_ptr<Transport> transport = make_transport(options);
  Peer peer(*transport, local(), "echo \"as root: $AS_ROOT\"; " + kScript);
  // Whoever hears a line takes it for the answer, also the first one, which is none.
  const auto hear = [&](std::size_t number) {
    transport->run();
    for (int i = 0; i < 250 && peer.lines.size() < number; ++i)
      transport->attend(20ms);
    REQUIRE(peer.lines.size() == number);
  };
  peer.say("well");
  hear(2);
  peer.say("still");
  hear(3);
  ::setenv("PATH", before.c_str(), 1);
  CHECK(peer.lines.front() == "as root: yes");
  CHECK(peer.last() == "said still");
}

TEST_CASE("conversation: the line for sudo comes first, before it has begun, and is not counted") {
  TempDir folder;
  write_file(folder.path() / "file", "text");
  ConversationIo io(Peer::command(""), 20s);
  const Clock::time_point now = Clock::now();
  io.send({"put\n", folder.path() / "file", 1}, 20s, now);
  io.set_preamble("secret\n");
  io.start(now);
  CHECK(io.next(now) == "secret\n");
  io.consume(3, now);
  CHECK(io.next(now) == "ret\n");
  io.consume(4, now);
  CHECK(io.next(now).empty());
  CHECK_FALSE(io.feeds());
  CHECK(io.sent() == 0);
  io.begin(now);
  CHECK(io.next(now) == "put\n");
  io.consume(4, now);
  CHECK(io.sent() == 0);
  CHECK(io.next(now) == "ext");
  io.consume(2, now);
  CHECK(io.sent() == 2);
  CHECK(io.next(now) == "t");
  io.consume(1, now);
  CHECK(io.next(now).empty());
  CHECK(io.sent() == 3);
  // The answer is due from then on.
  CHECK(io.deadline() == now + 20s);
}

TEST_CASE("conversation: what is told to the fake") {
  FakeTransport transport(
      [](const Endpoint& endpoint, const Exec&) {
        ExecResult result;
        result.exit_status = 0;
        result.outcome = endpoint.name == "down" ? Outcome::unreachable : Outcome::exited;
        return result;
      },
      [](const Endpoint&, const ExecInput& input) -> FakeTransport::Reply {
        if (input.bytes == "interrupt\n")
          throw Interrupted();
        if (input.bytes == "hush\n")
          return {};
        ExecResult end;
        end.exit_status = 3;
        if (input.bytes == "quit\n")
          return {{}, end};
        return {{"said " + input.bytes.substr(0, input.bytes.size() - 1)}, {}};
      });
  Peer down(transport, local("down"));
  down.say("hello");
  Peer peer(transport, local("one"));
  Peer silent(transport, local("two"));
  peer.say("hello");
  silent.say("hello");
  transport.run();
  REQUIRE(down.ends.size() == 1);
  CHECK(down.ends.front().outcome == Outcome::unreachable);
  CHECK(peer.last() == "said hello");
  CHECK(transport.sent.size() == 3);
  silent.say("hush");
  Peer unbegun(transport, local("three"));
  peer.say("interrupt");
  transport.start(local("four"), {}, [](const ExecResult&) { FAIL("forgotten"); });
  Peer late(transport, local("five"));
  CHECK_THROWS_AS(transport.run(), Interrupted);
  peer.say("back");
  transport.run();
  CHECK(peer.last() == "said back");
  REQUIRE(silent.ends.size() == 1);
  CHECK(silent.ends.front().outcome == Outcome::timed_out);
  CHECK(unbegun.ends.empty());
  REQUIRE(late.ends.size() == 1);
  CHECK(late.ends.front().outcome == Outcome::lost);
  transport.lose("three");
  transport.run();
  REQUIRE(unbegun.ends.size() == 1);
  peer.say("quit");
  transport.run();
  REQUIRE(peer.ends.size() == 1);
  CHECK(peer.ends.front().exit_status == 3);
  CHECK(transport.told.back().input.bytes == "quit\n");
  transport.room = 1;
  CHECK_THROWS_AS(transport.refuse_too_many({local("a"), local("b")}), UsageError);
}

TEST_CASE("conversation: the double that runs a shell") {
  ShellTransport plain;
  hears_line_by_line(plain, local());
  uploads_in_between(plain, local());
  ShellTransport transport([](const Endpoint& endpoint, std::string& input) {
    if (endpoint.name == "bad")
      input.back() = '!';
  });
  uploads_in_between(transport, local());
  TempDir folder;
  write_file(folder.path() / "file", "text");
  Peer bad(transport, local("bad"));
  bad.talk->send({"put 4\n", folder.path() / "file", 0}, 20s);
  transport.run();
  CHECK(bad.last() == "got " + cksum("tex!"));
  CHECK(bad.talk->sent() == 4);
  transport.lose("bad");
  transport.run();
  REQUIRE(bad.ends.size() == 1);
  CHECK(bad.ends.front().outcome == Outcome::lost);
  CHECK_FALSE(bad.talk->open());
}
