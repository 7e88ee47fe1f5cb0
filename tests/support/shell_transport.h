// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/text.h"
#include "support/input_text.h"
#include "transport/transport.h"

namespace ds {

/// A Transport that runs every script here and now, after `tamper` had its way with the input (it
/// may throw) and before `spoil` has its way with the answer. A command that stays is a child of
/// this process, whatever the endpoint; `tamper` sees each request as it is sent.
class ShellTransport : public Transport {
 public:
  using Tamper = std::function<void(const Endpoint&, std::string& input)>;
  using Spoil = std::function<void(const Endpoint&, const std::string& input, ExecResult&)>;
  explicit ShellTransport(Tamper tamper = {}, Spoil spoil = {})
      : tamper_(std::move(tamper)), spoil_(std::move(spoil)) {}

  void start(const Endpoint& endpoint, Exec exec, Done done) override {
    queue_.push_back({endpoint, std::move(exec), std::move(done)});
  }

  std::unique_ptr<Conversation> converse(const Endpoint& endpoint, Exec exec, Heard heard,
                                         Done done) override {
    scripts.push_back(exec.script);
    Endpoint here;
    here.kind = Endpoint::Kind::local;
    here.name = endpoint.name;
    auto talk = std::make_shared<Talk>();
    talk->endpoint = endpoint;
    talk->heard = std::move(heard);
    talk->done = std::move(done);
    const std::weak_ptr<Talk> it = talk;
    talk->child = children_->converse(
        here, std::move(exec), [this, it](std::string_view line) { take_line(it.lock(), line); },
        [this, it](ExecResult result) { take_end(it.lock(), std::move(result)); });
    talks_.push_back(talk);
    return std::make_unique<Handle>(*this, std::move(talk));
  }

  /// The connection of the host's conversations ends; the next run() notices.
  void lose(const std::string& host) {
    for (const std::shared_ptr<Talk>& talk : talks_)
      talk->lost |= talk->endpoint.name == host;
  }

  void attend(std::chrono::milliseconds time) override {
    run();
    children_->attend(time);
  }
  void hang_up(const Endpoint& endpoint) override { hung_up.push_back(endpoint.name); }
  void refuse_too_many(const std::vector<Endpoint>& /*endpoints*/) override {}

  void run() override {
    try {
      end_lost();
      do {
        run_scripts();
        children_->run();
      } while (!queue_.empty());
    } catch (...) {
      queue_.clear();
      throw;
    }
  }

  std::vector<std::string> scripts, hung_up;

 private:
  struct Talk {
    Endpoint endpoint;
    Heard heard;
    Done done;
    std::unique_ptr<Conversation> child;
    std::string asked;  ///< the last request, as it was sent
    bool lost = false, closed = false;
    std::uint64_t sent = 0;  ///< when it was lost
  };
  /// A command that ends, or a request of one that stays.
  struct Queued {
    Endpoint endpoint;
    Exec exec;
    Done done;
    std::shared_ptr<Talk> talk = nullptr;
    ExecInput input = {};
    std::chrono::milliseconds limit = {};
  };
  class Handle : public Conversation {
   public:
    Handle(ShellTransport& transport, std::shared_ptr<Talk> talk)
        : transport_(transport), talk_(std::move(talk)) {}
    ~Handle() override {
      talk_->lost = false;
      talk_->closed = true;
      talk_->child.reset();
    }
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;
    void send(ExecInput input, std::chrono::milliseconds limit) override {
      if (open())
        transport_.queue_.push_back({talk_->endpoint, {}, {}, talk_, std::move(input), limit});
    }
    void answered() override {
      if (open())
        talk_->child->answered();
    }
    void end(std::chrono::milliseconds limit) override {
      if (open())
        talk_->child->end(limit);
    }
    bool open() const override { return talk_->child && talk_->child->open(); }
    std::uint64_t sent() const override {
      return talk_->child ? talk_->child->sent() : talk_->sent;
    }

   private:
    ShellTransport& transport_;
    std::shared_ptr<Talk> talk_;
  };

