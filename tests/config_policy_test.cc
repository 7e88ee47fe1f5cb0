// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "config/config.h"

using namespace ds;
using std::chrono::seconds;

namespace {

using Share = Policy::Share;

Policy read(const std::string& text) {
  return read_policy(text, "p.yaml");
}

/// The problems of a policy, one a line.
std::string refusal(const std::string& text) {
  try {
    read(text);
  } catch (const InputError& error) {
    CHECK(error.status() == ExitStatus::usage);
    return error.what();
  }
  return "was read";
}

Policy shipped(const std::string& name) {
  const std::string file = DS_SOURCE_DIR "/deploy/" + name;
  return read_policy(read_file(file), file);
}

}  // namespace

TEST_CASE("policy: the ones that come along") {
  Policy all = shipped("all-at-once.yaml");
  CHECK(all.text.starts_with("# SPDX"));
  all.text.clear();
  CHECK(all == Policy{});

  const Policy rolling = shipped("rolling.yaml");
  CHECK(rolling.strategy == Policy::Strategy::rolling);
  CHECK(rolling.max_in_flight == Share{10, true});
  CHECK(rolling.max_unavailable == Share{25, true});
  CHECK(rolling.max_failures == Share{2, false});
  CHECK(rolling.confirm_timeout == seconds(390));
  const Policy canary = shipped("canary.yaml");
  CHECK(canary.strategy == Policy::Strategy::canary);
  CHECK(canary.bake == seconds(300));
  CHECK(canary.waves == Policy{}.waves);
  CHECK(canary.max_unavailable == Share{25, true});
  CHECK(canary.max_failures == Share{1, false});
  const Policy slurm = shipped("slurm.yaml");
  CHECK(slurm.strategy == Policy::Strategy::rolling);
  CHECK(slurm.hooks.drain.on_coordinator);
  CHECK(slurm.hooks.drain.time_limit == seconds(43200));
  CHECK(slurm.hooks.undrain.command.find("State=RESUME") != std::string::npos);
  // What they show as a model can be used.
  for (std::string text : {rolling.text, canary.text}) {
    for (const char* line : {"# health:", "#   command:", "#   on:", "#   time_limit:"})
      text.erase(text.find(line), 2);
    CHECK(read(text).health.command.starts_with("nvidia-smi "));
  }
}

TEST_CASE("policy: defaults go by the strategy") {
  for (const char* text : {"strategy: all-at-once\n", "retries: 1\n"}) {
    Policy policy = read(text);
    CHECK(policy.text == text);
    policy.text.clear();
    CHECK(policy == Policy{});
  }
  const Policy rolling = read("strategy: rolling\n");
  CHECK(rolling.on_failure == Policy::OnFailure::stop);
  CHECK(rolling.max_in_flight == Share{1, false});
  CHECK(rolling.max_unavailable == Share{100, true});
  CHECK(rolling.max_failures == Share{0, false});
  CHECK(rolling.without_dead_man.what == Policy::Treatment::What::stop);
  // In whatever order they stand.
  CHECK(read("on_failure: roll-back-all\nmax_in_flight: 2\nstrategy: rolling\n").on_failure ==
        Policy::OnFailure::roll_back_all);
}

