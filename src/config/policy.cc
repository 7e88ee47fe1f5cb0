// SPDX-License-Identifier: Apache-2.0
//
// Policies of a rollout, see ds-deploy-policy(5). Every problem is found in one pass.
#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>

#include "base/error.h"
#include "base/text.h"
#include "config/config.h"
#include "config/values.h"
#include "config/yaml_reader.h"

namespace ds {
namespace {

using std::chrono::seconds;

constexpr int most_retries = 10;
constexpr std::size_t most_waves = 100;
constexpr seconds margin{30};  // for the way to the hosts and back

std::string shown(std::string_view text) {
  return clean_line(text, 80);
}

std::string in_seconds(seconds time) {
  return fmt::format("{} s", time.count());
}

/// "10.1.0.0/16", "fd00:1::/48"
bool is_network(const std::string& text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string::npos || text.find('\0') != std::string::npos)
    return false;
  const std::string address = text.substr(0, slash);
  unsigned char bytes[16];
  const bool is_v4 = ::inet_pton(AF_INET, address.c_str(), bytes) == 1;
  return (is_v4 || ::inet_pton(AF_INET6, address.c_str(), bytes) == 1) &&
         parse_integer(text.substr(slash + 1), 0, is_v4 ? 32 : 128).has_value();
}

class PolicyReader {
 public:
  explicit PolicyReader(const std::string& file) : file_(file) {}

  Policy read(const std::string& text) {
    const YamlValue top = read_yaml(text, file_);
    if (top.kind != YamlValue::Kind::map || top.keys.empty()) {
      throw InputError({{file_, std::max(top.line, 1), 1, "a policy is keys and values",
                         "begin with 'strategy: all-at-once' or 'strategy: rolling'"}});
    }
    policy_.text = text;
    entry("", top, top_keys());
    fit_to_strategy();
    check_times();
    check_hooks();
    if (!problems_.empty()) {
      std::stable_sort(problems_.begin(), problems_.end(), [](const Problem& a, const Problem& b) {
        return std::pair(a.line, a.column) < std::pair(b.line, b.column);
      });
      throw InputError(std::move(problems_));
    }
    return std::move(policy_);
  }

 private:
  using Use = std::function<void(const YamlValue&)>;
  using Keys = std::map<std::string, Use>;

  Keys top_keys() {
    using Strategy = Policy::Strategy;
    using OnFailure = Policy::OnFailure;
    Keys keys = {
        {"strategy", choice(policy_.strategy, {{"all-at-once", Strategy::all_at_once},
                                               {"rolling", Strategy::rolling},
                                               {"canary", Strategy::canary}})},
        {"max_in_flight", share(policy_.max_in_flight, 1)},
        {"max_unavailable", share(policy_.max_unavailable, 1)},
        {"max_failures", share(policy_.max_failures, 0)},
        {"shared_failures", share(policy_.shared_failures, 0)},
        {"shared_wait", duration(policy_.shared_wait)},
        {"on_failure", choice(policy_.on_failure, {{"roll-back-all", OnFailure::roll_back_all},
                                                   {"stop", OnFailure::stop},
                                                   {"stop-class", OnFailure::stop_class}})},
        {"waves", [this](const YamlValue& at) { read_waves(at); }},
        {"bake", duration(policy_.bake)},
        {"prove_rollback", choice(policy_.prove_rollback, {{"true", true}, {"false", false}})},
        {"accept_left_out", choice(policy_.accept_left_out, {{"true", true}, {"false", false}})},
        {"relay", choice(policy_.relay, {{"off", Policy::Relay::off},
                                         {"auto", Policy::Relay::automatic},
                                         {"on", Policy::Relay::on}})},
        {"relay_net", [this](const YamlValue& at) { read_relay_net(at); }},
        {"retries", [this](const YamlValue& at) { read_retries(at); }},
        {"time_limits",
         [this](const YamlValue& at) { entry("time_limits", at, time_limit_keys()); }},
        {"confirm_timeout", duration(policy_.confirm_timeout)},
        {"health", hook("health", policy_.health, true)},
        {"hooks", [this](const YamlValue& at) { entry("hooks", at, hook_keys()); }},
    };
    for (const TreatmentKey& key : treatment_keys())
      keys[key.name] = treatment(key);
    return keys;
  }

