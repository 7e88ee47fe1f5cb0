// SPDX-License-Identifier: Apache-2.0
//
// What the engine does for commands that stay: the handle that their owner has, what becomes of
// them when they end, are given up or are left alone by an interrupt, and how many fit.
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/file_limit.h"
#include "base/text.h"
#include "transport/engine.h"

namespace ds {
namespace {

/// Rounds in which what has happened to a connection meanwhile comes to light: behind a jump host
/// the tunnel's end follows that of the jump host's connection.
constexpr int kLooks = 4;

class Handle : public Conversation {
 public:
  explicit Handle(std::shared_ptr<Talk> talk) : talk_(std::move(talk)) {}
  ~Handle() override {
    if (open())
      talk_->engine->drop(*talk_);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  void send(ExecInput input, std::chrono::milliseconds limit) override {
    if (!open())
      return;
    talk_->io.send(std::move(input), limit, talk_->engine->now());
    talk_->engine->changed(*talk_);
  }

  void answered() override {
    if (!open())
      return;
    talk_->io.answered();
    talk_->engine->changed(*talk_);
  }

  void end(std::chrono::milliseconds limit) override {
    if (!open())
      return;
    talk_->io.end(limit, talk_->engine->now());
    talk_->engine->changed(*talk_);
  }

  bool open() const override { return talk_->engine != nullptr; }
  std::uint64_t sent() const override { return talk_->io.sent(); }

 private:
  std::shared_ptr<Talk> talk_;
};

}  // namespace

std::unique_ptr<Conversation> Engine::converse(const Endpoint& endpoint, Exec exec, Heard heard,
                                               Done done) {
  Host& host = host_of(endpoint);
  const bool takes_over = host.kept != nullptr && !exec.fresh && host.kept->unused() &&
                          !host.kept->runs && host.kept->idle();
  Connection& connection = takes_over ? *std::exchange(host.kept, nullptr) : connect(host);
  connection.talk = std::make_shared<Talk>(*this, std::move(exec), options_.stall_timeout,
                                           limit_for(endpoint), std::move(heard), std::move(done));
  connection.talk->connection = &connection;
  enqueue(connection);
  return std::make_unique<Handle>(connection.talk);
}

/// Gives the owner the lines that have come; it may give the conversation up meanwhile.
void Engine::tell(Talk& talk) {
  while (talk.engine != nullptr) {
    const std::optional<std::string> line = talk.io.next_line();
    if (!line)
      return;
    talk.heard(*line);
  }
}

void Engine::changed(Talk& talk) {
  Connection& connection = *talk.connection;
  if (connection.runs && connection.session)
    loop_.wake(connection);
  count(connection);
}

void Engine::drop(Talk& talk) {
  Connection& connection = *talk.connection;
  talk.engine = nullptr;
  // A callback of the conversation may be what gives it up: `talk` lives on with its handle.
  connection.session.reset();
  connection.talk.reset();
  connection.runs = false;
  retire(connection);
}

/// The conversation is over. Its connection, if it is still good, becomes the endpoint's kept one.
Engine::Done Engine::end_talk(Connection& connection, ExecResult& result) {
  const std::shared_ptr<Talk> talk = std::exchange(connection.talk, nullptr);
  talk->engine = nullptr;
  talk->connection = nullptr;
  if (talk->io.begun())
    result.out = talk->io.take_out();
  result.sent_bytes = talk->io.sent();
  Connection*& kept = connection.host.kept;
  const bool room = kept == nullptr || (kept->unused() && !kept->runs && !kept->session);
  if (room && connection.idle()) {
    if (kept != nullptr)
      retire(*kept);
    kept = &connection;
    if (std::exchange(connection.queued, false))
      std::erase(ready_, &connection);
  } else {
    connection.session.reset();
    retire(connection);
  }
  return std::move(talk->done);
}

/// Nobody will use it again. It may be having its turn, so sweep() destroys it.
void Engine::retire(Connection& connection) {
  loop_.forget(connection);
  if (std::exchange(connection.queued, false))
    std::erase(ready_, &connection);
  connection.retired = retired_any_ = true;
  count(connection);
}

void Engine::sweep() {
  if (std::exchange(retired_any_, false))
    std::erase_if(connections_, [](const Connection& connection) { return connection.retired; });
}

/// Whatever happened to their connections since the loop last turned.
void Engine::look_at_conversations() {
  bool any = false;
  for (Connection& connection : connections_) {
    if (connection.talk && connection.runs && connection.session) {
      loop_.wake(connection);
      any = true;
    }
  }
  for (int i = 0; any && i < kLooks && loop_.round(Loop::Wait::no); ++i) {
  }
}

/// After an exception: what has begun and stays is left as it is, all else is closed.
void Engine::stop() {
  ready_.clear();
  for (Connection& connection : connections_) {
    connection.queued = false;
    if (connection.talk && connection.runs && connection.talk->io.begun()) {
      count(connection);
      continue;
    }
    loop_.forget(connection);
    connection.session.reset();
    connection.io.reset();
    connection.orders.clear();
    connection.runs = false;
    count(connection);
    if (connection.talk) {
      connection.stopped = true;
      enqueue(connection);
    }
  }
  sweep();
}

Engine::~Engine() {
  for (Connection& connection : connections_) {
    loop_.forget(connection);
    connection.session.reset();
    if (connection.talk)
      connection.talk->engine = nullptr;
  }
}

void Engine::hang_up(const Endpoint& endpoint) {
  Connection* const kept = host_of(endpoint).kept;
  if (kept != nullptr && !kept->runs && kept->idle())
    close(*kept);
}

void Engine::refuse_too_many(const std::vector<Endpoint>& endpoints) {
  std::vector<const Host*> hosts;
  for (const Endpoint& endpoint : endpoints)
    hosts.push_back(&host_of(endpoint));
  resolve_all();
  std::size_t held = 0;
  for (const Host* host : hosts) {
    const bool by_process =
        host->endpoint.kind == Endpoint::Kind::local || !host->by_openssh.empty();
    const bool through = !host->settings.jumps.empty() || !host->settings.proxy_command.empty();
    held += by_process ? 3 : through ? 2 : 1;
  }
  const std::size_t at_work =
      std::min(hosts.size(), static_cast<std::size_t>(std::max(options_.fanout, 1)));
  const std::size_t needed = kReservedDescriptors + held + at_work * kDescriptorsForOne;
  raise_file_limit();
  if (needed > descriptor_limit()) {
    throw UsageError(
        fmt::format("{} at one time need {} open files, but this process may open {}",
                    ds::count(hosts.size(), "host"), needed, descriptor_limit()),
        fmt::format("raise the limit with `ulimit -n {}` before the start (a hard limit is raised "
                    "by root, limits.conf(5)), or take fewer hosts",
                    needed));
  }
}

}  // namespace ds
