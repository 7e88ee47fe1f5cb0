// SPDX-License-Identifier: Apache-2.0
//
// A fleet of imagined hosts behind a FakeTransport, and what goes wrong with them by a script.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/text.h"
#include "support/fake_transport.h"
#include "support/imagined_host.h"

namespace ds {

/// Of one contact with a host. "after": it did what it was asked to, and the answer is what fails.
enum class Fault {
  lost,
  lost_after,
  silent,
  silent_after,
  late,   ///< no answer; done before the next contact
  later,  ///< no answer; done after it
  malformed,
  hostile,
  no,
  damaged,
  killed,
  killed_after,
  ended,  ///< without an answer
  ended_after,
  flooded_after,
  unreachable,
  login_refused,
  key_refused,
  dead,
  dead_after,
  // What the host is like from then on.
  other_run,
  overtaken,
  moved_on,    ///< another run has brought it to the new release, and ended
  moved_away,  ///< likewise to the old one
  time_over,
  fails_test,
  ill,
  unstarted,
  undefended,
  unwatched,
  previous_gone,
  no_pip,
  breaks_bytes,
  // Of the coordinator.
  interrupt,
  interrupt_after,
  error,
  error_after,
  exception_after,
};
inline constexpr int fault_count = static_cast<int>(Fault::exception_after) + 1;

inline bool is_of_coordinator(Fault fault) {
  return fault >= Fault::interrupt;
}

/// While nobody holds the lock, and only then.
inline bool moves_a_host(Fault fault) {
  return fault == Fault::moved_on || fault == Fault::moved_away;
}

struct FaultEvent {
  std::size_t host = 0;
  std::string step;  ///< begin, lock, ... as of requests
  int time = 0;      ///< 0: the first contact of that step
  Fault fault = Fault::lost;
  int many = 1;  ///< connections that are refused
  bool happened = false;
};

class ImaginedHosts {
 public:
  using json = nlohmann::json;
  struct Entry {
    std::string name;
    ImaginedHost host;
    bool dead = false;
    bool asked = false;                                ///< it was sent something
    bool hit = false;                                  ///< by a fault of its own
    std::optional<ImaginedHost::Releases> moved = {};  ///< to these, by another run
    std::map<std::string, int> times = {};
    std::deque<ExecResult::Outcome> refusals = {};  ///< of its next connections
    std::optional<json> pending = {};               ///< it will still do that
    bool pending_later = false, pending_heard = false;
    std::vector<std::string> unheard = {};  ///< answers that are under way
  };
  static constexpr int most_contacts = 1500;

  std::vector<Entry> entries;
  std::vector<FaultEvent> events;
  std::function<void(const std::string& step, const Entry& host)> look;  ///< after each act
  ImaginedHost::Releases old_releases, new_releases;                     ///< that other runs bring
  int contacts = 0;
  std::string trace;
  FakeTransport transport;

  ImaginedHosts()
      : transport([this](const Endpoint& at, const Exec& exec) { return command(at, exec); },
                  [this](const Endpoint& at, const ExecInput& input) { return told(at, input); }) {}
  ImaginedHosts(const ImaginedHosts&) = delete;
  ImaginedHosts& operator=(const ImaginedHosts&) = delete;

  /// Nobody is there any more but the hosts.
  void let_time_pass() {
    for (Entry& entry : entries) {
      do_pending(entry);
      entry.host.let_time_pass();
    }
  }

 private:
  using Reply = FakeTransport::Reply;
  using Outcome = ExecResult::Outcome;

  static ExecResult ended(Outcome outcome) {
    ExecResult result;
    result.outcome = outcome;
    result.message = "the connection broke";
    if (outcome == Outcome::exited) {
      result.exit_status = 1;
      result.err = "Traceback\n\x1b[31mKeyError";
    }
    return result;
  }
  static Reply ending(Outcome outcome) { return {{}, ended(outcome)}; }

  Entry& at(const Endpoint& endpoint) {
    for (Entry& entry : entries) {
      if (endpoint.name == entry.name || endpoint.name == "coordinator for " + entry.name)
        return entry;
    }
    throw std::logic_error("no host " + endpoint.name);
  }

