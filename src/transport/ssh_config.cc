// SPDX-License-Identifier: Apache-2.0
#include "transport/ssh_config.h"

#include <netdb.h>
#include <pwd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>

#include "base/file.h"
#include "base/text.h"
#include "transport/ssh_answers.h"

namespace ds {
namespace {

std::string login_name() {
  const passwd* entry = ::getpwuid(::getuid());
  return entry != nullptr ? entry->pw_name : std::to_string(::getuid());
}

SshSettings defaults(const Endpoint& endpoint) {
  SshSettings settings;
  settings.name = endpoint.name;
  settings.hostname = endpoint.address.empty() ? endpoint.name : endpoint.address;
  settings.user = login_name();
  for (const char* name : {"id_ed25519", "id_ecdsa", "id_rsa"}) {
    settings.identities.push_back(expand_home(std::string("~/.ssh/") + name));
  }
  settings.own_known_hosts = expand_home("~/.ssh/known_hosts");
  settings.known_hosts = {settings.own_known_hosts, "/etc/ssh/ssh_known_hosts"};
  const char* agent = std::getenv("SSH_AUTH_SOCK");
  if (agent != nullptr)
    settings.agent = agent;
  return settings;
}

/// The %-tokens of ssh_config(5) that can stand in a path or a command.
std::string expand_tokens(const std::string& text, const SshSettings& settings) {
  const std::map<char, std::string> tokens = {
      {'%', "%"},
      {'d', expand_home("~").string()},
      {'h', settings.hostname},
      {'n', settings.name},
      {'p', std::to_string(settings.port)},
      {'r', settings.user},
      {'u', login_name()},
      {'k', settings.host_key_name.empty() ? settings.hostname : settings.host_key_name},
      {'i', std::to_string(::getuid())}};
  std::string expanded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto token =
        text[i] == '%' && i + 1 < text.size() ? tokens.find(text[i + 1]) : tokens.end();
    if (token == tokens.end()) {
      expanded += text[i];
    } else {
      expanded += token->second;
      ++i;
    }
  }
  return expanded;
}

using Take = std::function<void(SshSettings&, const std::string&)>;

/// A file that is named, with ~ and tokens; "none" is no file.
Take path_into(std::vector<std::filesystem::path> SshSettings::*list) {
  return [list](SshSettings& settings, const std::string& value) {
    for (const std::string& file : split_words(value)) {
      if (file != "none")
        (settings.*list).push_back(expand_home(expand_tokens(file, settings)));
    }
  };
}

/// Keywords as `ssh -G` prints them. Those that others' tokens refer to come first in its output.
const std::map<std::string, Take>& keywords() {
  static const std::map<std::string, Take> table = {{"hostname",
                                                     [](SshSettings& s, const std::string& value) {
                                                       s.hostname = value;
                                                     }},
                                                    {"user",
                                                     [](SshSettings& s, const std::string& value) {
                                                       s.user = value;
                                                     }},
                                                    {"port",
                                                     [](SshSettings& s, const std::string& value) {
                                                       s.port = static_cast<int>(
                                                           parse_integer(value, 1, 65535)
                                                               .value_or(22));
                                                     }},
                                                    {"addressfamily",
                                                     [](SshSettings& s, const std::string& value) {
                                                       s.family = value == "inet"    ? AF_INET
                                                                  : value == "inet6" ? AF_INET6
                                                                                     : AF_UNSPEC;
                                                     }},
                                                    {"bindaddress",
                                                     [](SshSettings& s, const std::string& value) {
                                                       s.bind_address = value;
                                                     }},
                                                    {"identityfile",
                                                     path_into(&SshSettings::identities)},
                                                    {"certificatefile",
                                                     path_into(&SshSettings::certificates)},
                                                    {"identitiesonly",
                                                     [](SshSettings& s, const std::string& value) {
                                                       s.identities_only = value == "yes";
                                                     }},
                                                    {"identityagent",
                                                     [](SshSettings& s, const std::string& value) {
                                                       if (value != "SSH_AUTH_SOCK")
                                                         s.agent = value == "none"
                                                                       ? ""
                                                                       : expand_home(expand_tokens(
                                                                                         value, s))
                                                                             .string();
                                                     }},
                                                    {"userknownhostsfile",
                                                     [](SshSettings& s, const std::string& value) {
                                                       // ssh -G prints the global files first.
                                                       std::vector<std::filesystem::path> global =
                                                           std::move(s.known_hosts);
                                                       s.known_hosts.clear();
                                                       path_into (&SshSettings::known_hosts)(s,
                                                                                             value);
                                                       s.own_known_hosts =
                                                           s.known_hosts.empty()
                                                               ? ""
                                                               : s.known_hosts.front();
                                                       s.known_hosts.insert(s.known_hosts.end(),
                                                                            global.begin(),
                                                                            global.end());
                                                     }},
                                                    {"globalknownhostsfile",
                                                     path_into(&SshSettings::known_hosts)},
                                                    {"revokedhostkeys",
                                                     path_into(&SshSettings::revoked_host_keys)},
                                                    {"hostkeyalias",
                                                     [](SshSettings& s, const std::string& value) {
                                                       s.host_key_name = value;
                                                     }},
                                                    {"stricthostkeychecking",
                                                     [](SshSettings& s, const std::string& value) {
                                                       s.unknown_host_key =
                                                           value == "accept-new"
                                                               ? UnknownHostKey::accept_new
                                                           : value == "false" || value == "no" ||
                                                                   value == "off"
                                                               ? UnknownHostKey::accept_any
                                                               : UnknownHostKey::refuse;
                                                     }},
                                                    {"hashknownhosts",
                                                     [](SshSettings& s, const std::string& value) {
                                                       s.hash_known_hosts = value == "yes";
                                                     }},
                                                    {"connecttimeout",
                                                     [](SshSettings& s, const std::string& value) {
                                                       s.connect_timeout = std::chrono::seconds(
                                                           parse_integer(value, 1, 86400)
                                                               .value_or(0));
                                                     }},
                                                    {"serveraliveinterval",
                                                     [](SshSettings& s, const std::string& value) {
                                                       s.alive_interval = static_cast<int>(
                                                           parse_integer(value, 0, 86400)
                                                               .value_or(0));
                                                     }},
                                                    {"proxyjump",
                                                     [](SshSettings& s, const std::string& value) {
                                                       if (value != "none")
                                                         s.jumps = split(value, ',');
                                                     }},
                                                    {"proxycommand",
                                                     [](SshSettings& s, const std::string& value) {
                                                       if (value != "none")
                                                         s.proxy_command = expand_tokens(value, s);
                                                     }},
                                                    {"controlpath",
                                                     [](SshSettings& s, const std::string& value) {
                                                       if (value != "none")
                                                         s.control_path = value;
                                                     }},
                                                    {"pkcs11provider",
                                                     [](SshSettings& s, const std::string& value) {
                                                       if (value != "none")
                                                         s.needs_openssh.push_back(
                                                             "PKCS11Provider is set");
                                                     }},
                                                    {"remotecommand",
                                                     [](SshSettings& s, const std::string& value) {
                                                       if (value != "none")
                                                         s.problem =
                                                             "the ssh configuration sets "
                                                             "RemoteCommand, which leaves no room "
                                                             "for ours";
                                                     }}};
  return table;
}

/// Lists that differ from ssh's own were chosen by somebody.
void take_algorithms(SshSettings& settings, const SshAnswer& said, const SshAnswer& defaults) {
  const auto chosen = [&](const char* keyword) {
    const std::string value = said.value(keyword);
    return value == defaults.value(keyword) ? std::vector<std::string>() : split(value, ',');
  };
  settings.kex = chosen("kexalgorithms");
  settings.ciphers = chosen("ciphers");
  settings.macs = chosen("macs");
  settings.host_keys = chosen("hostkeyalgorithms");
}

void take_answer(SshSettings& settings, const SshAnswer& said, const SshAnswers& answers) {
  settings.identities.clear();
  settings.known_hosts.clear();
  settings.own_known_hosts.clear();
  for (const auto& [key, value] : said.pairs) {
    const auto known = keywords().find(key);
    if (known == keywords().end())
      continue;
    const bool unchanged_name = key == "hostname" && value == said.asked_as;
    known->second(settings, unchanged_name ? settings.name : value);
  }
  if (answers.algorithms_chosen)
    take_algorithms(settings, said, answers.defaults);
}

bool set_on_command_line(const TransportOptions& options, const std::string& keyword) {
  return std::any_of(options.ssh_options.begin(), options.ssh_options.end(),
                     [&keyword](const std::string& option) {
                       return lower(option.substr(0, keyword.size())) == keyword;
                     });
}

void take_endpoint(SshSettings& settings, const Endpoint& endpoint,
                   const TransportOptions& options) {
  if (!endpoint.address.empty() && endpoint.address != endpoint.name &&
      !set_on_command_line(options, "hostname"))
    settings.hostname = endpoint.address;
  if (!endpoint.user.empty() && !set_on_command_line(options, "user="))
    settings.user = endpoint.user;
  if (endpoint.port != 0 && !set_on_command_line(options, "port="))
    settings.port = endpoint.port;
  if (!endpoint.identity.empty())
    settings.identities.insert(settings.identities.begin(), expand_home(endpoint.identity));
  settings.host_key_port = settings.host_key_name.empty() ? settings.port : 0;
  if (settings.host_key_name.empty())
    settings.host_key_name = settings.hostname;
}

}  // namespace

std::vector<std::string> ssh_words(const TransportOptions& options) {
  std::vector<std::string> words = {"ssh"};
  if (!options.ssh_config.empty())
    words.insert(words.end(), {"-F", options.ssh_config.string()});
  for (const std::string& option : options.ssh_options)
    words.insert(words.end(), {"-o", option});
  return words;
}

std::vector<SshSettings> resolve_ssh_settings(const std::vector<Endpoint>& endpoints,
                                              const TransportOptions& options) {
  std::vector<std::string> names;
  for (const Endpoint& endpoint : endpoints)
    names.push_back(endpoint.name);
  const SshAnswers answers = ask_ssh(names, options);
  std::vector<SshSettings> all;
  for (const Endpoint& endpoint : endpoints) {
    SshSettings settings = defaults(endpoint);
    if (endpoint.name.starts_with("-") || settings.hostname.starts_with("-")) {
      settings.problem = "a host's name cannot begin with '-'";
    } else if (const SshAnswer* said = answers.of(endpoint.name)) {
      settings.problem = said->problem;
      if (said->problem.empty())
        take_answer(settings, *said, answers);
    }
    take_endpoint(settings, endpoint, options);
    all.push_back(std::move(settings));
  }
  return all;
}

}  // namespace ds
