// SPDX-License-Identifier: Apache-2.0
#include "transport/known_hosts.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/text.h"

namespace ds {
namespace {

std::string decode_base64(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0)
    return {};
  std::string bytes(text.size() / 4 * 3, '\0');
  const int length = ::EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                                       reinterpret_cast<const unsigned char*>(text.data()),
                                       static_cast<int>(text.size()));
  if (length < 0)
    return {};
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
  bytes.resize(static_cast<std::size_t>(length) - padding);
  return bytes;
}

/// |1|salt|hash, HMAC-SHA1 of the name under the salt (HashKnownHosts).
bool hashed_name_matches(const std::string& pattern, const std::string& name) {
  const std::vector<std::string> parts = split(pattern, '|');
  if (parts.size() != 4 || parts[1] != "1")
    return false;
  const std::string salt = decode_base64(parts[2]), hash = decode_base64(parts[3]);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  if (::HMAC(EVP_sha1(), salt.data(), static_cast<int>(salt.size()),
             reinterpret_cast<const unsigned char*>(name.data()), name.size(), digest,
             &length) == nullptr) {
    return false;
  }
  return hash == std::string(reinterpret_cast<const char*>(digest), length);
}

/// ssh's patterns know `*` and `?` alone; brackets are part of a name.
std::string without_brackets(const std::string& pattern) {
  std::string escaped;
  for (const char c : pattern) {
    if (c == '[' || c == ']' || c == '\\')
      escaped += '\\';
    escaped += c;
  }
  return escaped;
}

bool patterns_match(const std::string& patterns, const std::string& name) {
  if (patterns.starts_with("|"))
    return hashed_name_matches(patterns, lower(name));
  bool matched = false;
  for (const std::string& piece : split(patterns, ',')) {
    const bool negated = piece.starts_with("!");
    const std::string pattern = lower(negated ? piece.substr(1) : piece);
    if (!glob_match(without_brackets(pattern), lower(name)))
      continue;
    if (negated)
      return false;
    matched = true;
  }
  return matched;
}

bool line_matches(const KnownHostLine& line, const std::string& name, int port) {
  return patterns_match(line.patterns, known_host_name(name, port));
}

std::string place(const KnownHostLine& line) {
  return line.file + ":" + std::to_string(line.line);
}

std::string key_type(std::string_view key) {
  if (key.size() < 4)
    return {};
  std::size_t length = 0;
  for (int i = 0; i < 4; ++i)
    length = length << 8 | static_cast<unsigned char>(key[i]);
  return length <= key.size() - 4 ? std::string(key.substr(4, length)) : std::string();
}

}  // namespace

std::string known_host_name(const std::string& name, int port) {
  return port == 22 ? name : "[" + name + "]:" + std::to_string(port);
}

std::vector<KnownHostLine> read_known_hosts(const std::vector<std::filesystem::path>& files) {
  std::vector<KnownHostLine> known;
  for (const std::filesystem::path& file : files) {
    std::string text;
    try {
      text = read_file(file, 64u << 20);
    } catch (const Error&) {
      continue;  // absent or unreadable: no key of it is trusted
    }
    int number = 0;
    for (const std::string& line : lines(text)) {
      ++number;
      std::vector<std::string> words = split_words(line);
      if (words.empty() || words[0].starts_with("#"))
        continue;
      KnownHostLine entry;
      if (words[0].starts_with("@")) {
        entry.marker = words[0];
        words.erase(words.begin());
      }
      if (words.size() < 3)
        continue;
      entry.file = file.string();
      entry.line = number;
      entry.patterns = words[0];
      entry.type = words[1];
      entry.key = decode_base64(words[2]);
      if (key_type(entry.key) == entry.type && !entry.type.empty())
        known.push_back(entry);
    }
  }
  return known;
}

KeyCheck check_host_key(const std::vector<KnownHostLine>& known, const std::string& name, int port,
                        std::string_view key) {
  KeyCheck check;
  for (const KnownHostLine& line : known) {
    if (line.marker == "@revoked" && line.key == key && line_matches(line, name, port)) {
      return {KeyVerdict::revoked, place(line)};
    }
  }
  for (const KnownHostLine& line : known) {
    if (!line.marker.empty() || !line_matches(line, name, port))
      continue;
    if (line.key == key)
      return {KeyVerdict::match, place(line)};
    // Known under any other key, also of another type, is a changed key and never a new one.
    if (check.verdict == KeyVerdict::unknown)
      check = {KeyVerdict::changed, place(line)};
  }
  return check;
}

std::vector<std::string> known_key_types(const std::vector<KnownHostLine>& known,
                                         const std::string& name, int port) {
  std::vector<std::string> types;
  for (const KnownHostLine& line : known) {
    if (!line.marker.empty() || !line_matches(line, name, port))
      continue;
    if (std::find(types.begin(), types.end(), line.type) == types.end())
      types.push_back(line.type);
  }
  return types;
}

std::string key_fingerprint(std::string_view key) {
  std::string text = base64url(sha256(key));
  std::replace(text.begin(), text.end(), '-', '+');
  std::replace(text.begin(), text.end(), '_', '/');
  return "SHA256:" + text;
}

}  // namespace ds
