// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <poll.h>

#include <map>
#include <string>
#include <vector>

#include "base/fd.h"
#include "support/fleet/host.h"
#include "support/fleet/relay.h"

namespace fleet {

/// What the Python side wrote: "sshd PATH", "port N" (0: any), "host NAME ADDRESS ROOT", the words
/// apart by tabs.
struct Settings {
  std::string sshd;
  int port = 0;
  std::vector<Host> hosts;
};

/// One thread that accepts for every host and starts one `sshd -i` for each connection. Orders come
/// as lines on stdin, each answered by one line on stdout; at the end of stdin, on SIGTERM and on
/// SIGINT everything that it started ends.
class Daemon {
 public:
  explicit Daemon(Settings settings) : settings_(std::move(settings)) {}

  bool listen(std::string& problem);
  int port() const { return settings_.port; }
  void run(int signals);
  void end_everything();

 private:
  /// A connection that gets no answer.
  struct Held {
    size_t host;
    ds::Fd client;
  };

  std::vector<pollfd> polled(Clock::time_point now) const;
  int timeout(Clock::time_point now) const;
  void accept_from(size_t index);
  void serve(size_t index, ds::Fd client);
  void start_sshd(size_t index, const ds::Fd& connection);
  void handle_signals(int signals);
  void reap();
  void read_orders();
  std::string obey(const std::string& line);
  std::string signal_host(size_t index, int number);
  long open(size_t index) const;

  Settings settings_;
  std::map<pid_t, size_t> sshds_;
  std::vector<Relay> relays_;
  std::vector<Held> held_;
  std::string orders_;
  bool done_ = false;
};

}  // namespace fleet
