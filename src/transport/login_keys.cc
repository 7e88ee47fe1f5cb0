// SPDX-License-Identifier: Apache-2.0
#include "transport/login_keys.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "transport/host_key.h"
#include "transport/ssh_wire.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

bool is_certificate(std::string_view type) {
  return type.find("-cert-v01@") != std::string_view::npos;
}

/// libssh2 names the signature after the certificate, which no server takes; which versions know
/// better depends on the type.
std::string why_unusable(const std::string& type) {
  if (type.starts_with("sk-"))
    return "a FIDO key";
  const bool too_old = type.starts_with("ssh-ed25519-cert-") ? SshConnection::older_than(1, 11, 0)
                       : type.starts_with("ssh-rsa-cert-")   ? SshConnection::older_than(1, 11, 1)
                                                             : false;
  return too_old ? fmt::format("libssh2 {} cannot use this certificate",
                               SshConnection::library_version())
                 : "";
}

/// RSA keys sign with SHA-512: libssh2 takes the algorithm's name from the blob, and servers read
/// such a blob as the same key (RFC 8332, section 3, wants "ssh-rsa" there). A certificate is
/// signed as it is, so nothing of it can change.
std::string as_offered(const std::string& blob) {
  std::string_view rest = blob;
  if (take_string(rest) != "ssh-rsa")
    return blob;
  std::string offered;
  put_string(offered, "rsa-sha2-512");
  return offered.append(rest);
}

std::string plain_key(const std::string& blob) {
  const std::optional<HostKey> key = parse_host_key(blob);
  return key ? key->plain : blob;
}

class KeyOrder {
 public:
  KeyOrder(const SshSettings& settings, KeyRing& ring, const AgentKeys& agent)
      : settings_(settings), ring_(ring), agent_(agent) {}

  std::vector<LoginKey> make() {
    for (const fs::path& file : settings_.certificates)
      add_certificate(KeyRing::public_blob(file), file.string());
    for (const bool certificates : {true, false})
      add_files_in_agent(certificates);
    if (!settings_.identities_only) {
      for (const bool certificates : {true, false})
        add_other_agent_keys(certificates);
    }
    add_files();
    return std::move(keys_);
  }

 private:
  void add(LoginKey key) {
    const std::string offered = key.blob;
    const bool known =
        !offered.empty() && std::find(offered_.begin(), offered_.end(), offered) != offered_.end();
    if (known)
      return;
    offered_.push_back(offered);
    const std::string type = key_type(offered);
    key.label = clean_line(key.label);
    key.unusable = why_unusable(type);
    key.openssh_can = !key.unusable.empty();
    key.blob = as_offered(offered);
    keys_.push_back(std::move(key));
  }

  bool agent_holds(const std::string& blob) const {
    return std::any_of(agent_.keys.begin(), agent_.keys.end(),
                       [&blob](const AgentKey& key) { return key.blob == blob; });
  }

  /// Whoever has the certified key signs for its certificate.
  void add_certificate(const std::string& certificate, const std::string& label) {
    if (certificate.empty() || !is_certificate(key_type(certificate)))
      return;
    const std::string plain = plain_key(certificate);
    for (const std::string& held : {plain, certificate}) {
      if (agent_holds(held))
        return add({label, certificate, held, settings_.agent, {}, {}, false});
    }
    for (const fs::path& file : settings_.identities) {
      const KeyFile& key = ring_.key_file(file);
      if (key.exists && key.blob == plain)
        return add({label, certificate, plain, {}, file, {}, false});
    }
  }

  std::string certificate_of(const KeyFile& key) const {
    // As ssh: FILE-cert.pub counts only where no CertificateFile is named.
    return settings_.certificates.empty() ? key.certificate : std::string();
  }

  void add_files_in_agent(bool certificates) {
    for (const AgentKey& held : agent_.keys) {
      for (const fs::path& file : settings_.identities) {
        const KeyFile& key = ring_.key_file(file);
        if (certificates && held.blob == key.blob)
          add_certificate(certificate_of(key), file.string() + "-cert.pub");
        if (certificates && held.blob == key.certificate)
          add({file.string() + "-cert.pub", held.blob, held.blob, settings_.agent, {}, {}, false});
        if (!certificates && held.blob == key.blob)
          add({file.string(), held.blob, held.blob, settings_.agent, {}, {}, false});
      }
    }
  }

  void add_other_agent_keys(bool certificates) {
    for (const AgentKey& held : agent_.keys) {
      if (is_certificate(key_type(held.blob)) != certificates)
        continue;
      const std::string name = held.comment.empty() ? key_fingerprint(held.blob) : held.comment;
      add({"agent key '" + name + "'", held.blob, held.blob, settings_.agent, {}, {}, false});
    }
  }

  void add_files() {
    for (const fs::path& file : settings_.identities) {
      const KeyFile& key = ring_.key_file(file);
      if (!key.exists)
        continue;
      add_certificate(certificate_of(key), file.string() + "-cert.pub");
      add({file.string(), key.blob, key.blob, {}, file, {}, false});
    }
  }

  const SshSettings& settings_;
  KeyRing& ring_;
  const AgentKeys& agent_;
  std::vector<std::string> offered_;
  std::vector<LoginKey> keys_;
};

}  // namespace

std::vector<LoginKey> order_login_keys(const SshSettings& settings, KeyRing& ring,
                                       const AgentKeys& agent) {
  return KeyOrder(settings, ring, agent).make();
}

}  // namespace ds