TEST_CASE("policy: a canary and its waves") {
  const Policy usual = read("strategy: canary\n");
  CHECK(usual.on_failure == Policy::OnFailure::stop_class);
  CHECK(usual.max_in_flight == Share{100, true});
  CHECK(usual.waves ==
        std::vector<Share>{Share{1, false}, Share{5, true}, Share{25, true}, Share{100, true}});
  CHECK(usual.bake == seconds(0));
  CHECK_FALSE(usual.prove_rollback);
  CHECK(usual.wave_sizes(512) == std::vector<std::size_t>{1, 25, 128, 512});
  CHECK(usual.wave_sizes(3) == std::vector<std::size_t>{1, 1, 1, 3});
  const Policy policy = read(
      "strategy: canary\nwaves: [4, '10%']\nbake: 10m\nprove_rollback: true\non_failure: stop\n"
      "max_in_flight: 8\n");
  CHECK(policy.waves == std::vector<Share>{Share{4, false}, Share{10, true}});
  CHECK(policy.bake == seconds(600));
  CHECK(policy.prove_rollback);
  CHECK(policy.on_failure == Policy::OnFailure::stop);
  CHECK(policy.max_in_flight == Share{8, false});
  CHECK(read("strategy: rolling\non_failure: stop-class\n").on_failure ==
        Policy::OnFailure::stop_class);
  CHECK(refusal("strategy: canary\nwaves: []\n") ==
        "p.yaml:2:8: 0 waves; write 1 to 100 numbers of hosts such as [1, 5%, 25%, 100%]");
  CHECK(refusal("strategy: canary\nwaves: 5%\nbake: 0\nprove_rollback: yes\n") ==
        "p.yaml:2:8: a text where a list of waves is wanted; write 1 to 100 numbers of hosts such "
        "as [1, 5%, 25%, 100%]\n"
        "p.yaml:3:7: '0' is no time from 1 s to 24 h; write seconds such as 90, or 90s, 5m, 1h\n"
        "p.yaml:4:17: 'yes' is not known here; write true or false");
  CHECK(refusal("strategy: canary\nwaves: [1, 0, 5%, [2]]\n") ==
        "p.yaml:2:12: '0' is no number of hosts from 1 on; write a whole number such as 4, or a "
        "share from 1% to 100%, such as 10%\n"
        "p.yaml:2:19: a list where one value is wanted; write the value behind the colon, or "
        "remove the key");
  CHECK(refusal("strategy: rolling\nbake: 5m\n") ==
        "p.yaml:2:1: bake contradicts strategy: rolling, by which one host follows the other; "
        "remove it, or write strategy: canary");
  CHECK(refusal("waves: [1]\nmax_unavailable: 2\n") ==
        "p.yaml:1:1: waves contradicts strategy: all-at-once, by which all hosts go together; "
        "remove it, or write strategy: canary\n"
        "p.yaml:2:1: max_unavailable contradicts strategy: all-at-once, by which all hosts go "
        "together; remove it, or write strategy: rolling");
  CHECK(refusal("strategy: canary\nmax_in_flight: 4\nmax_unavailable: 3\n") ==
        "p.yaml:2:16: max_in_flight is more than max_unavailable (4 > 3); a host in flight is not "
        "at a confirmed release; lower the one or raise the other");
}

TEST_CASE("policy: hooks") {
  CHECK(read("retries: 1\n").hooks == Policy::Hooks{});
  const Policy policy = read(
      "hooks:\n  run_start: {command: a, time_limit: 5}\n  drain: {command: b, on: coordinator}\n"
      "  undrain: {command: c, time_limit: 2m}\n  before_host: {command: d}\n"
      "  after_host: {command: e, on: host}\n  run_end: {command: f}\n"
      "  drained_by_others: proceed\n");
  const Policy::Hooks& hooks = policy.hooks;
  CHECK(hooks.run_start == Policy::Hook{"a", true, seconds(5)});
  CHECK(hooks.drain == Policy::Hook{"b", true, seconds(14400)});
  CHECK(hooks.undrain == Policy::Hook{"c", false, seconds(120)});
  CHECK(hooks.before_host == Policy::Hook{"d", false, seconds(60)});
  CHECK(hooks.after_host == Policy::Hook{"e", false, seconds(60)});
  CHECK(hooks.run_end == Policy::Hook{"f", true, seconds(60)});
  CHECK(hooks.takes_drained);
  CHECK(
      refusal("hooks:\n  drain: {command: x}\n") ==
      "p.yaml:2:3: hooks.drain without hooks.undrain; what one takes out of work the other has to "
      "bring back; add it");
  CHECK(refusal("hooks: {run_end: {command: x, on: host}, before_host: {}, undrane: {}, "
                "drained_by_others: ask}\n") ==
        "p.yaml:1:31: unknown key 'on'; ds-deploy-policy(5) lists the keys\n"
        "p.yaml:1:55: hooks.before_host has no command; add it, or remove hooks.before_host\n"
        "p.yaml:1:59: unknown key 'undrane'; did you mean 'undrain'?\n"
        "p.yaml:1:91: 'ask' is not known here; write leave-out or proceed");
  CHECK(refusal("hooks: on\n").starts_with("p.yaml:1:8: hooks is a text, not keys and values"));
}

