// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "transport/transport.h"

namespace ds {

/// A Transport without a network: `answer` decides what each command gives; what was sent is kept.
/// A command that stays begins if `answer` says ok(), and then `reply` decides what each request
/// gives. A request that nobody answers is `timed_out` once nothing else is left to do. Both may
/// throw: then conversations live on as Transport::run() promises. What is under way ends in the
/// order in which it began, or as `choose` says.
class FakeTransport : public Transport {
 public:
  struct Sent {
    std::string host;
    Exec exec;
  };
  struct Told {
    std::string host;
    ExecInput input;
    std::chrono::milliseconds limit;
  };
  struct Reply {
    std::vector<std::string> lines;
    std::optional<ExecResult> ends;  ///< the command, after these lines
  };
  using Answer = std::function<ExecResult(const Endpoint&, const Exec&)>;
  using Replies = std::function<Reply(const Endpoint&, const ExecInput&)>;
  explicit FakeTransport(Answer answer, Replies replies = {})
      : answer_(std::move(answer)), replies_(std::move(replies)) {}

  void start(const Endpoint& endpoint, Exec exec, Done done) override {
    queue_.push_back({endpoint, std::move(exec), std::move(done), nullptr, {}});
  }

  std::unique_ptr<Conversation> converse(const Endpoint& endpoint, Exec exec, Heard heard,
                                         Done done) override {
    const auto talk = std::make_shared<Talk>();
    talk->endpoint = endpoint;
    talk->heard = std::move(heard);
    talk->done = std::move(done);
    const ExecInput first = exec.input;
    talks_.push_back(talk);
    queue_.push_back({endpoint, std::move(exec), {}, talk, {}});
    auto handle = std::make_unique<Handle>(*this, talk);
    if (!first.empty())
      handle->send(first, std::chrono::milliseconds(0));
    return handle;
  }

  void run() override {
    try {
      while (serve_one() || give_up_one()) {
      }
    } catch (...) {
      std::erase_if(queue_, [](const Item& item) { return !item.request; });
      for (const std::shared_ptr<Talk>& talk : talks_)
        talk->lost |= !talk->begun;
      throw;
    }
  }
  void attend(std::chrono::milliseconds /*time*/) override { run(); }
  void hang_up(const Endpoint& endpoint) override { hung_up.push_back(endpoint.name); }
  void refuse_too_many(const std::vector<Endpoint>& endpoints) override {
    if (endpoints.size() > room)
      throw UsageError("too many hosts for this process", "ulimit -n 5000");
  }

  /// The connection of the host's conversations ends; the next run() notices.
  void lose(const std::string& host) {
    for (const std::shared_ptr<Talk>& talk : talks_)
      talk->lost |= talk->endpoint.name == host;
  }

  std::vector<Sent> sent;
  std::vector<Told> told;
  std::vector<std::string> hung_up;
  /// Which of so many things is next; 0: the one that waits longest.
  std::function<std::size_t(std::size_t number)> choose;
  std::size_t room = std::numeric_limits<std::size_t>::max();  ///< for refuse_too_many()

 private:
  struct Talk {
    Endpoint endpoint;
    Heard heard;
    Done done;
    bool open = true, begun = false, lost = false, awaited = false, ending = false;
    std::uint64_t sent = 0;
  };
  struct Item {
    Endpoint endpoint;
    Exec exec;
    Done done;
    std::shared_ptr<Talk> talk;
    std::optional<Told> request;
    bool ends = false;
  };
  class Handle : public Conversation {
   public:
    Handle(FakeTransport& transport, std::shared_ptr<Talk> talk)
        : transport_(transport), talk_(std::move(talk)) {}
    ~Handle() override { talk_->open = false; }
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;
    void send(ExecInput input, std::chrono::milliseconds limit) override {
      push(std::move(input), limit, false);
    }
    void answered() override { talk_->awaited = false; }
    void end(std::chrono::milliseconds limit) override { push({}, limit, true); }
    bool open() const override { return talk_->open; }
    std::uint64_t sent() const override { return talk_->sent; }

   private:
    void push(ExecInput input, std::chrono::milliseconds limit, bool ends) {
      if (!talk_->open || talk_->ending)
        return;
      talk_->awaited |= limit.count() > 0;
      talk_->ending = ends;
      transport_.queue_.push_back({talk_->endpoint,
                                   {},
                                   {},
                                   talk_,
                                   Told{talk_->endpoint.name, std::move(input), limit},
                                   ends});
    }
    FakeTransport& transport_;
    std::shared_ptr<Talk> talk_;
  };

  static ExecResult ended(ExecResult::Outcome outcome, const std::string& message) {
    ExecResult result;
    result.outcome = outcome;
    result.message = message;
    return result;
  }

  static void finish(Talk& talk, ExecResult result) {
    if (!std::exchange(talk.open, false))
      return;
    result.sent_bytes = talk.sent;
    const Done done = std::move(talk.done);
    done(std::move(result));
  }

  bool serve_one() {
    std::erase_if(talks_, [](const std::shared_ptr<Talk>& talk) { return !talk->open; });
    for (const std::shared_ptr<Talk>& talk : std::vector(talks_)) {
      if (talk->lost) {
        finish(*talk, ended(ExecResult::Outcome::lost, "the connection broke"));
        return true;
      }
    }
    if (queue_.empty())
      return false;
    Item next = take_next();
    if (next.request) {
      serve(*next.talk, next);
    } else if (!next.talk || next.talk->open) {
      sent.push_back({next.endpoint.name, next.exec});
      ExecResult result = answer_(next.endpoint, next.exec);
      if (!next.talk)
        next.done(std::move(result));
      else if (!(next.talk->begun = result.ok()))
        finish(*next.talk, std::move(result));
    }
    return true;
  }

  /// A conversation's own items stay in their order.
  Item take_next() {
    std::vector<std::size_t> first;
    std::set<const Talk*> seen;
    for (std::size_t at = 0; at < queue_.size() && (choose || first.empty()); ++at) {
      if (!queue_[at].talk || seen.insert(queue_[at].talk.get()).second)
        first.push_back(at);
    }
    const std::size_t at = choose ? first.at(choose(first.size())) : 0;
    Item next = std::move(queue_[at]);
    queue_.erase(queue_.begin() + static_cast<std::ptrdiff_t>(at));
    return next;
  }

  void serve(Talk& talk, const Item& item) {
    if (!talk.open)
      return;
    if (item.ends) {
      ExecResult result;
      result.exit_status = 0;
      finish(talk, std::move(result));
      return;
    }
    const ExecInput& input = item.request->input;
    told.push_back(*item.request);
    if (!input.file.empty())
      talk.sent += std::filesystem::file_size(input.file) - input.offset;
    const Reply reply = replies_ ? replies_(talk.endpoint, input) : Reply{};
    for (const std::string& line : reply.lines) {
      if (talk.open)
        talk.heard(line);
    }
    if (reply.ends)
      finish(talk, *reply.ends);
  }

  /// Nobody says anything any more: an answer that is awaited will not come.
  bool give_up_one() {
    for (const std::shared_ptr<Talk>& talk : std::vector(talks_)) {
      if (talk->open && talk->awaited) {
        finish(*talk, ended(ExecResult::Outcome::timed_out, "the command gave no answer"));
        return true;
      }
    }
    return false;
  }

  Answer answer_;
  Replies replies_;
  std::deque<Item> queue_;
  std::vector<std::shared_ptr<Talk>> talks_;
};

}  // namespace ds
