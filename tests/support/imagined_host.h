// SPDX-License-Identifier: Apache-2.0
//
// A host that is not there but behaves: templates/host.py, dead_man.py, lock.py and confirm.py as a
// model in memory, which answers each request as they do.
#pragma once

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "facts/facts.h"

namespace ds {

class ImaginedHost {
 public:
  using json = nlohmann::json;
  using Releases = std::vector<std::string>;
  struct Trial {
    std::string id;
    Releases releases, previous;
    bool watched = false;  ///< a process goes back once its time is over
    bool over = false;     ///< its time is
    std::string because = {};
  };

  // What it is like.
  bool starts = true, outlives = true;  ///< processes beside a session, and that they stay
  bool watches = true;                  ///< a watching process can be started
  bool passes = true, healthy = true;   ///< the self-test; the policy's question
  bool has_pip = true;
  bool breaks_bytes = false;  ///< what arrives is damaged
  std::string other_run;      ///< has the lock; empty: nobody but this one

  // What is there.
  Releases active;
  std::set<std::string> sealed, damaged;
  bool hook = false;
  std::optional<Trial> trial, confirmed, rolled_back;
  std::int64_t epoch = 0;
  std::string epoch_of = {};
  std::string called_off = {};
  bool verified = false;  ///< by this run, all that it was asked about

  json answer(const json& request) {
    using Work = json (ImaginedHost::*)(const json&);
    static const std::map<std::string, Work> works = {
        {"lock", &ImaginedHost::lock},
        {"unlock", &ImaginedHost::unlock},
        {"recover", &ImaginedHost::recover},
        {"show-outliving", &ImaginedHost::show_outliving},
        {"is-outlived", &ImaginedHost::is_outlived},
        {"lacking", &ImaginedHost::lacking},
        {"stage", &ImaginedHost::stage},
        {"verify", &ImaginedHost::verify},
        {"requirements", &ImaginedHost::install},
        {"activate", &ImaginedHost::activate},
        {"confirm", &ImaginedHost::confirm},
        {"keep", &ImaginedHost::keep},
        {"clean", &ImaginedHost::clean},
        {"rollback", &ImaginedHost::roll_back}};
    if (request.contains("epoch")) {
      const auto asked = request["epoch"].get<std::int64_t>();
      if (asked < epoch || (asked == epoch && request["run"] != epoch_of))
        return {{"ok", false}, {"problem", "run " + epoch_of + " came after"}, {"locked", true}};
      epoch = asked;
      epoch_of = request["run"].get<std::string>();
    }
    json said = (this->*works.at(step_of(request)))(request);
    if (!said.contains("ok"))
      said["ok"] = true;
    return said;
  }

  /// A request in what a command reads, or null for a program that will be told.
  static json request_of(const ExecInput& input) {
    if (input.bytes.empty())
      return nullptr;
    json request = json::parse(input.bytes);
    if (input.tail)
      request.update(parse(*input.tail));
    return request;
  }

  /// Without its programs: to parse them takes most of the time, and nobody here runs them.
  static json parse(std::string request) {
    for (const std::string key : {"\"dead_man\":\"", "\"hook\":\"", "\"launcher\":\""}) {
      const std::size_t found = request.find(key);
      if (found == std::string::npos)
        continue;
      const std::size_t begin = found + key.size();
      std::size_t end = begin;
      while (request[end] != '"')
        end += request[end] == '\\' ? 2 : 1;
      request.erase(begin, end - begin);
    }
    return json::parse(request);
  }

  static std::string step_of(const json& request) {
    if (request.contains("install"))
      return "requirements";
    return request.value("phase", "confirm");
  }

  /// The time of an activation that nobody decided is over.
  void let_time_pass() {
    if (!trial)
      return;
    trial->over = true;
    if (trial->watched)
      go_back(trial->id, "the coordinator did not confirm it within its time", false);
  }

  HostFacts facts(const std::string& name) const {
    HostFacts facts;
    facts.host = name;
    facts.state = HostFacts::State::reached;
    facts.python.asked = facts.python.executable = "/opt/venv/bin/python";
    facts.distributions.emplace();
    facts.installed.active = active;
    facts.installed.sealed.assign(sealed.begin(), sealed.end());
    facts.installed.hook = hook;
    if (trial)
      facts.installed.activations.trial = {.id = trial->id};
    return facts;
  }

  bool whole() const {
    for (const std::string& release : active) {
      if (!sealed.contains(release))
        return false;
    }
    return true;
  }

 private:
  static json refused(const std::string& problem) { return {{"ok", false}, {"problem", problem}}; }
  static json damage(const std::string& problem, const json& again) {
    return {{"ok", false}, {"problem", problem}, {"checksum", true}, {"again", again}};
  }
  static std::string release_of(const json& manifest) {
    return manifest["wheel"]["sha256"].get<std::string>();
  }

  json lock(const json&) {
    if (!other_run.empty()) {
      return {{"ok", false}, {"problem", "it is locked by run " + other_run}, {"locked", true}};
    }
    return {{"epoch", epoch},
            {"taken_over", ""},
            {"active", active},
            {"trial", trial ? trial->id : ""}};
  }
  json unlock(const json&) { return json::object(); }