TEST_CASE("policy: every key") {
  const Policy policy = read(
      "strategy: rolling\nmax_in_flight: 5\nmax_unavailable: 50%\nmax_failures: 10%\n"
      "on_failure: stop\nwithout_dead_man: proceed\nretries: 2\n"
      "time_limits: {stage: 1h, verify: 10m, activate: 5, confirm: 20s}\nconfirm_timeout: 2m\n"
      "health:\n  command: |\n    test -e /run/ok\n    exit\n  on: coordinator\n"
      "  time_limit: 20\n");
  CHECK(policy.max_in_flight == Share{5, false});
  CHECK(policy.max_failures == Share{10, true});
  CHECK(policy.without_dead_man.what == Policy::Treatment::What::proceed);
  CHECK(policy.retries == 2);
  CHECK(policy.time_limits ==
        Policy::TimeLimits{seconds(3600), seconds(600), seconds(5), seconds(20)});
  CHECK(policy.confirm_timeout == seconds(120));
  CHECK(policy.health == Policy::Hook{"test -e /run/ok\nexit\n", true, seconds(20)});
}

TEST_CASE("policy: how many hosts a share is") {
  const Policy rolling =
      read("strategy: rolling\nmax_in_flight: 10%\nmax_unavailable: 25%\nmax_failures: 5%\n");
  CHECK(rolling.most_in_flight(1) == 1);
  CHECK(rolling.most_in_flight(9) == 1);
  CHECK(rolling.most_in_flight(19) == 1);
  CHECK(rolling.most_in_flight(20) == 2);
  CHECK(rolling.most_unavailable(3) == 1);
  CHECK(rolling.most_unavailable(7) == 1);
  CHECK(rolling.most_unavailable(8) == 2);
  CHECK(rolling.most_failures(19) == 0);
  CHECK(rolling.most_failures(20) == 1);
  // Never more than the share says, but for the one that lets the run proceed.
  for (std::size_t hosts = 1; hosts < 300; ++hosts) {
    CHECK((rolling.most_in_flight(hosts) == 1 || rolling.most_in_flight(hosts) * 10 <= hosts));
    CHECK((rolling.most_unavailable(hosts) == 1 || rolling.most_unavailable(hosts) * 4 <= hosts));
    CHECK(rolling.most_failures(hosts) * 20 <= hosts);
  }
  CHECK(Policy{}.most_in_flight(512) == 512);
  CHECK(Policy{}.most_unavailable(512) == 512);
  CHECK(Policy{}.most_failures(512) == 0);
  const Policy numbers = read("strategy: rolling\nmax_in_flight: 4\nmax_failures: 9\n");
  CHECK(numbers.most_in_flight(3) == 3);
  CHECK(numbers.most_in_flight(300) == 4);
  CHECK(numbers.most_failures(300) == 9);
}

TEST_CASE("policy: whether hosts pass wheels on") {
  CHECK(read("retries: 1\n").relay == Policy::Relay::automatic);
  CHECK(read("relay: off\n").relay == Policy::Relay::off);
  const Policy policy = read("relay: on\nrelay_net: fd00:1::/48\n");
  CHECK(policy.relay == Policy::Relay::on);
  CHECK(policy.relay_net == "fd00:1::/48");
  for (const char* text : {"10.1.0.0", "10.1.0.0/", "10.1.0.0/33", "10.1/16", "fd00::/129", "/8",
                           "eth0", "10.1.0.0/16,fd00::/8"}) {
    CHECK(refusal(std::string("relay_net: '") + text + "'\n") ==
          std::string("p.yaml:1:12: '") + text +
              "' is no network; write an address and the length of its prefix, such as "
              "10.1.0.0/16");
  }
}

