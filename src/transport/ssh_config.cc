// SPDX-License-Identifier: Apache-2.0
#include "transport/ssh_config.h"

#include <pwd.h>
#include <unistd.h>

#include <cstdlib>

#include "base/file.h"
#include "base/text.h"
#include "process/process.h"

namespace ds {
namespace {

std::string login_name() {
  const passwd* entry = ::getpwuid(::getuid());
  return entry != nullptr ? entry->pw_name : std::to_string(::getuid());
}

SshSettings defaults(const Endpoint& endpoint) {
  SshSettings settings;
  settings.hostname = endpoint.address.empty() ? endpoint.name : endpoint.address;
  settings.user = login_name();
  for (const char* name : {"id_ed25519", "id_ecdsa", "id_rsa"}) {
    settings.identities.push_back(expand_home(std::string("~/.ssh/") + name));
  }
  settings.known_hosts = {expand_home("~/.ssh/known_hosts"), "/etc/ssh/ssh_known_hosts"};
  const char* agent = std::getenv("SSH_AUTH_SOCK");
  if (agent != nullptr)
    settings.agent = agent;
  return settings;
}

void take(SshSettings& settings, const std::string& key, const std::string& value) {
  if (key == "hostname")
    settings.hostname = value;
  if (key == "user")
    settings.user = value;
  if (key == "port")
    settings.port = static_cast<int>(parse_integer(value, 1, 65535).value_or(22));
  if (key == "identityfile")
    settings.identities.push_back(expand_home(value));
  if (key == "identitiesonly")
    settings.identities_only = value == "yes";
  if (key == "identityagent" && value != "SSH_AUTH_SOCK") {
    settings.agent = value == "none" ? "" : expand_home(value).string();
  }
  if (key == "userknownhostsfile" || key == "globalknownhostsfile") {
    for (const std::string& file : split_words(value)) {
      settings.known_hosts.push_back(expand_home(file));
    }
  }
  if (key == "hostkeyalias")
    settings.host_key_name = value;
  if ((key == "proxyjump" || key == "proxycommand") && value != "none")
    settings.jump = value;
}

/// Fills in what `ssh -G` says; keeps the defaults where there is no ssh program.
void ask_ssh(SshSettings& settings, const Endpoint& endpoint, const TransportOptions& options) {
  Command command{{"ssh", "-G"}, {}, {}};
  if (!options.ssh_config.empty()) {
    command.argv.insert(command.argv.end(), {"-F", options.ssh_config.string()});
  }
  command.argv.push_back(endpoint.name);
  const CommandResult result = run_command(command, std::chrono::seconds(20));
  if (result.exit_status == 127)
    return;
  if (!result.ok()) {
    const std::vector<std::string> said = lines(result.errors);
    settings.problem = "ssh -G " + endpoint.name +
                       " failed: " + (said.empty() ? "without a word" : clean_line(said.back()));
    return;
  }
  settings.identities.clear();
  settings.known_hosts.clear();
  const std::string address = settings.hostname;
  for (const std::string& line : lines(result.output)) {
    const std::size_t blank = line.find(' ');
    if (blank != std::string::npos)
      take(settings, line.substr(0, blank), line.substr(blank + 1));
  }
  if (!endpoint.address.empty() && endpoint.address != endpoint.name)
    settings.hostname = address;
}

}  // namespace

SshSettings resolve_ssh_settings(const Endpoint& endpoint, const TransportOptions& options) {
  SshSettings settings = defaults(endpoint);
  if (endpoint.name.starts_with("-") || settings.hostname.starts_with("-")) {
    settings.problem = "a host's name cannot begin with '-'";
    return settings;
  }
  ask_ssh(settings, endpoint, options);
  if (!endpoint.user.empty())
    settings.user = endpoint.user;
  if (endpoint.port != 0)
    settings.port = endpoint.port;
  if (!endpoint.identity.empty()) {
    settings.identities.insert(settings.identities.begin(), expand_home(endpoint.identity));
  }
  if (settings.host_key_name.empty())
    settings.host_key_name = settings.hostname;
  if (!settings.jump.empty() && settings.problem.empty()) {
    settings.problem = "the ssh configuration wants ProxyJump or ProxyCommand (" +
                       clean_line(settings.jump) +
                       "), which this version does not support yet; run ds-deploy behind the jump "
                       "host";
  }
  return settings;
}

}  // namespace ds
