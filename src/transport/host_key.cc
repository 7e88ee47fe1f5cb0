// SPDX-License-Identifier: Apache-2.0
#include "transport/host_key.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "base/sha256.h"
#include "transport/ssh_wire.h"

namespace ds {
namespace {

enum class Form { ed25519, ecdsa, numbers };

struct KeyShape {
  std::string_view type;
  std::string_view called;
  Form form;
  std::size_t fields;      ///< strings after the type
  std::size_t point_size;  ///< of an elliptic curve's point
  int bits;                ///< 0: those of the modulus
};

// In the order in which ssh prefers them.
constexpr std::array<KeyShape, 8> shapes = {{
    {"ssh-ed25519", "ED25519", Form::ed25519, 1, 32, 256},
    {"ecdsa-sha2-nistp256", "ECDSA", Form::ecdsa, 2, 65, 256},
    {"ecdsa-sha2-nistp384", "ECDSA", Form::ecdsa, 2, 97, 384},
    {"ecdsa-sha2-nistp521", "ECDSA", Form::ecdsa, 2, 133, 521},
    {"sk-ssh-ed25519@openssh.com", "ED25519-SK", Form::ed25519, 2, 32, 256},
    {"sk-ecdsa-sha2-nistp256@openssh.com", "ECDSA-SK", Form::ecdsa, 3, 65, 256},
    {"ssh-rsa", "RSA", Form::numbers, 2, 0, 0},
    {"ssh-dss", "DSA", Form::numbers, 4, 0, 0},
}};

constexpr std::string_view certificate_suffix = "-cert-v01@openssh.com";
constexpr int least_rsa_bits = 1024;

/// The type of the key itself: without a certificate around it, and RSA however it signs.
std::string plain_type(std::string_view type) {
  std::string plain(type);
  if (type.ends_with(certificate_suffix)) {
    plain.resize(type.size() - certificate_suffix.size());
    if (plain.starts_with("sk-"))
      plain += "@openssh.com";
  }
  return plain == "rsa-sha2-256" || plain == "rsa-sha2-512" ? "ssh-rsa" : plain;
}

const KeyShape* find_shape(std::string_view type) {
  const std::string plain = plain_type(type);
  const auto* found = std::find_if(shapes.begin(), shapes.end(),
                                   [&plain](const KeyShape& shape) { return shape.type == plain; });
  return found == shapes.end() ? nullptr : found;
}

/// A positive number without superfluous zeros in front; empty for zero and negative ones.
std::string tidy_number(std::string_view number) {
  if (number.empty() || (static_cast<unsigned char>(number.front()) & 0x80) != 0)
    return {};
  const std::size_t first = number.find_first_not_of('\0');
  if (first == std::string_view::npos)
    return {};
  std::string tidy(number.substr(first));
  if ((static_cast<unsigned char>(tidy.front()) & 0x80) != 0)
    tidy.insert(tidy.begin(), '\0');
  return tidy;
}

int bits_of_number(std::string_view number) {
  const std::size_t first = number.find_first_not_of('\0');
  if (first == std::string_view::npos)
    return 0;
  const auto top = static_cast<unsigned char>(number[first]);
  return static_cast<int>((number.size() - first - 1) * 8 + std::bit_width(top));
}

/// One field of a key, spelt the one way; nothing if it cannot be right.
std::optional<std::string> tidy_field(const KeyShape& shape, std::size_t index,
                                      std::string_view field) {
  if (shape.form == Form::numbers) {
    std::string number = tidy_number(field);
    return number.empty() ? std::nullopt : std::optional(std::move(number));
  }
  const std::size_t point_at = shape.form == Form::ecdsa ? 1 : 0;
  if (index < point_at && field != fmt::format("nistp{}", shape.bits))
    return std::nullopt;
  if (index == point_at && field.size() != shape.point_size)
    return std::nullopt;
  if (index == point_at && shape.form == Form::ecdsa && field.front() != '\x04')
    return std::nullopt;
  return std::string(field);
}

int bits_of(const KeyShape& shape, std::string_view key) {
  if (shape.bits != 0)
    return shape.bits;
  take_string(key);
  // RSA: exponent, modulus. DSA: the prime comes first.
  if (shape.type == "ssh-rsa")
    take_string(key);
  return bits_of_number(take_string(key).value_or(std::string_view()));
}

}  // namespace

std::optional<std::string> decode_base64(std::string_view text) {
  static constexpr std::string_view alphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (text.size() % 4 != 0)
    return std::nullopt;
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  std::uint32_t bits = 0;
  int held = 0;
  for (const char c : text.substr(0, text.size() - padding)) {
    const std::size_t value = alphabet.find(c);
    if (value == std::string_view::npos)
      return std::nullopt;
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    held += 6;
    if (held >= 8) {
      held -= 8;
      bytes += static_cast<char>(bits >> held & 0xff);
    }
  }
  // Bits that are left over must say nothing, or two texts would mean one key.
  if ((bits & ((1u << held) - 1)) != 0)
    return std::nullopt;
  return bytes;
}

std::string encode_base64(std::string_view bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');
  const int length = ::EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                       reinterpret_cast<const unsigned char*>(bytes.data()),
                                       static_cast<int>(bytes.size()));
  text.resize(static_cast<std::size_t>(length));
  return text;
}