  ExecResult command(const Endpoint& endpoint, const Exec& exec) {
    Entry& entry = at(endpoint);
    const bool health = exec.input.empty();
    const json request = ImaginedHost::request_of(exec.input);
    const std::string step = health              ? "health"
                             : request.is_null() ? "begin"
                                                 : ImaginedHost::step_of(request);
    const bool here = endpoint.kind == Endpoint::Kind::local;
    if (request.is_null() && !health)
      entry.unheard.clear();
    const Reply reply = contact(entry, step, request, !here);
    ExecResult result = reply.ends.value_or(ExecResult{});
    if (!reply.ends && reply.lines.empty())
      result = ended(Outcome::timed_out);
    else if (!reply.ends)
      result.exit_status = health && !entry.host.healthy ? 3 : 0;
    for (const std::string& line : reply.lines)
      result.out += line + "\n";
    return result;
  }

  Reply told(const Endpoint& endpoint, const ExecInput& input) {
    if (!input.bytes.starts_with('{'))
      return {};
    Entry& entry = at(endpoint);
    const json request = ImaginedHost::request_of(input);
    Reply reply = contact(entry, ImaginedHost::step_of(request), request, false);
    entry.unheard.insert(entry.unheard.end(), reply.lines.begin(), reply.lines.end());
    if (!reply.lines.empty() || reply.ends)
      reply.lines = std::exchange(entry.unheard, {});
    return reply;
  }

  FaultEvent* event_of(const Entry& entry, const std::string& step, int time) {
    for (FaultEvent& event : events) {
      if (&entries[event.host] == &entry && event.step == step && event.time == time &&
          !event.happened)
        return &event;
    }
    return nullptr;
  }

  Reply contact(Entry& entry, const std::string& step, const json& request, bool connects) {
    trace += " " + entry.name + ":" + step;
    entry.asked = true;
    if (++contacts > most_contacts)
      throw Interrupted{};
    const int time = entry.times[step]++;
    if (entry.dead)
      return ending(connects ? Outcome::unreachable : Outcome::lost);
    if (connects && !entry.refusals.empty()) {
      const Outcome refusal = entry.refusals.front();
      entry.refusals.pop_front();
      trace += "(refused)";
      return ending(refusal);
    }
    const bool late = std::exchange(entry.pending_later, false);
    if (!late)
      do_pending(entry);
    const Reply reply = do_with_fault(entry, step, request, connects, time);
    if (late)
      do_pending(entry);
    return reply;
  }

  Reply do_with_fault(Entry& entry, const std::string& step, const json& request, bool connects,
                      int time) {
    FaultEvent* event = event_of(entry, step, time);
    if (event == nullptr)
      return act(entry, step, request);
    event->happened = true;
    trace += "(!)";
    const Fault fault = event->fault;
    entry.hit = entry.hit || !is_of_coordinator(fault);
    if (is_of_coordinator(fault))
      return act_and_throw(entry, step, request, connects, fault);
    if (fault >= Fault::other_run) {
      change(entry, fault);
      return act(entry, step, request);
    }
    if (fault >= Fault::unreachable && fault <= Fault::key_refused)
      return refuse(entry, *event, connects);
    return fail(entry, step, request, connects, fault);
  }

  Reply act(Entry& entry, const std::string& step, const json& request) {
    Reply reply;
    if (request.is_null()) {
      reply.lines.emplace_back("Welcome");
    } else {
      const json answer = entry.host.answer(request);
      reply.lines.push_back(request["nonce"].get<std::string>() + " " + answer.dump());
      // What is left of a stream is no request.
      if (step == "stage" && !answer.value("changed", false))
        reply.ends = ended(Outcome::exited);
    }
    if (look)
      look(step, entry);
    return reply;
  }

  void do_pending(Entry& entry) {
    if (!entry.pending)
      return;
    const json request = *std::exchange(entry.pending, std::nullopt);
    const Reply reply = act(entry, ImaginedHost::step_of(request), request);
    if (std::exchange(entry.pending_heard, false))
      entry.unheard = reply.lines;
  }

