// SPDX-License-Identifier: Apache-2.0
//
// Many SSH hosts from one process: `fleetd FILE` listens at the loopback address of each host that
// FILE names; `fleetd keys` makes an ed25519 key at each path that comes on stdin.
#include <arpa/inet.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

#include <csignal>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>

#include "support/fleet/daemon.h"
#include "support/fleet/host_key.h"

namespace fleet {
namespace {

int make_keys() {
  for (std::string path; std::getline(std::cin, path);) {
    if (!make_ed25519_key(path, "fleet")) {
      std::cerr << "fleetd: cannot write a key to " << path << '\n';
      return 1;
    }
  }
  return 0;
}

bool read_settings(const std::string& path, Settings& settings) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream rest(line);
    std::vector<std::string> words;
    for (std::string word; std::getline(rest, word, '\t');)
      words.push_back(word);
    if (words.size() == 2 && words[0] == "sshd") {
      settings.sshd = words[1];
    } else if (words.size() == 2 && words[0] == "port") {
      settings.port = std::atoi(words[1].c_str());
    } else if (words.size() == 4 && words[0] == "host" && words[2].starts_with("127.")) {
      settings.hosts.emplace_back(words[1], words[2], words[3]);
    } else {
      std::cerr << "fleetd: " << path << ": not understood: " << line << '\n';
      return false;
    }
  }
  return !settings.sshd.empty() && !settings.hosts.empty();
}

/// One descriptor for each host: more than the usual 1024.
void raise_descriptor_limit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

int serve(const std::string& path) {
  Settings settings;
  if (!read_settings(path, settings))
    return 2;
  raise_descriptor_limit();
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  std::signal(SIGPIPE, SIG_IGN);
  sigset_t handled;
  ::sigemptyset(&handled);
  for (const int number : {SIGCHLD, SIGTERM, SIGINT})
    ::sigaddset(&handled, number);
  ::sigprocmask(SIG_BLOCK, &handled, nullptr);
  const ds::Fd signals(::signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK));

  Daemon daemon(std::move(settings));
  std::string problem;
  if (!daemon.listen(problem)) {
    std::cerr << "fleetd: cannot listen at " << problem << '\n';
    return 1;
  }
  std::cout << "ready " << daemon.port() << std::endl;
  daemon.run(signals.get());
  daemon.end_everything();
  return 0;
}

}  // namespace
}  // namespace fleet

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: fleetd FILE\n       fleetd keys < PATHS\n";
    return 2;
  }
  const std::string word = argv[1];
  return word == "keys" ? fleet::make_keys() : fleet::serve(word);
}
