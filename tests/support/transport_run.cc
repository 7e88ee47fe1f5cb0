// SPDX-License-Identifier: Apache-2.0
//
// The transport alone, for the tests: reads one JSON object on stdin,
//   {"config": FILE, "options": [...], "fanout": N, "connect": S, "login": S, "stall": S,
//    "backend": "auto", "phases": [[{"host": NAME, "script": TEXT, "input": TEXT, "file": PATH,
//    "limit": S, "output_limit": BYTES}, ...], ...]}
// runs each phase's commands at one time, one phase after the other on one transport, and prints
//   {"phases": [[{"outcome", "status", "out", "err", "message", "sent", "seconds"}...]...],
//   "notes"}
// Output longer than 4096 bytes is given as its size alone. SIGINT ends it as it ends ds-deploy.
#include <cstdio>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "base/interrupt.h"
#include "transport/transport.h"

namespace {

using namespace ds;
using nlohmann::json;

constexpr std::size_t kShown = 4096;

std::chrono::milliseconds seconds_of(const json& from, const char* key, double otherwise) {
  return std::chrono::milliseconds(static_cast<long>(from.value(key, otherwise) * 1000));
}

const char* name_of(ExecResult::Outcome outcome) {
  constexpr const char* names[] = {"exited",  "signalled",   "timed_out",     "lost",
                                   "flooded", "unreachable", "login_refused", "host_key_refused"};
  return names[static_cast<int>(outcome)];
}

TransportOptions options_of(const json& order) {
  TransportOptions options;
  options.ssh_config = order.value("config", "");
  options.ssh_options = order.value("options", std::vector<std::string>());
  options.fanout = order.value("fanout", options.fanout);
  options.connect_timeout = seconds_of(order, "connect", 15);
  options.login_timeout = seconds_of(order, "login", 30);
  options.stall_timeout = seconds_of(order, "stall", 120);
  const std::string backend = order.value("backend", "auto");
  options.backend = backend == "openssh"   ? SshBackend::openssh
                    : backend == "libssh2" ? SshBackend::libssh2
                                           : SshBackend::automatic;
  return options;
}

json shown(const std::string& text) {
  return text.size() > kShown ? json(text.size()) : json(text);
}

json shown(const ExecResult& result) {
  return {{"outcome", name_of(result.outcome)}, {"status", result.exit_status},
          {"out", shown(result.out)},           {"err", shown(result.err)},
          {"message", result.message},          {"sent", result.sent_bytes},
          {"seconds", result.seconds}};
}

void start(Transport& transport, const json& command, json& answer) {
  Endpoint endpoint;
  endpoint.name = command.at("host").get<std::string>();
  Exec exec;
  exec.script = command.value("script", ":");
  exec.input.bytes = command.value("input", "");
  exec.input.file = command.value("file", "");
  exec.time_limit = seconds_of(command, "limit", 60);
  exec.output_limit = command.value("output_limit", exec.output_limit);
  transport.start(endpoint, std::move(exec),
                  [&answer](const ExecResult& result) { answer = shown(result); });
}

json run(const json& order) {
  const std::unique_ptr<Transport> transport = make_transport(options_of(order));
  json phases = json::array();
  for (const json& commands : order.at("phases")) {
    json answers = json::array();
    for (std::size_t i = 0; i < commands.size(); ++i)
      answers.push_back(nullptr);
    for (std::size_t i = 0; i < commands.size(); ++i)
      start(*transport, commands[i], answers[i]);
    transport->run();
    phases.push_back(std::move(answers));
  }
  return {{"phases", phases}, {"notes", transport->notes()}};
}

}  // namespace

int main() {
  try {
    const InterruptHandlers handlers;
    const std::string text{std::istreambuf_iterator<char>(std::cin), {}};
    std::puts(run(json::parse(text)).dump(-1, ' ', false, json::error_handler_t::replace).c_str());
    return 0;
  } catch (const Error& error) {
    std::fprintf(stderr, "transport-run: %s\n", error.what().c_str());
    return 1;
  } catch (const json::exception& error) {
    std::fprintf(stderr, "transport-run: not an order: %s\n", error.what());
    return 2;
  } catch (const Interrupted&) {
    return static_cast<int>(ExitStatus::interrupted);
  }
}