  Reply fail(Entry& entry, const std::string& step, const json& request, bool connects,
             Fault fault) {
    const std::string nonce = request.is_null() ? "" : request["nonce"].get<std::string>() + " ";
    static const std::map<Fault, Outcome> before = {{Fault::lost, Outcome::lost},
                                                    {Fault::killed, Outcome::signalled},
                                                    {Fault::ended, Outcome::exited},
                                                    {Fault::dead, Outcome::lost}};
    static const std::map<Fault, Outcome> after = {
        {Fault::lost_after, Outcome::lost},        {Fault::silent_after, Outcome::timed_out},
        {Fault::killed_after, Outcome::signalled}, {Fault::ended_after, Outcome::exited},
        {Fault::flooded_after, Outcome::flooded},  {Fault::dead_after, Outcome::lost}};
    entry.dead = fault == Fault::dead || fault == Fault::dead_after;
    if (const auto found = before.find(fault); found != before.end())
      return ending(found->second);
    if (fault == Fault::no)
      return {{nonce + R"({"ok": false, "problem": "\u001b[31mno\nnever"})"}, {}};
    if (fault == Fault::damaged)
      return {{nonce + R"({"ok": false, "problem": "it is damaged", "checksum": true})"}, {}};
    if (fault == Fault::late || fault == Fault::later) {
      if (!request.is_null())
        entry.pending = request;
      entry.pending_later = fault == Fault::later;
    }
    if (fault == Fault::silent || fault == Fault::late || fault == Fault::later)
      return {};
    act(entry, step, request);
    if (const auto found = after.find(fault); found != after.end()) {
      if (fault == Fault::silent_after && !connects)
        return {};
      return ending(found->second);
    }
    return {{nonce + (fault == Fault::malformed ? R"({"ok": tru)" : hostile_text(entry))}, {}};
  }

  /// What no host of ours says, of one that did what it was asked to.
  static std::string hostile_text(const Entry& entry) {
    static const std::vector<std::string> texts = {
        R"([])", R"({"ok": "yes"})",
        R"({"ok": true, "releases": ["../../etc"], "previous": ["x"], "active": [1],)"
        R"( "epoch": 1e99, "self_tests": [1], "figures": [{"seconds": "1"}], "outlives": {},)"
        R"( "sealed": 7, "state": [], "changed": "x", "again": {"a": 1}})",
        R"({"ok": 1, "problem": {"a": []}, "checksum": "no"})", R"({"problem": 12})"};
    return texts[static_cast<std::size_t>(entry.name.back()) % texts.size()];
  }

  Reply refuse(Entry& entry, const FaultEvent& event, bool connects) {
    const Outcome outcome = event.fault == Fault::login_refused ? Outcome::login_refused
                            : event.fault == Fault::key_refused ? Outcome::host_key_refused
                                                                : Outcome::unreachable;
    for (int more = connects ? 1 : 0; more < event.many; ++more)
      entry.refusals.push_back(outcome);
    return ending(connects ? outcome : Outcome::lost);
  }

  static void move(Entry& entry, const ImaginedHost::Releases& to) {
    ImaginedHost& host = entry.host;
    entry.moved = to;
    if (host.trial)
      host.confirmed = std::exchange(host.trial, std::nullopt);
    host.active = to;
    host.sealed.insert(to.begin(), to.end());
    host.hook = true;
    host.epoch += 1;
    host.epoch_of = "other";
  }

  void change(Entry& entry, Fault fault) {
    ImaginedHost& host = entry.host;
    switch (fault) {
      case Fault::other_run:
        host.other_run = "other";
        break;
      case Fault::overtaken:
        host.epoch += 5;
        host.epoch_of = "later";
        break;
      case Fault::moved_on:
      case Fault::moved_away:
        move(entry, fault == Fault::moved_on ? new_releases : old_releases);
        break;
      case Fault::time_over:
        host.let_time_pass();
        break;
      case Fault::previous_gone:
        if (host.trial || host.confirmed) {
          for (const std::string& release : (host.trial ? host.trial : host.confirmed)->previous)
            host.sealed.erase(release);
        }
        break;
      default:
        host.passes = host.passes && fault != Fault::fails_test;
        host.healthy = host.healthy && fault != Fault::ill;
        host.starts = host.starts && fault != Fault::unstarted;
        host.outlives = host.outlives && fault != Fault::undefended;
        host.watches = host.watches && fault != Fault::unwatched;
        host.has_pip = host.has_pip && fault != Fault::no_pip;
        host.breaks_bytes = host.breaks_bytes || fault == Fault::breaks_bytes;
    }
  }

  Reply act_and_throw(Entry& entry, const std::string& step, const json& request, bool connects,
                      Fault fault) {
    const bool after = fault != Fault::interrupt && fault != Fault::error;
    if (after) {
      const Reply reply = act(entry, step, request);
      if (!connects)
        entry.unheard.insert(entry.unheard.end(), reply.lines.begin(), reply.lines.end());
    } else if (!connects && !request.is_null()) {
      // It is written at the next run, or was and will be read.
      entry.pending = request;
      entry.pending_heard = true;
    }
    if (fault == Fault::interrupt || fault == Fault::interrupt_after)
      throw Interrupted{};
    if (fault == Fault::exception_after)
      throw std::runtime_error("no memory");
    throw Error("the coordinator's disk is full");
  }
};

}  // namespace ds
