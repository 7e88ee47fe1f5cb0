// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <list>
#include <memory>
#include <string>

#include "transport/ssh_link.h"

namespace ds {

/// The connection to one jump host and the tunnels that go through it.
class Bastion : public Loop::Member {
 public:
  /// One tunnel, as the loop sees it: the end of a socket pair that the host's session has not.
  struct Tunnel : public Loop::Member {
    Tunnel(Bastion& bastion, std::string host, int port, Loop::Member& owner)
        : bastion(&bastion), host(std::move(host)), port(port), owner(owner) {}
    void wants(std::vector<pollfd>& waits) const override;
    Clock::time_point deadline() const override { return Clock::time_point::max(); }
    void turn() override { bastion->serve(*this); }
    /// Nobody has asked for its channel yet.
    bool waits() const { return !asked && !abandoned && problem.empty(); }

    Bastion* bastion;  ///< whose connection it goes through; may change as long as it waits
    std::string host;
    int port;
    Loop::Member& owner;  ///< of the session that waits for it
    Fd near, far;         ///< the bastion's end, the session's end
    std::unique_ptr<SshChannel> channel;
    std::string to_host, from_host;
    bool asked = false;   ///< its channel is being opened
    bool opened = false;  ///< it was open at least once
    bool open = false;
    bool input_ended = false;  ///< the session sends no more
    bool abandoned = false;    ///< no byte of it matters any more
    bool tried_anew = false;   ///< after an idle connection turned out to be broken
    std::string problem;
    ExecResult::Outcome outcome = ExecResult::Outcome::unreachable;  ///< with a problem
    std::optional<SeenHostKey> seen_key;                             ///< of the jump host
  };

  /// `more`: connections that it may open beside its own.
  Bastion(SshSettings settings, SshServices& services, int more = 7);
  ~Bastion() override;
  Bastion(const Bastion&) = delete;
  Bastion& operator=(const Bastion&) = delete;

  Tunnel& add(const std::string& host, int port, Loop::Member& owner);
  void abandon(Tunnel& tunnel);

  const SshSettings& settings() const { return settings_; }
  /// Why the ssh program has to make the way to it: its own connections, one for each host.
  const std::string& by_openssh() const { return by_openssh_; }
  void use_openssh(std::string why) { by_openssh_ = std::move(why); }
  /// The login could not do without a person.
  bool needs_person() const { return link_.needs_person(); }

  void wants(std::vector<pollfd>& waits) const override;
  Clock::time_point deadline() const override;
  void turn() override;

 private:
  void connect();
  bool any_waits() const;
  bool held_up() const;
  Bastion& another();
  void relieve();
  bool finish_what_began();
  void open_tunnels();
  void refused(Tunnel& tunnel);
  void read_all();
  void send_all();
  void serve(Tunnel& tunnel);
  void send(Tunnel& tunnel);
  void receive(Tunnel& tunnel);
  bool may_send() const;
  bool any_open() const;
  void lose(const std::string& why);
  void give_up(const std::string& why);
  void let_go();
  void end(Tunnel& tunnel, const std::string& why);
  void sweep();
  bool close_channel(Tunnel& tunnel);
  std::string broke() const;

  SshSettings settings_;
  SshServices& services_;
  SshLink link_;
  std::string by_openssh_;
  std::list<Tunnel> tunnels_;
  Clock::time_point failed_until_{};  ///< hosts that come before that share the last failure
  // While libssh2 has half a packet to send, only the call that began it may follow.
  Tunnel* sending_ = nullptr;
  Tunnel* closing_ = nullptr;
  Tunnel* opening_ = nullptr;  ///< libssh2 holds the state of one request for a channel
  Clock::time_point opening_since_{};
  int more_;
  std::unique_ptr<Bastion> another_;  ///< the next connection to the same jump host
};

}  // namespace ds
