// SPDX-License-Identifier: Apache-2.0
#include "transport/host_key_decision.h"

#include "base/error.h"
#include "base/text.h"

namespace ds {
namespace {

/// Adds a key that is not on file; what was there by then decides.
KeyDecision learn(const SeenHostKey& seen) {
  KeyDecision decision;
  try {
    const KeyCheck check =
        append_host_key(seen.file, seen.name, seen.port, seen.key, seen.hash_names);
    decision.accepted = check.verdict == KeyVerdict::unknown || check.verdict == KeyVerdict::match;
    if (!decision.accepted) {
      decision.seen = seen;
      decision.seen->check = check;
      decision.message = host_key_refusal(*decision.seen);
    }
  } catch (const Error& error) {
    decision.seen = seen;
    decision.message = clean_line(error.what() + "; " + error.fix());
  }
  return decision;
}

}  // namespace

const KnownHosts& KnownHostsFiles::of(const SshSettings& settings) {
  const std::pair<Files, Files> files{settings.known_hosts, settings.revoked_host_keys};
  auto known = read_.find(files);
  if (known == read_.end())
    known = read_.emplace(files, KnownHosts(files.first, files.second)).first;
  return known->second;
}

KeyDecision decide_host_key(KnownHostsFiles& files, const SshSettings& settings,
                            const std::string& key) {
  SeenHostKey seen;
  seen.name = settings.host_key_name;
  seen.port = settings.host_key_port;
  seen.key = key;
  seen.check = files.of(settings).check(seen.name, seen.port, key);
  seen.file = settings.own_known_hosts;
  seen.hash_names = settings.hash_known_hosts;

  KeyDecision decision;
  const KeyVerdict verdict = seen.check.verdict;
  const bool anything = settings.unknown_host_key == UnknownHostKey::accept_any;
  if (verdict == KeyVerdict::match || (verdict == KeyVerdict::changed && anything)) {
    decision.accepted = true;
    return decision;
  }
  if (verdict == KeyVerdict::unknown && settings.unknown_host_key != UnknownHostKey::refuse &&
      !seen.file.empty())
    return learn(seen);
  decision.message = host_key_refusal(seen);
  if (verdict == KeyVerdict::authority)
    decision.by_openssh = "the host is known by a certificate authority";
  if (verdict == KeyVerdict::key_list)
    decision.by_openssh = "RevokedHostKeys is a binary list";
  decision.seen = std::move(seen);
  return decision;
}

}  // namespace ds
