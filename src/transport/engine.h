// SPDX-License-Identifier: Apache-2.0
//
// Which command runs when: the fan-out, the limit of file descriptors, which connection a command
// gets, and who serves a host.
#pragma once

#include <deque>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "transport/session.h"
#include "transport/ssh_services.h"

namespace ds {

struct Talk;

class Engine : public Transport {
 public:
  explicit Engine(TransportOptions options)
      : options_(std::move(options)), services_(options_, loop_) {
    if (options_.bytes_per_second > 0)
      rate_limit_.emplace(options_.bytes_per_second);
  }
  ~Engine() override;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  void start(const Endpoint& endpoint, Exec exec, Done done) override;
  std::unique_ptr<Conversation> converse(const Endpoint& endpoint, Exec exec, Heard heard,
                                         Done done) override;
  void run() override { attend({}); }
  void attend(std::chrono::milliseconds time) override;
  void hang_up(const Endpoint& endpoint) override;
  void refuse_too_many(const std::vector<Endpoint>& endpoints) override;
  std::vector<std::string> notes() const override;
  std::vector<std::string> warnings() const override { return services_.bastions.warnings(); }

  /// For the handle of a conversation: something changed in its io; it was given up.
  void changed(Talk& talk);
  void drop(Talk& talk);
  Clock::time_point now() const { return loop_.now(); }

 private:
  friend struct Talk;
  struct Connection;
  struct Host {
    Endpoint endpoint;
    SshSettings settings;
    bool resolved = false;
    std::string by_openssh;      ///< why the ssh program serves it
    Connection* kept = nullptr;  ///< the one of start(); made when it is first needed
  };
  struct Order {
    Exec exec;
    Done done;
  };
  /// Of start(), or of one conversation.
  struct Connection : public Loop::Member {
    Connection(Engine& engine, Host& host) : engine(engine), host(host) {}
    void wants(std::vector<pollfd>& waits) const override {
      if (session)
        session->wants(waits);
    }
    Clock::time_point deadline() const override {
      return session ? session->deadline() : Clock::time_point::max();
    }
    void turn() override { engine.move(*this); }
    bool unused() const { return orders.empty() && !talk; }
    bool idle() const { return session && session->idle(); }

    Engine& engine;
    Host& host;
    std::unique_ptr<CommandIo> io;         ///< of the first order, while it runs
    std::shared_ptr<Talk> talk;            ///< the conversation whose connection this is
    std::unique_ptr<HostSession> session;  ///< ends before what it reads from and writes to
    std::deque<Order> orders;              ///< the first is under way while it `runs`
    bool runs = false;                     ///< a command was begun and has not ended
    bool stopped = false;         ///< a conversation that an interrupt found before it had begun
    bool queued = false;          ///< stands in ready_
    bool retired = false;         ///< waits for sweep()
    bool gave_way = false;        ///< its idle connection was closed for want of descriptors
    bool under_way = false;       ///< as counted in busy_
    bool weighs = false;          ///< as counted in weighing_
    std::size_t descriptors = 0;  ///< as counted in descriptors_
  };

  Host& host_of(const Endpoint& endpoint);
  RateLimit* limit_for(const Endpoint& endpoint);
  Connection& connect(Host& host);
  void enqueue(Connection& connection);
  void ask_password();
  void resolve_all();
  void look_at_conversations();
  void admit();
  bool make_room();
  void close(Connection& connection);
  void begin(Connection& connection);
  CommandIo& prepare_io(Connection& connection);
  void make_session(Connection& connection);
  void move(Connection& connection);
  bool hand_over(Connection& connection, ExecResult& result);
  void finish(Connection& connection, ExecResult result);
  static void tell(Talk& talk);
  Done end_talk(Connection& connection, ExecResult& result);
  void retire(Connection& connection);
  void sweep();
  void count(Connection& connection);
  void stop();

  TransportOptions options_;
  Loop loop_;
  SshServices services_;
  std::optional<RateLimit> rate_limit_;
  std::list<Host> hosts_;
  std::map<std::string, Host*> by_key_;
  std::list<Connection> connections_;
  std::deque<Connection*> ready_;  ///< have a command to begin, or an upload to send
  bool retired_any_ = false;
  std::size_t busy_ = 0, descriptors_ = 0;
  int weighing_ = 0;
  std::size_t reopened_ = 0;  ///< connections that had given way
};

/// A conversation: what its handle and its connection share.
struct Talk {
  Talk(Engine& engine, Exec exec, std::chrono::milliseconds stall_limit, RateLimit* limit,
       Transport::Heard heard, Transport::Done done)
      : engine(&engine),
        io(std::move(exec), stall_limit, limit),
        heard(std::move(heard)),
        done(std::move(done)) {}

  Engine* engine;  ///< null once it is over
  Engine::Connection* connection = nullptr;
  ConversationIo io;
  Transport::Heard heard;
  Transport::Done done;
};

/// How many descriptors this process may have, and how many of them sessions.
std::size_t descriptor_limit();
std::size_t descriptors_for_sessions();

/// Descriptors that are not sessions': files, the event loop, the journal, pipes of children.
constexpr std::size_t kReservedDescriptors = 40;
/// What a session may come to hold while it logs in or uploads.
constexpr std::size_t kDescriptorsForOne = 3;

}  // namespace ds