  /// What is left of the file, if there is one, is a file again.
  ExecInput tampered(const Endpoint& endpoint, ExecInput input) {
    if (!tamper_)
      return input;
    std::string text = text_of(input);
    if (!input.file.empty())
      text += read_file(input.file).substr(input.offset);
    tamper_(endpoint, text);
    if (input.file.empty())
      return {text, {}, 0};
    const std::size_t bytes = std::min(text.size(), input.text_size());
    const std::string file = folder_.path() / ("upload" + std::to_string(++uploads_));
    write_file(file, text.substr(bytes));
    return {text.substr(0, bytes), file, 0};
  }

  /// As spoil_ would have it: a line, or the end.
  void take_line(const std::shared_ptr<Talk>& talk, std::string_view line) {
    ExecResult result;
    result.exit_status = 0;
    result.out = line;
    if (spoil_ && line.find('{') != std::string_view::npos)
      spoil_(talk->endpoint, talk->asked, result);
    if (result.outcome == ExecResult::Outcome::exited && result.out.empty() == line.empty()) {
      talk->heard(result.out);
      return;
    }
    result.sent_bytes = talk->child->sent();
    talk->sent = result.sent_bytes;
    talk->closed = true;
    talk->child.reset();
    talk->done(std::move(result));
  }

  void take_end(const std::shared_ptr<Talk>& talk, ExecResult result) {
    if (spoil_)
      spoil_(talk->endpoint, talk->asked, result);
    talk->done(std::move(result));
  }

  /// Input that is shorter than it was is all that comes.
  void tell(const Queued& told) {
    Talk& talk = *told.talk;
    if (talk.closed || !talk.child || !talk.child->open())
      return;
    const std::size_t before = size_of(told.input);
    ExecInput input = tampered(told.endpoint, told.input);
    talk.asked = text_of(input);
    const bool cut = size_of(input) < before;
    talk.child->send(std::move(input), told.limit);
    if (cut)
      talk.child->end(std::chrono::seconds(30));
    children_->run();
  }

  static std::size_t size_of(const ExecInput& input) {
    return input.text_size() +
           (input.file.empty() ? 0 : std::filesystem::file_size(input.file) - input.offset);
  }

  void end_lost() {
    for (const std::shared_ptr<Talk>& talk : std::vector(talks_)) {
      if (!std::exchange(talk->lost, false) || !talk->child || !talk->child->open())
        continue;
      talk->sent = talk->child->sent();
      talk->child.reset();
      ExecResult result;
      result.outcome = ExecResult::Outcome::lost;
      result.message = "the connection broke";
      result.sent_bytes = talk->sent;
      talk->done(std::move(result));
    }
    std::erase_if(talks_, [](const std::shared_ptr<Talk>& talk) { return !talk->child; });
  }

  void run_scripts() {
    while (!queue_.empty()) {
      Queued next = std::move(queue_.front());
      queue_.pop_front();
      if (next.talk)
        tell(next);
      else
        next.done(execute(next.endpoint, next.exec));
    }
  }

  ExecResult execute(const Endpoint& endpoint, const Exec& exec) {
    scripts.push_back(exec.script);
    std::string input = text_of(exec.input);
    if (!exec.input.file.empty())
      input += read_file(exec.input.file).substr(exec.input.offset);
    if (tamper_)
      tamper_(endpoint, input);
    const std::string base = folder_.path().string();
    write_file(base + "/script", exec.script);
    write_file(base + "/in", input);
    const std::string command =
        "/bin/sh " + base + "/script < " + base + "/in > " + base + "/out 2> " + base + "/err";
    const int status = std::system(command.c_str());
    ExecResult result;
    result.exit_status = WEXITSTATUS(status);
    result.out = read_file(base + "/out");
    result.err = read_file(base + "/err");
    result.sent_bytes = input.size();
    if (spoil_)
      spoil_(endpoint, input, result);
    return result;
  }

  Tamper tamper_;
  Spoil spoil_;
  std::deque<Queued> queue_;
  TempDir folder_;
  int uploads_ = 0;
  std::unique_ptr<Transport> children_ = make_transport({});
  std::vector<std::shared_ptr<Talk>> talks_;
};

}  // namespace ds