TEST_CASE("policy: hosts that the run would rather do without") {
  using What = Policy::Treatment::What;
  const Policy usual = read("retries: 1\n");
  CHECK(usual.unreachable == Policy::Treatment{});
  CHECK(usual.busy.what == What::proceed);
  CHECK_FALSE(usual.accept_left_out);
  const Policy policy = read(
      "unreachable: wait=30m,leave-out=5%\nincompatible: leave-out=3\nbusy: wait=90\n"
      "without_dead_man: leave-out\naccept_left_out: true\n");
  CHECK(policy.unreachable == Policy::Treatment{What::leave_out, Share{5, true}, seconds(1800)});
  CHECK(policy.incompatible == Policy::Treatment{What::leave_out, Share{3, false}, seconds(0)});
  CHECK(policy.busy == Policy::Treatment{What::leave_out, Share{100, true}, seconds(90)});
  CHECK(policy.without_dead_man.what == What::leave_out);
  CHECK(policy.accept_left_out);
  CHECK(policy.most_left_out(policy.unreachable, 39) == 1);
  CHECK(policy.most_left_out(policy.incompatible, 512) == 3);
  CHECK(policy.most_left_out(policy.busy, 512) == 512);
  CHECK(policy.most_left_out(usual.unreachable, 512) == 0);
  CHECK(refusal("unreachable: proceed\nincompatible: wait=5m\nbusy: leave-out=0\n"
                "without_dead_man: wait=\naccept_left_out: maybe\n") ==
        "p.yaml:1:14: 'proceed' is not known here; write stop, leave-out, leave-out=5 or "
        "leave-out=5%, wait=30m or wait=30m,leave-out=5%\n"
        "p.yaml:2:15: 'wait=5m' is not known here; write stop, leave-out, leave-out=5 or "
        "leave-out=5%\n"
        "p.yaml:3:7: 'leave-out=0' is not known here; write stop, leave-out, leave-out=5 or "
        "leave-out=5%, wait=30m or wait=30m,leave-out=5%, or proceed\n"
        "p.yaml:4:19: 'wait=' is not known here; write stop, leave-out, leave-out=5 or "
        "leave-out=5%, or proceed\n"
        "p.yaml:5:18: 'maybe' is not known here; write true or false");
}

TEST_CASE("policy: confirm_timeout") {
  CHECK(read("time_limits: {confirm: 10s}\nretries: 0\n").confirm_timeout == seconds(40));
  CHECK(read("time_limits: {confirm: 10s}\nretries: 3\n").confirm_timeout == seconds(70));
  CHECK(read("time_limits: {confirm: 10s}\nretries: 3\nconfirm_timeout: 70\n").confirm_timeout ==
        seconds(70));
  CHECK(refusal("confirm_timeout: 69s\ntime_limits: {confirm: 10s}\nretries: 3\n") ==
        "p.yaml:1:18: confirm_timeout is 69 s: hosts would go back while confirm may still go on; "
        "write 70 or more (time_limits.confirm x (1 + retries) + 30 s), or lower these");
  // The time limit of health is within confirm's, also without a word on it.
  CHECK(read("time_limits: {confirm: 10s}\nhealth: {command: x}\n").health.time_limit ==
        seconds(10));
  CHECK(refusal("health: {command: x, time_limit: 6m}\n") ==
        "p.yaml:1:34: health.time_limit is more than that of confirm, 300 s; health is asked "
        "within confirm; lower it, or raise time_limits.confirm");
}

TEST_CASE("policy: contradictions") {
  CHECK(refusal("max_in_flight: 2\nmax_unavailable: 3\n") ==
        "p.yaml:1:1: max_in_flight contradicts strategy: all-at-once, by which all hosts go "
        "together; remove it, or write strategy: rolling\n"
        "p.yaml:2:1: max_unavailable contradicts strategy: all-at-once, by which all hosts go "
        "together; remove it, or write strategy: rolling");
  CHECK(refusal("strategy: rolling\nmax_unavailable: 3\nmax_in_flight: 4\n") ==
        "p.yaml:3:16: max_in_flight is more than max_unavailable (4 > 3); a host in flight is not "
        "at a confirmed release; lower the one or raise the other");
  CHECK(refusal("strategy: rolling\nmax_unavailable: 3\nmax_in_flight: 40%\n") == "was read");
  // Of a strategy that is not known nothing follows.
  CHECK(refusal("strategy: roling\nmax_in_flight: 2\n") ==
        "p.yaml:1:11: 'roling' is not known here; did you mean 'rolling'?");
  CHECK(refusal("health: {on: host}\n") ==
        "p.yaml:1:9: health has no command; add it, or remove health");
}