  Keys time_limit_keys() {
    Policy::TimeLimits& limits = policy_.time_limits;
    return {{"stage", duration(limits.stage)},
            {"verify", duration(limits.verify)},
            {"activate", duration(limits.activate)},
            {"confirm", duration(limits.confirm)}};
  }

  void problem(const YamlValue& at, std::string what, std::string fix) {
    problems_.push_back(
        {file_, std::max(at.line, 1), std::max(at.column, 1), std::move(what), std::move(fix)});
  }

  /// Reads a map; notes where each key and each value of it stands, as "health.command".
  void entry(const std::string& name, const YamlValue& map, const Keys& known) {
    if (map.kind != YamlValue::Kind::map) {
      return problem(map, fmt::format("{} is {}, not keys and values", name, to_string(map.kind)),
                     "write its keys below it, each on a line of its own, indented");
    }
    std::vector<std::string> names;
    for (const auto& [key, unused] : known)
      names.push_back(key);
    for (std::size_t at = 0; at < map.keys.size(); ++at) {
      const YamlValue& key = map.keys[at];
      const auto use = known.find(key.text);
      if (use == known.end()) {
        const std::string nearest = suggestion(key.text, names);
        problem(key, fmt::format("unknown key '{}'", shown(key.text)),
                nearest.empty() ? "ds-deploy-policy(5) lists the keys" : nearest);
        continue;
      }
      const std::string whole = name.empty() ? key.text : name + "." + key.text;
      const auto [first, fresh] = given_.emplace(whole, Given{&key, &map.items[at]});
      if (!fresh) {
        problem(key, fmt::format("{} is given twice", whole),
                fmt::format("the first is in line {}; keep one", first->second.key->line));
        continue;
      }
      if (map.items[at].kind != YamlValue::Kind::nothing) {
        use->second(map.items[at]);
        continue;
      }
      YamlValue placed;  // nothing has no place of its own
      placed.line = key.line;
      placed.column = key.column;
      use->second(placed);
    }
  }

  /// For single values: what is none is a problem here.
  Use single(const std::function<void(const YamlValue&)>& use) {
    return [this, use](const YamlValue& at) {
      if (at.kind == YamlValue::Kind::text && !trim(at.text).empty())
        return use(at);
      const bool empty = at.kind == YamlValue::Kind::text || at.kind == YamlValue::Kind::nothing;
      problem(at,
              fmt::format("{} where one value is wanted", empty ? "nothing" : to_string(at.kind)),
              "write the value behind the colon, or remove the key");
    };
  }

  template <typename Value>
  Use choice(Value& into, std::vector<std::pair<std::string, Value>> choices) {
    return single([this, &into, choices = std::move(choices)](const YamlValue& at) {
      std::vector<std::string> names;
      for (const auto& [name, value] : choices) {
        if (name == at.text)
          into = value;
        names.push_back(name);
      }
      if (std::find(names.begin(), names.end(), at.text) != names.end())
        return;
      const std::string nearest = suggestion(at.text, names);
      problem(at, fmt::format("'{}' is not known here", shown(at.text)),
              nearest.empty() ? "write " + join(names, " or ") : nearest);
    });
  }

  Use treatment(const TreatmentKey& key) {
    return single([this, &key](const YamlValue& at) {
      const auto treatment = parse_treatment(key, at.text);
      if (!treatment) {
        return problem(at, fmt::format("'{}' is not known here", shown(at.text)),
                       treatment_forms(key));
      }
      policy_.*key.place = *treatment;
    });
  }