std::optional<HostKey> parse_host_key(std::string_view blob) {
  const std::optional<std::string_view> type = take_string(blob);
  const KeyShape* shape = type ? find_shape(*type) : nullptr;
  if (shape == nullptr)
    return std::nullopt;
  HostKey key;
  key.certificate = type->ends_with(certificate_suffix);
  if (key.certificate && !take_string(blob))  // the nonce
    return std::nullopt;
  put_string(key.plain, shape->type);
  for (std::size_t i = 0; i < shape->fields; ++i) {
    const std::optional<std::string_view> field = take_string(blob);
    const std::optional<std::string> tidy =
        field ? tidy_field(*shape, i, *field) : std::optional<std::string>();
    if (!tidy)
      return std::nullopt;
    put_string(key.plain, *tidy);
  }
  if (blob.empty() == key.certificate)
    return std::nullopt;
  key.weak = shape->type == "ssh-rsa" && bits_of(*shape, key.plain) < least_rsa_bits;
  return key;
}

std::optional<HostKey> parse_host_key_text(std::string_view text) {
  const std::size_t type_end = text.find_first_of(" \t");
  if (type_end == std::string_view::npos)
    return std::nullopt;
  const std::string_view type = text.substr(0, type_end);
  const std::size_t begin = text.find_first_not_of(" \t", type_end);
  const KeyShape* shape = find_shape(type);
  if (begin == std::string_view::npos || shape == nullptr)
    return std::nullopt;
  std::string_view encoded = text.substr(begin, text.find_first_of(" \t", begin) - begin);
  while (encoded.ends_with('\r'))
    encoded.remove_suffix(1);
  const std::optional<std::string> blob = decode_base64(encoded);
  std::optional<HostKey> key = blob ? parse_host_key(*blob) : std::optional<HostKey>();
  if (!key || key_type(key->plain) != shape->type ||
      key->certificate != type.ends_with(certificate_suffix))
    return std::nullopt;
  return key;
}

std::string key_type(std::string_view key) {
  return std::string(take_string(key).value_or(std::string_view()));
}

std::string key_fingerprint(std::string_view key) {
  const Digest digest = sha256(key);
  std::string text = encode_base64({reinterpret_cast<const char*>(digest.data()), digest.size()});
  while (text.ends_with('='))
    text.pop_back();
  return "SHA256:" + text;
}

std::string key_text(std::string_view key) {
  return key_type(key) + " " + encode_base64(key);
}

std::string describe_key(std::string_view key) {
  const KeyShape* shape = find_shape(key_type(key));
  return fmt::format("{} {}", shape != nullptr ? shape->called : "unknown", key_fingerprint(key));
}

std::string keygen_line(std::string_view key, std::string_view name) {
  const KeyShape* shape = find_shape(key_type(key));
  if (shape == nullptr)
    return fmt::format("0 {} {} (UNKNOWN)", key_fingerprint(key), name);
  return fmt::format("{} {} {} ({})", bits_of(*shape, key), key_fingerprint(key), name,
                     shape->called);
}

std::size_t key_type_rank(std::string_view type) {
  const KeyShape* shape = find_shape(type);
  return shape == nullptr ? shapes.size() : static_cast<std::size_t>(shape - shapes.data());
}

}  // namespace ds
