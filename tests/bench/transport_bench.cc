// SPDX-License-Identifier: Apache-2.0
//
// What the transport costs by itself: transport-bench upload CONFIG HOST FILE
//                                     transport-bench hold CONFIG HOSTS-FILE SECONDS
// Prints one line of JSON. `hold` keeps a session open on every host (one name a line) at one time.
#include <sys/resource.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "transport/transport.h"

namespace {

using namespace ds;

long peak_kb() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

Endpoint host_named(const std::string& name) {
  Endpoint endpoint;
  endpoint.name = name;
  return endpoint;
}

nlohmann::json upload(const std::string& config, const std::string& host, const std::string& file) {
  TransportOptions options;
  options.ssh_config = config;
  options.cache = cache_home();  // as ds-deploy has it
  const auto transport = make_transport(options);
  Exec exec;
  exec.script = "cat > \"$HOME/uploaded\"";
  exec.input.file = file;
  ExecResult result;
  transport->start(host_named(host), exec,
                   [&result](ExecResult ended) { result = std::move(ended); });
  transport->run();
  return {{"ok", result.ok()}, {"message", result.message}, {"sent", result.sent_bytes}};
}

nlohmann::json hold(const std::string& config, const std::string& file,
                    const std::string& seconds) {
  TransportOptions options;
  options.ssh_config = config;
  options.fanout = 100000;
  options.connect_timeout = std::chrono::seconds(300);
  options.login_timeout = std::chrono::seconds(300);
  const auto transport = make_transport(options);
  int good = 0;
  std::size_t hosts = 0;
  nlohmann::json messages = nlohmann::json::array();
  const long before = peak_kb();
  for (const std::string& name : split_words(read_file(file))) {
    ++hosts;
    Exec exec;
    exec.script = "sleep " + seconds;
    exec.guarded = false;
    exec.time_limit = std::chrono::seconds(600);
    transport->start(host_named(name), exec, [&](const ExecResult& ended) {
      good += ended.ok() ? 1 : 0;
      if (!ended.ok())
        messages.push_back(ended.message);
    });
  }
  transport->run();
  return {{"hosts", hosts},
          {"ok", good},
          {"messages", messages},
          {"notes", transport->notes()},
          {"kb_per_session", static_cast<double>(peak_kb() - before) / static_cast<double>(hosts)}};
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const std::string what = argc == 5 ? argv[1] : "";
    if (what != "upload" && what != "hold") {
      std::fputs("usage: transport-bench upload CONFIG HOST FILE | hold CONFIG FILE SECONDS\n",
                 stderr);
      return 2;
    }
    const nlohmann::json said =
        what == "upload" ? upload(argv[2], argv[3], argv[4]) : hold(argv[2], argv[3], argv[4]);
    std::puts(said.dump().c_str());
    return 0;
  } catch (const Error& error) {
    std::fprintf(stderr, "transport-bench: %s\n", error.what().c_str());
    return 1;
  }
}