  Use share(Policy::Share& into, int least) {
    return single([this, &into, least](const YamlValue& at) {
      const auto share = parse_share(at.text, least);
      if (!share) {
        return problem(at,
                       fmt::format("'{}' is no number of hosts from {} on", shown(at.text), least),
                       fmt::format("write a whole number such as 4, or a share from {}% to 100%, "
                                   "such as 10%",
                                   least));
      }
      into = *share;
    });
  }

  void read_waves(const YamlValue& list) {
    if (list.kind != YamlValue::Kind::list || list.items.empty() ||
        list.items.size() > most_waves) {
      return problem(
          list,
          list.kind == YamlValue::Kind::list
              ? fmt::format("{} waves", list.items.size())
              : fmt::format("{} where a list of waves is wanted", to_string(list.kind)),
          fmt::format("write 1 to {} numbers of hosts such as [1, 5%, 25%, 100%]", most_waves));
    }
    policy_.waves.assign(list.items.size(), {});
    for (std::size_t at = 0; at < list.items.size(); ++at)
      share(policy_.waves[at], 1)(list.items[at]);
  }

  Use duration(seconds& into) {
    return single([this, &into](const YamlValue& at) {
      const auto duration = parse_duration(at.text);
      if (!duration) {
        return problem(at, fmt::format("'{}' is no time from 1 s to 24 h", shown(at.text)),
                       "write seconds such as 90, or 90s, 5m, 1h");
      }
      into = *duration;
    });
  }

  void read_retries(const YamlValue& value) {
    single([this](const YamlValue& at) {
      const auto number = parse_integer(at.text, 0, most_retries);
      if (!number) {
        return problem(at, fmt::format("'{}' is no number of retries", shown(at.text)),
                       fmt::format("write a whole number from 0 to {}", most_retries));
      }
      policy_.retries = static_cast<int>(*number);
    })(value);
  }

  void read_relay_net(const YamlValue& value) {
    single([this](const YamlValue& at) {
      if (!is_network(at.text)) {
        return problem(at, fmt::format("'{}' is no network", shown(at.text)),
                       "write an address and the length of its prefix, such as 10.1.0.0/16");
      }
      policy_.relay_net = at.text;
    })(value);
  }

  /// `anywhere`: it may be on hosts or on the coordinator.
  Use hook(const std::string& name, Policy::Hook& into, bool anywhere) {
    return [this, name, &into, anywhere](const YamlValue& at) {
      Keys keys = {{"command", single([this, &into](const YamlValue& command) {
                      into.command = command.text;
                      if (command.text.find('\0') != std::string::npos)
                        problem(command, "the command holds a NUL", "remove it");
                    })},
                   {"time_limit", duration(into.time_limit)}};
      if (anywhere)
        keys["on"] = choice(into.on_coordinator, {{"host", false}, {"coordinator", true}});
      entry(name, at, keys);
      if (at.kind == YamlValue::Kind::map && !is_given(name + ".command"))
        problem(at, name + " has no command", "add it, or remove " + name);
    };
  }

  Keys hook_keys() {
    Policy::Hooks& hooks = policy_.hooks;
    return {{"run_start", hook("hooks.run_start", hooks.run_start, false)},
            {"drain", hook("hooks.drain", hooks.drain, true)},
            {"before_host", hook("hooks.before_host", hooks.before_host, true)},
            {"after_host", hook("hooks.after_host", hooks.after_host, true)},
            {"undrain", hook("hooks.undrain", hooks.undrain, true)},
            {"run_end", hook("hooks.run_end", hooks.run_end, false)},
            {"drained_by_others",
             choice(hooks.takes_drained, {{"leave-out", false}, {"proceed", true}})}};
  }

