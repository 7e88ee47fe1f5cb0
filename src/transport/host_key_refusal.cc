// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "transport/learn_host_key.h"

namespace ds {
namespace {

constexpr std::size_t shown_keys = 4;

/// "ED25519 SHA256:... (FILE:3), RSA SHA256:... (FILE:4)"
std::string expected_keys(const std::vector<KnownKey>& expected) {
  std::vector<std::string> pieces;
  for (const KnownKey& known : expected) {
    if (pieces.size() == shown_keys) {
      pieces.emplace_back("...");
      break;
    }
    pieces.push_back(describe_key(known.key.plain) +
                     (known.key.certificate ? " (certificate)" : "") + " (" + known.where() + ")");
  }
  return join(pieces, ", ");
}

/// How the keys that are on file get out of it: one step for each file.
std::string ways_to_remove(const std::vector<KnownKey>& expected, const std::string& name) {
  std::vector<std::string> ways;
  for (const KnownKey& known : expected) {
    // ssh-keygen -R would take a line with wildcards from all its hosts.
    const std::string way = known.pattern ? "edit " + known.where()
                                          : fmt::format("ssh-keygen -R {} -f {}", shell_quote(name),
                                                        shell_quote(known.file.string()));
    if (std::find(ways.begin(), ways.end(), way) == ways.end())
      ways.push_back(way);
  }
  return join(ways, " and ");
}

}  // namespace

std::string host_key_refusal(const SeenHostKey& seen) {
  const std::string name = known_host_name(seen.name, seen.port);
  const std::string shown = describe_key(seen.key);
  const std::string& where = seen.check.where;
  std::string said;
  switch (seen.check.verdict) {
    case KeyVerdict::match:
      break;
    case KeyVerdict::unknown:
      said = fmt::format(
          "the host key of {} is not known: it shows {}; if that is the right one, add it: "
          "ds-deploy trust --hostfile FILE",
          name, shown);
      break;
    case KeyVerdict::changed:
      said = fmt::format(
          "the host key of {} changed: it shows {}, on file is {}; somebody may stand in between; "
          "if the host was set up anew, remove the old key: {}; then: ds-deploy trust --hostfile "
          "FILE",
          name, shown, expected_keys(seen.check.expected),
          ways_to_remove(seen.check.expected, name));
      break;
    case KeyVerdict::revoked:
      said = fmt::format(
          "the host key of {} is revoked: {} by {}; whoever has that key can pass for the host; "
          "give the host a new key, then: ds-deploy trust --hostfile FILE",
          name, shown, where);
      break;
    case KeyVerdict::unreadable:
      said = fmt::format(
          "the host key of {} is not taken: {} cannot be read, and RevokedHostKeys names it; it "
          "shows {}; correct the file (one public key a line) or that setting",
          name, where, shown);
      break;
    case KeyVerdict::authority:
      said = fmt::format(
          "the host key of {} is not known: it shows {}, and the authority of {} stands for hosts "
          "with a certificate, which only ssh can check; see what it says: ssh {}",
          name, shown, where, shell_quote(seen.name));
      break;
    case KeyVerdict::key_list:
      said = fmt::format(
          "the host key of {} is not taken: it shows {}, and only ssh can read the list of revoked "
          "keys {}; see what it says: ssh {}",
          name, shown, where, shell_quote(seen.name));
      break;
  }
  return clean_line(said, 2000);
}

}  // namespace ds
