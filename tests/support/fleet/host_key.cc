// SPDX-License-Identifier: Apache-2.0
#include "support/fleet/host_key.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <unistd.h>

#include <cstdint>
#include <memory>

#include "base/fd.h"

namespace fleet {
namespace {

constexpr char kType[] = "ssh-ed25519";

/// A string of the SSH protocol: four bytes of length, then the bytes.
std::string field(const std::string& bytes) {
  const auto size = static_cast<uint32_t>(bytes.size());
  std::string text;
  for (const int shift : {24, 16, 8, 0})
    text += static_cast<char>(size >> shift);
  return text + bytes;
}

std::string base64(const std::string& bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');
  text.resize(::EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                reinterpret_cast<const unsigned char*>(bytes.data()),
                                static_cast<int>(bytes.size())));
  return text;
}

bool write_new(const std::string& path, const std::string& text, mode_t mode) {
  ::unlink(path.c_str());
  const ds::Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  return file && ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

/// The format of PROTOCOL.key, not encrypted.
std::string private_file(const std::string& seed, const std::string& open, const std::string& blob,
                         const std::string& comment) {
  std::string check(4, '\0');
  ::RAND_bytes(reinterpret_cast<unsigned char*>(check.data()), 4);
  std::string secret =
      check + check + field(kType) + field(open) + field(seed + open) + field(comment);
  for (char pad = 1; secret.size() % 8 != 0; ++pad)
    secret += pad;
  const std::string one("\0\0\0\1", 4);
  const std::string encoded = base64(std::string("openssh-key-v1\0", 15) + field("none") +
                                     field("none") + field("") + one + field(blob) + field(secret));
  std::string text = "-----BEGIN OPENSSH PRIVATE KEY-----\n";
  for (size_t at = 0; at < encoded.size(); at += 70)
    text += encoded.substr(at, 70) + '\n';
  return text + "-----END OPENSSH PRIVATE KEY-----\n";
}

}  // namespace

bool make_ed25519_key(const std::string& path, const std::string& comment) {
  const std::unique_ptr<EVP_PKEY, decltype(&::EVP_PKEY_free)> key(
      ::EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"), &::EVP_PKEY_free);
  std::string seed(32, '\0');
  std::string open(32, '\0');
  size_t seed_size = seed.size();
  size_t open_size = open.size();
  if (!key ||
      ::EVP_PKEY_get_raw_private_key(key.get(), reinterpret_cast<unsigned char*>(seed.data()),
                                     &seed_size) != 1 ||
      ::EVP_PKEY_get_raw_public_key(key.get(), reinterpret_cast<unsigned char*>(open.data()),
                                    &open_size) != 1)
    return false;
  const std::string blob = field(kType) + field(open);
  return write_new(path, private_file(seed, open, blob, comment), 0600) &&
         write_new(path + ".pub", std::string(kType) + ' ' + base64(blob) + ' ' + comment + '\n',
                   0644);
}

}  // namespace fleet