  json recover(const json& request) {
    if (!can_return(request["activation"]))
      return refused("the previous release is gone");
    go_back(request["activation"], "its run ended before it was confirmed", false);
    return {{"releases", active}};
  }
  json show_outliving(const json&) {
    return starts ? json::object() : refused("no process could be started");
  }
  json is_outlived(const json&) { return {{"outlives", starts && outlives}}; }

  json lacking(const json& request) {
    if (!request["again"].get<bool>() && sealed.contains(release_of(request["manifest"])))
      return {{"sealed", true}};
    return {{"sealed", false}, {"lacking", {0, 1}}, {"zstd", false}, {"part", nullptr}};
  }
  json stage(const json& request) {
    const std::string release = release_of(request["manifest"]);
    const bool in_use = std::find(active.begin(), active.end(), release) != active.end();
    if (request["again"].get<bool>()) {
      if (in_use)
        return refused("it is active, so it is not staged again");
      sealed.erase(release);
    }
    if (sealed.contains(release))
      return {{"changed", false}};
    if (breaks_bytes)
      return damage("a file was damaged on its way", json::array());
    sealed.insert(release);
    damaged.erase(release);
    return {{"changed", true}};
  }
  json verify(const json& request) {
    json again = json::array();
    std::size_t bad = 0;
    for (const json& manifest : request["manifests"]) {
      const std::string release = release_of(manifest);
      if (sealed.contains(release) && !damaged.contains(release))
        continue;
      ++bad;
      if (std::find(active.begin(), active.end(), release) == active.end())
        again.push_back(release);
    }
    verified = bad == 0;
    if (bad == 0)
      return json::object();
    return damage("a release is damaged", again.size() == bad ? again : json::array());
  }
  json install(const json&) {
    return has_pip ? json{{"changed", true}} : refused("there is no pip");
  }

  json activate(const json& request) {
    const Releases wanted = request["releases"].get<Releases>();
    for (const std::string& release : wanted) {
      if (!sealed.contains(release))
        return refused("the release is not sealed");
    }
    const bool changed = !std::exchange(hook, true);
    const Releases previous = active;
    if (previous == wanted)
      return {{"previous", previous}, {"changed", changed}};
    const std::string id = request["activation"];
    if (trial)
      return refused("another activation of this environment is not decided yet");
    if (id == called_off)
      return refused("it was called off before it began");
    trial = {id, wanted, previous, false};
    rolled_back.reset();
    if (request["armed"].get<bool>()) {
      if (!watches) {
        go_back(id, "it could not be activated", false);
        return refused("no process could be started that outlives this session");
      }
      trial->watched = true;
    }
    active = wanted;
    return {{"previous", previous}, {"changed", true}};
  }
  json confirm(const json& request) {
    for (const json& dist : request["dists"]) {
      const std::string release = dist["release"];
      if (!hook || std::find(active.begin(), active.end(), release) == active.end())
        return {{"ok", false}, {"problem", "another release"}, {"self_tests", json::object()}};
    }
    if (passes)
      return {{"self_tests", {{"demo", "passed"}}}, {"problem", ""}};
    return {{"ok", false},
            {"problem", "self-test of demo failed"},
            {"self_tests", {{"demo", "failed"}}}};
  }

  json clean(const json& /*request*/) { return {{"removed", json::array()}, {"bytes", 0}}; }

  json keep(const json& request) {
    const std::string id = request["activation"];
    if (trial && trial->id == id && !trial->over) {
      trial->watched = false;
      confirmed = std::exchange(trial, std::nullopt);
      return {{"state", "confirmed"}};
    }
    go_back(id, "its confirmation came after its deadline", false);
    if (confirmed && confirmed->id == id)
      return {{"state", "confirmed"}, {"because", ""}};
    if (rolled_back && rolled_back->id == id)
      return {{"state", "rolled-back"}, {"because", rolled_back->because}};
    return refused("nothing of activation " + id + " is known here");
  }
  json roll_back(const json& request) {
    const std::string id = request["activation"];
    if (!can_return(id))
      return refused("the previous release is gone");
    if (!go_back(id, request["because"], true))
      called_off = id;
    return {{"releases", active}};
  }

  bool can_return(const std::string& id) const {
    const std::optional<Trial>& from = trial ? trial : confirmed;
    return !from || from->id != id ||
           std::all_of(from->previous.begin(), from->previous.end(),
                       [this](const std::string& release) { return sealed.contains(release); });
  }
  bool go_back(const std::string& id, const std::string& because, bool confirmed_too) {
    if (trial ? trial->id != id : !confirmed_too || !confirmed || confirmed->id != id)
      return false;
    if (!can_return(id))
      return false;
    rolled_back = trial ? *trial : *confirmed;
    rolled_back->because = because;
    if (!trial)
      confirmed->id += ".back";
    active = rolled_back->previous;
    trial.reset();
    return true;
  }
};

}  // namespace ds
