// SPDX-License-Identifier: Apache-2.0
#include "cli/trust.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/text.h"
#include "cli/ask.h"
#include "cli/reach.h"

namespace ds {
namespace {

using nlohmann::ordered_json;
using State = TrustedHost::State;

std::string to_string(State state) {
  switch (state) {
    case State::known:
      return "known";
    case State::fresh:
      return "new";
    case State::added:
      return "added";
    case State::refused:
      return "refused";
    case State::unreachable:
      return "unreachable";
  }
  return {};
}

std::size_t number_of(const std::vector<TrustedHost>& hosts, State state) {
  return static_cast<std::size_t>(
      std::count_if(hosts.begin(), hosts.end(),
                    [state](const TrustedHost& host) { return host.state == state; }));
}

void print(const std::string& text, std::FILE* stream) {
  std::fputs(text.c_str(), stream);
  std::fflush(stream);
}

std::string known_name(const SeenHostKey& seen) {
  return known_host_name(seen.name, seen.port);
}

/// Each key once for each file: hosts with several names, or behind one jump host, show the same.
using NewKeys = std::map<std::filesystem::path, std::map<std::string, NewHostKey>>;

NewKeys new_keys(const std::vector<TrustedHost>& hosts) {
  NewKeys files;
  for (const TrustedHost& host : hosts) {
    const SeenHostKey& seen = host.seen;
    if (host.state == State::fresh) {
      files[seen.file].insert(
          {known_name(seen) + " " + seen.key, {seen.name, seen.port, seen.key, seen.hash_names}});
    }
  }
  return files;
}

/// Why the key would not be found again; empty if it would be.
std::string no_place_for_it(const std::filesystem::path& file) {
  if (file.empty())
    return "the key is not known, and UserKnownHostsFile names no file to add it to";
  std::error_code problem;
  const auto type = std::filesystem::status(file, problem).type();
  const bool keeps =
      type == std::filesystem::file_type::regular || type == std::filesystem::file_type::not_found;
  return keeps ? ""
               : clean_line("the key is not known, and UserKnownHostsFile " + file.string() +
                            " is no regular file to add it to");
}

TrustedHost judge(const Host& host, const ExecResult& result) {
  TrustedHost judged{host.name, State::known, {}, {}};
  switch (result.outcome) {
    case ExecResult::Outcome::unreachable:
      judged.state = State::unreachable;
      judged.message = result.message;
      break;
    case ExecResult::Outcome::host_key_refused:
      judged.state = State::refused;
      judged.message = result.message;
      if (result.host_key && result.host_key->check.verdict == KeyVerdict::unknown) {
        judged.seen = *result.host_key;
        judged.message = no_place_for_it(judged.seen.file);
        judged.state = judged.message.empty() ? State::fresh : State::refused;
      }
      break;
    default:
      break;  // the key was taken, whatever came after it
  }
  return judged;
}

}  // namespace

std::vector<TrustedHost> sort_host_keys(const std::vector<Host>& hosts,
                                        const std::vector<ExecResult>& results) {
  std::vector<TrustedHost> judged;
  for (std::size_t i = 0; i < hosts.size(); ++i)
    judged.push_back(judge(hosts[i], results[i]));
  // One name that shows two keys within a run: at most one of them can be right.
  std::map<std::pair<std::filesystem::path, std::string>, std::set<std::string>> shown;
  for (const TrustedHost& host : judged) {
    if (host.state == State::fresh)
      shown[{host.seen.file, known_name(host.seen)}].insert(host.seen.key);
  }
  for (TrustedHost& host : judged) {
    if (host.state != State::fresh || shown[{host.seen.file, known_name(host.seen)}].size() < 2)
      continue;
    host.state = State::refused;
    host.message = known_name(host.seen) + " shows several keys, here " +
                   describe_key(host.seen.key) + "; name each machine by itself";
  }
  return judged;
}

std::string trust_text(const std::vector<TrustedHost>& hosts) {
  std::size_t name_width = 0;
  for (const TrustedHost& host : hosts)
    name_width = std::max(name_width, host.host.size());
  std::string text;
  for (const TrustedHost& host : hosts) {
    if (host.state == State::known)
      continue;
    const bool has_key = host.state == State::fresh || host.state == State::added;
    text += fmt::format(
        "{:<{}}  {:<11}  {}\n", clean_line(host.host), name_width, to_string(host.state),
        has_key ? clean_line(keygen_line(host.seen.key, known_name(host.seen))) : host.message);
  }
  const std::size_t known = number_of(hosts, State::known);
  if (known > 0)
    text += fmt::format("{} {} a key that is on file\n", count(known, "host"),
                        known == 1 ? "has" : "have");
  return text;
}

std::string trust_json(const std::vector<TrustedHost>& hosts) {
  ordered_json list = ordered_json::array();
  for (const TrustedHost& host : hosts) {
    ordered_json one{{"name", host.host}, {"state", to_string(host.state)}};
    if (host.state == State::fresh || host.state == State::added) {
      one["known_as"] = known_name(host.seen);
      one["type"] = key_type(host.seen.key);
      one["fingerprint"] = key_fingerprint(host.seen.key);
      one["file"] = host.seen.file.string();
    }
    one["message"] = host.message;
    list.push_back(std::move(one));
  }
  return ordered_json{{"schema", "ds-deploy.trust/1"},
                      {"exit", static_cast<int>(trust_status(hosts))},
                      {"hosts", list}}
      .dump();
}

std::string trust_question(const std::vector<TrustedHost>& hosts) {
  std::size_t keys = 0;
  std::vector<std::string> files;
  for (const auto& [file, of_file] : new_keys(hosts)) {
    keys += of_file.size();
    files.push_back(clean_line(file.string()));
  }
  if (keys == 0)
    return {};
  return fmt::format("Add {} {} to {}?", keys == 1 ? "this" : "these", count(keys, "key"),
                     join(files, ", "));
}

void add_host_keys(std::vector<TrustedHost>& hosts) {
  std::map<std::pair<std::filesystem::path, std::string>, KeyCheck> found;
  for (const auto& [file, of_file] : new_keys(hosts)) {
    std::vector<NewHostKey> keys;
    for (const auto& [id, key] : of_file)
      keys.push_back(key);
    const std::vector<KeyCheck> checks = append_host_keys(file, keys);
    std::size_t at = 0;
    for (const auto& [id, key] : of_file)
      found[{file, id}] = checks[at++];
  }
  for (TrustedHost& host : hosts) {
    if (host.state != State::fresh)
      continue;
    host.seen.check = found[{host.seen.file, known_name(host.seen) + " " + host.seen.key}];
    const KeyVerdict verdict = host.seen.check.verdict;
    host.state = verdict == KeyVerdict::unknown ? State::added
                 : verdict == KeyVerdict::match ? State::known
                                                : State::refused;
    if (host.state == State::refused)
      host.message = host_key_refusal(host.seen);
  }
}

ExitStatus trust_status(const std::vector<TrustedHost>& hosts) {
  if (number_of(hosts, State::refused) + number_of(hosts, State::fresh) > 0)
    return ExitStatus::key_refused;
  return number_of(hosts, State::unreachable) > 0 ? ExitStatus::unreachable : ExitStatus::ok;
}

ExitStatus trust(Session& session) {
  const Options& options = session.options();
  std::vector<Host> over_ssh;
  for (const Host& host : session.inventory().hosts) {
    if (host.endpoint.kind == Endpoint::Kind::ssh)
      over_ssh.push_back(host);
  }
  const auto was_reached = [](const ExecResult& result) {
    return result.outcome != ExecResult::Outcome::unreachable;
  };
  std::vector<TrustedHost> hosts =
      sort_host_keys(over_ssh, reach_all(session, over_ssh, "trust", "reached", was_reached));
  const std::string question = trust_question(hosts);
  if (!question.empty() && !options.yes) {
    print(trust_text(hosts), options.json ? stderr : stdout);
    if (::isatty(STDIN_FILENO) == 0) {
      throw UsageError("no key was added: there is no terminal to ask on",
                       "compare the fingerprints above with the hosts' own, then add --yes");
    }
    if (!confirmed(
            "Compare each with 'ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub' (or _ecdsa_, "
            "_rsa_) on the host itself.\n" +
            question)) {
      session.status().warning("no key was added");
      return trust_status(hosts);
    }
  }
  if (!question.empty())
    add_host_keys(hosts);
  print(options.json ? trust_json(hosts) + "\n" : trust_text(hosts), stdout);
  return trust_status(hosts);
}

}  // namespace ds
