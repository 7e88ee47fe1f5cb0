// SPDX-License-Identifier: Apache-2.0
//
// Conversations alone, for the tests: conversation-run CONFIG BACKEND FANOUT, and on stdin a line
// for each thing to do, in JSON:
//   {"open": NAME, "script": TEXT, "limit": S, "fresh": B}   converses with the host NAME
//   {"send": NAME, "text": TEXT, "file": PATH, "offset": N, "limit": S}
//   {"end": NAME, "limit": S}, {"drop": NAME}                NAME "*": all of them
//   {"exec": NAME, "script": TEXT, "fresh": B}               a command of start()
//   {"hang_up": NAME}, {"refuse": N}                         N hosts "n1", "n2", ...
//   {"run": S}                                               attend() for S; then says
//     {"heard": {NAME: [LINE...]}, "done": {NAME: {"outcome", "err", "message", "sent", ...}},
//      "exec": {NAME: OUT}, "sent": {NAME: BYTES}, "seconds": S, "cpu": S, "interrupted": B}
// of what came in that run. A line heard that has "answer" in it answers what was sent.
#include <sys/resource.h>

#include <cstdio>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "base/interrupt.h"
#include "transport/transport.h"

namespace {

using namespace ds;
using nlohmann::json;

std::chrono::milliseconds seconds_of(const json& from, const char* key, double otherwise) {
  return std::chrono::milliseconds(static_cast<long>(from.value(key, otherwise) * 1000));
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

const char* name_of(ExecResult::Outcome outcome) {
  constexpr const char* names[] = {"exited",  "signalled",   "timed_out",     "lost",
                                   "flooded", "unreachable", "login_refused", "host_key_refused"};
  return names[static_cast<int>(outcome)];
}

Endpoint host_named(const std::string& name) {
  Endpoint endpoint;
  endpoint.name = name;
  return endpoint;
}

class Driver {
 public:
  explicit Driver(const TransportOptions& options) : transport_(make_transport(options)) {}

  void obey(const json& order) {
    if (order.contains("open"))
      open(order.at("open"), order);
    else if (order.contains("send"))
      each(order.at("send"), [&order](Conversation& talk) {
        talk.send({order.value("text", ""), order.value("file", ""),
                   order.value("offset", std::uint64_t{0})},
                  seconds_of(order, "limit", 20));
      });
    else if (order.contains("end"))
      each(order.at("end"),
           [&order](Conversation& talk) { talk.end(seconds_of(order, "limit", 20)); });
    else if (order.contains("drop"))
      talks_.erase(order.at("drop").get<std::string>());
    else if (order.contains("exec"))
      exec(order.at("exec"), order);
    else if (order.contains("hang_up"))
      transport_->hang_up(host_named(order.at("hang_up")));
    else if (order.contains("refuse"))
      refuse(order.at("refuse"));
    else
      run(seconds_of(order, "run", 0));
  }

 private:
  static Exec exec_of(const json& order) {
    Exec exec;
    exec.script = order.value("script", ":");
    exec.time_limit = seconds_of(order, "limit", 20);
    exec.fresh = order.value("fresh", false);
    return exec;
  }

  void open(const std::string& name, const json& order) {
    talks_[name] = transport_->converse(
        host_named(name), exec_of(order),
        [this, name](std::string_view line) {
          said_["heard"][name].push_back(line);
          if (line.find("answer") != std::string_view::npos)
            talks_.at(name)->answered();
        },
        [this, name](const ExecResult& result) {
          said_["done"][name].push_back({{"outcome", name_of(result.outcome)},
                                         {"status", result.exit_status},
                                         {"err", result.err},
                                         {"message", result.message},
                                         {"sent", result.sent_bytes}});
        });
  }

  template <typename What>
  void each(const std::string& name, What what) {
    for (const auto& [key, talk] : talks_) {
      if (name == "*" || name == key)
        what(*talk);
    }
  }

  void exec(const std::string& name, const json& order) {
    transport_->start(host_named(name), exec_of(order), [this, name](const ExecResult& result) {
      said_["exec"][name].push_back(result.ok() ? result.out : result.message);
    });
  }

  void refuse(int number) {
    std::vector<Endpoint> endpoints;
    for (int i = 1; i <= number; ++i)
      endpoints.push_back(host_named("n" + std::to_string(i)));
    transport_->refuse_too_many(endpoints);
  }

  void run(std::chrono::milliseconds time) {
    const double cpu = cpu_seconds();
    const auto began = std::chrono::steady_clock::now();
    said_["interrupted"] = false;
    try {
      transport_->attend(time);
    } catch (const Interrupted&) {
      said_["interrupted"] = true;
      clear_interrupt();
    }
    said_["seconds"] =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    said_["cpu"] = cpu_seconds() - cpu;
    for (const auto& [name, talk] : talks_)
      said_["sent"][name] = talk->sent();
    std::puts(said_.dump(-1, ' ', false, json::error_handler_t::replace).c_str());
    std::fflush(stdout);
    said_ = json::object();
  }

  json said_ = json::object();
  std::unique_ptr<Transport> transport_;
  std::map<std::string, std::unique_ptr<Conversation>> talks_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fputs("usage: conversation-run CONFIG BACKEND FANOUT\n", stderr);
    return 2;
  }
  try {
    const InterruptHandlers handlers;
    TransportOptions options;
    options.ssh_config = argv[1];
    options.backend = std::string(argv[2]) == "openssh" ? SshBackend::openssh : SshBackend::libssh2;
    options.fanout = std::stoi(argv[3]);
    options.connect_timeout = std::chrono::seconds(5);
    options.stall_timeout = std::chrono::seconds(3);
    Driver driver(options);
    for (std::string line; std::getline(std::cin, line);)
      driver.obey(json::parse(line));
    return 0;
  } catch (const Error& error) {
    std::fprintf(stderr, "conversation-run: %s\n%s\n", error.what().c_str(), error.fix().c_str());
    return static_cast<int>(error.status());
  } catch (const json::exception& error) {
    std::fprintf(stderr, "conversation-run: not an order: %s\n", error.what());
    return 1;
  }
}
