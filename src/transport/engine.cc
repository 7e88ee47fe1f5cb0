// SPDX-License-Identifier: Apache-2.0
//
// The event loop: one thread, poll(2), every session a state machine.
#include <algorithm>
#include <deque>
#include <map>

#include "base/error.h"
#include "base/interrupt.h"
#include "transport/session.h"

namespace ds {
namespace {

std::string key_of(const Endpoint& endpoint) {
  return std::string(endpoint.kind == Endpoint::Kind::local ? "local" : "ssh") + "\n" +
         endpoint.name + "\n" + endpoint.address + "\n" + endpoint.user + "\n" +
         std::to_string(endpoint.port) + "\n" + endpoint.identity;
}

class Engine : public Transport {
 public:
  explicit Engine(TransportOptions options) : options_(std::move(options)) {}

  void start(const Endpoint& endpoint, Exec exec, Done done) override {
    Connection& connection = connections_[key_of(endpoint)];
    connection.endpoint = endpoint;
    connection.queue.push_back({std::move(exec), std::move(done)});
  }

  void run() override {
    try {
      while (admit())
        turn();
    } catch (...) {
      connections_.clear();
      throw;
    }
  }

 private:
  struct Order {
    Exec exec;
    Done done;
  };
  struct Connection {
    Endpoint endpoint;
    std::unique_ptr<HostSession> session;
    std::deque<Order> queue;
    bool busy = false;
    Done done;
  };

  /// Starts what the fan-out allows. False when nothing is queued or under way.
  bool admit() {
    int busy = 0;
    for (const auto& [key, connection] : connections_)
      busy += connection.busy ? 1 : 0;
    for (auto& [key, connection] : connections_) {
      if (busy >= options_.fanout)
        break;
      if (connection.busy || connection.queue.empty())
        continue;
      begin(connection);
      ++busy;
    }
    return busy > 0;
  }

  void begin(Connection& connection) {
    if (!connection.session) {
      connection.session = connection.endpoint.kind == Endpoint::Kind::local
                               ? make_local_session()
                               : make_ssh_session(connection.endpoint, options_);
    }
    Order order = std::move(connection.queue.front());
    connection.queue.pop_front();
    connection.done = std::move(order.done);
    connection.busy = true;
    connection.session->begin(std::move(order.exec));
  }

  /// One round: wait for any session, let those that are due move.
  void turn() {
    std::vector<pollfd> waits{{interrupt_fd(), POLLIN, 0}};
    std::vector<std::pair<Connection*, std::size_t>> ends;
    Clock::time_point due = Clock::now() + std::chrono::seconds(60);
    for (auto& [key, connection] : connections_) {
      if (!connection.busy)
        continue;
      connection.session->wants(waits);
      ends.emplace_back(&connection, waits.size());
      due = std::min(due, connection.session->deadline());
    }
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(due - Clock::now()).count();
    ::poll(waits.data(), waits.size(), static_cast<int>(std::clamp<long>(left + 1, 0, 60000)));
    check_interrupt();
    std::size_t at = 1;
    for (const auto& [connection, end] : ends) {
      bool ready = false;
      for (; at < end; ++at)
        ready |= waits[at].revents != 0;
      move(*connection, ready);
    }
  }

  void move(Connection& connection, bool ready) {
    std::optional<ExecResult> result;
    if (ready)
      result = connection.session->step();
    if (!result && Clock::now() >= connection.session->deadline()) {
      result = connection.session->expire();
    }
    if (!result)
      return;
    connection.busy = false;
    // A broken connection is made anew for the next command.
    if (result->outcome != ExecResult::Outcome::exited)
      connection.session.reset();
    const Done done = std::move(connection.done);
    done(std::move(*result));
  }

  TransportOptions options_;
  std::map<std::string, Connection> connections_;
};

}  // namespace

std::unique_ptr<Transport> make_transport(TransportOptions options) {
  return std::make_unique<Engine>(std::move(options));
}

}  // namespace ds