  void check_hooks() {
    const std::pair<const char*, const char*> pair = {"hooks.drain", "hooks.undrain"};
    if (is_given(pair.first) == is_given(pair.second))
      return;
    const std::string one = is_given(pair.first) ? pair.first : pair.second;
    const std::string other = is_given(pair.first) ? pair.second : pair.first;
    problem(*given_.at(one).key, fmt::format("{} without {}", one, other),
            "what one takes out of work the other has to bring back; add it");
  }

  bool is_given(const std::string& key) const { return given_.count(key) > 0; }
  const YamlValue& value_of(const std::string& key) const { return *given_.at(key).value; }

  /// What the strategy takes for granted, and which keys it has no use for.
  void fit_to_strategy() {
    using Strategy = Policy::Strategy;
    if (is_given("strategy") && policy_.strategy == Strategy::all_at_once &&
        value_of("strategy").text != "all-at-once")
      return;  // nobody knows which is meant
    const bool together = policy_.strategy == Strategy::all_at_once;
    const bool canary = policy_.strategy == Strategy::canary;
    if (together)
      refuse({"max_in_flight", "max_unavailable"}, "all-at-once, by which all hosts go together",
             "rolling");
    if (!canary)
      refuse({"waves", "bake", "prove_rollback"},
             together ? "all-at-once, by which all hosts go together"
                      : "rolling, by which one host follows the other",
             "canary");
    if (together)
      return;
    if (!canary && !is_given("max_in_flight"))
      policy_.max_in_flight = {1, false};
    if (!is_given("on_failure")) {
      policy_.on_failure = canary ? Policy::OnFailure::stop_class : Policy::OnFailure::stop;
    }
    check_budgets();
  }

  void check_budgets() {
    const Policy::Share flight = policy_.max_in_flight, unavailable = policy_.max_unavailable;
    if (is_given("max_unavailable") && flight.percent == unavailable.percent &&
        flight.number > unavailable.number && (is_given("max_in_flight") || !flight.percent)) {
      problem(value_of(is_given("max_in_flight") ? "max_in_flight" : "max_unavailable"),
              fmt::format("max_in_flight is more than max_unavailable ({} > {})", flight.number,
                          unavailable.number),
              "a host in flight is not at a confirmed release; lower the one or raise the other");
    }
  }

  void refuse(const std::vector<std::string>& keys, const std::string& strategy,
              const std::string& wanted) {
    for (const std::string& key : keys) {
      if (!is_given(key))
        continue;
      problem(*given_.at(key).key, fmt::format("{} contradicts strategy: {}", key, strategy),
              "remove it, or write strategy: " + wanted);
    }
  }

  void check_times() {
    const seconds confirm = policy_.time_limits.confirm;
    seconds& health = policy_.health.time_limit;
    if (!is_given("health.time_limit")) {
      health = std::min(health, confirm);
    } else if (health > confirm) {
      problem(
          value_of("health.time_limit"),
          fmt::format("health.time_limit is more than that of confirm, {}", in_seconds(confirm)),
          "health is asked within confirm; lower it, or raise time_limits.confirm");
    }
    const seconds least = confirm * (1 + policy_.retries) + margin;
    if (!is_given("confirm_timeout")) {
      policy_.confirm_timeout = least;
    } else if (policy_.confirm_timeout < least) {
      problem(
          value_of("confirm_timeout"),
          fmt::format("confirm_timeout is {}: hosts would go back while confirm may still go on",
                      in_seconds(policy_.confirm_timeout)),
          fmt::format("write {} or more (time_limits.confirm x (1 + retries) + {}), or lower "
                      "these",
                      least.count(), in_seconds(margin)));
    }
  }

  struct Given {
    const YamlValue* key;
    const YamlValue* value;
  };
  const std::string& file_;
  Policy policy_;
  std::vector<Problem> problems_;
  std::map<std::string, Given> given_;
};

}  // namespace

Policy read_policy(const std::string& text, const std::string& file) {
  return PolicyReader(file).read(text);
}

}  // namespace ds