TEST_CASE("policy: all problems at once, each at its place") {
  CHECK(refusal("strategy: roling\nmax_in_fligt: 3\nmax_failures: -1\nmax_failures: 2\n"
                "on_failure: [stop]\nretries: 11\nwithout_dead_man:\nwhatsoever: 1\n"
                "time_limits: {stage: 0, verifi: 1, confirm: 1d, activate: 25h}\nhealth: true\n") ==
        "p.yaml:1:11: 'roling' is not known here; did you mean 'rolling'?\n"
        "p.yaml:2:1: unknown key 'max_in_fligt'; did you mean 'max_in_flight'?\n"
        "p.yaml:3:15: '-1' is no number of hosts from 0 on; write a whole number such as 4, or a "
        "share from 0% to 100%, such as 10%\n"
        "p.yaml:4:1: max_failures is given twice; the first is in line 3; keep one\n"
        "p.yaml:5:13: a list where one value is wanted; write the value behind the colon, or "
        "remove the key\n"
        "p.yaml:6:10: '11' is no number of retries; write a whole number from 0 to 10\n"
        "p.yaml:7:1: nothing where one value is wanted; write the value behind the colon, or "
        "remove the key\n"
        "p.yaml:8:1: unknown key 'whatsoever'; ds-deploy-policy(5) lists the keys\n"
        "p.yaml:9:22: '0' is no time from 1 s to 24 h; write seconds such as 90, or 90s, 5m, 1h\n"
        "p.yaml:9:25: unknown key 'verifi'; did you mean 'verify'?\n"
        "p.yaml:9:45: '1d' is no time from 1 s to 24 h; write seconds such as 90, or 90s, 5m, 1h\n"
        "p.yaml:9:59: '25h' is no time from 1 s to 24 h; write seconds such as 90, or 90s, 5m, "
        "1h\n"
        "p.yaml:10:9: health is a text, not keys and values; write its keys below it, each on a "
        "line of its own, indented");
}

TEST_CASE("policy: values at the edge") {
  const std::string rolling = "strategy: rolling\nmax_in_flight: ";
  for (const char* good : {"1", "1000000", "1%", "100%", "'7'"})
    CHECK(refusal(rolling + good + "\n") == "was read");
  for (const char* bad : {"0", "0%", "101%", "%", "1.5", "10 %", "ten", "''",
                          "99999999999999999999", "+5", "0x10", "1000001"})
    CHECK(refusal(rolling + bad + "\n").starts_with("p.yaml:2:16: "));
  for (const char* bad : {"s", "''", "-5s", "5ms", "1.5m", "86401", "24h1", "9223372036854775807h"})
    CHECK(refusal("time_limits: {stage: " + std::string(bad) + "}\n").starts_with("p.yaml:1:22: "));
  CHECK(refusal("time_limits: {stage: 24h}\n") == "was read");
}

TEST_CASE("policy: what is no policy") {
  for (const char* text : {"", "# nothing\n", "rolling\n", "[strategy, rolling]\n", "{}\n"}) {
    CHECK(refusal(text).find("a policy is keys and values; begin with 'strategy: ") !=
          std::string::npos);
  }
  CHECK(refusal("strategy: [rolling\n").find("this is no YAML: ") != std::string::npos);
  CHECK(refusal("strategy: rolling\n---\nstrategy: rolling\n").find("a second YAML document") !=
        std::string::npos);
  CHECK(refusal("\x1b[31m: 1\n").find("\x1b") == std::string::npos);
}

TEST_CASE("policy: the examples of the manual") {
  std::string text;
  int read_ones = 0;
  bool inside = false;
  for (const std::string& line : lines(read_file(DS_SOURCE_DIR "/man/ds-deploy-policy.5"))) {
    if (line == ".Ed") {
      CHECK(refusal(text) == "was read");
      ++read_ones;
      inside = false;
    }
    if (inside)
      text += line + "\n";
    if (line == ".Bd -literal") {
      inside = true;
      text.clear();
    }
  }
  CHECK(read_ones == 3);
}
