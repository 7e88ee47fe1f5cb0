// SPDX-License-Identifier: Apache-2.0
#include "transport/known_hosts.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <algorithm>
#include <array>
#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace ds {
namespace {

constexpr std::string_view blanks = " \t";
constexpr std::string_view hash_magic = "|1|";
constexpr std::string_view krl_magic{"SSHKRL\n\0", 8};
constexpr std::size_t sha1_size = 20;
constexpr std::size_t longest_pattern = 1022;  ///< a longer one matches nothing, nor what follows

std::string_view skip_blanks(std::string_view text) {
  const std::size_t at = text.find_first_not_of(blanks);
  return at == std::string_view::npos ? std::string_view() : text.substr(at);
}

/// Calls `take` with each line and its number, as getline(3) cuts them and C strings end.
template <typename Take>
void each_line(std::string_view text, Take&& take) {
  int number = 0;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    take(line.substr(0, line.find('\0')), ++number);
  }
}

/// HMAC-SHA1 under one salt after the other.
class NameHash {
 public:
  explicit NameHash(const std::string& name) : name_(name) {
    const std::unique_ptr<EVP_MAC, FreeMac> mac(::EVP_MAC_fetch(nullptr, "HMAC", nullptr));
    context_.reset(mac ? ::EVP_MAC_CTX_new(mac.get()) : nullptr);
    std::array<char, 5> digest = {"SHA1"};
    const std::array<OSSL_PARAM, 2> parameters = {
        ::OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest.data(), 0),
        ::OSSL_PARAM_construct_end()};
    if (!context_ || ::EVP_MAC_CTX_set_params(context_.get(), parameters.data()) != 1)
      throw Error("OpenSSL has no HMAC-SHA1, so hashed names in known_hosts cannot be read",
                  "use an OpenSSL configuration that allows SHA-1");
  }
  std::string under(const std::string& salt) const {
    std::string hash(EVP_MAX_MD_SIZE, '\0');
    std::size_t size = 0;
    const auto* key = reinterpret_cast<const unsigned char*>(salt.data());
    const auto* name = reinterpret_cast<const unsigned char*>(name_.data());
    if (::EVP_MAC_init(context_.get(), key, salt.size(), nullptr) != 1 ||
        ::EVP_MAC_update(context_.get(), name, name_.size()) != 1 ||
        ::EVP_MAC_final(context_.get(), reinterpret_cast<unsigned char*>(hash.data()), &size,
                        hash.size()) != 1)
      return {};
    hash.resize(size);
    return hash;
  }

 private:
  struct FreeMac {
    void operator()(EVP_MAC* mac) const { ::EVP_MAC_free(mac); }
    void operator()(EVP_MAC_CTX* context) const { ::EVP_MAC_CTX_free(context); }
  };
  const std::string& name_;
  std::unique_ptr<EVP_MAC_CTX, FreeMac> context_;
};

/// ssh's patterns know `*` and `?` alone; brackets are part of a name.
bool pattern_matches(std::string_view pattern, std::string_view name) {
  std::size_t at = 0, in = 0, star = std::string_view::npos, retry = 0;
  while (in < name.size()) {
    if (at < pattern.size() && pattern[at] == '*') {
      star = at++;
      retry = in;
    } else if (at < pattern.size() && (pattern[at] == '?' || pattern[at] == name[in])) {
      ++at;
      ++in;
    } else if (star != std::string_view::npos) {
      at = star + 1;
      in = ++retry;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', at) == std::string_view::npos;
}

/// As match_pattern_list of ssh: a negated name that matches decides at once.
bool name_list_matches(const std::vector<std::string>& names, std::string_view name) {
  bool matched = false;
  for (const std::string& piece : names) {
    const bool negated = piece.starts_with("!");
    const std::string_view pattern = std::string_view(piece).substr(negated ? 1 : 0);
    if (pattern.size() > longest_pattern)
      return false;
    if (!pattern_matches(pattern, name))
      continue;
    if (negated)
      return false;
    matched = true;
  }
  return matched;
}

bool has(const std::vector<KnownKey>& keys, KnownKey::Marker marker) {
  return std::any_of(keys.begin(), keys.end(),
                     [marker](const KnownKey& known) { return known.marker == marker; });
}

const KnownKey* find_key(const std::vector<KnownKey>& keys, KnownKey::Marker marker,
                         std::string_view key) {
  const auto found = std::find_if(keys.begin(), keys.end(), [&](const KnownKey& known) {
    // A key on file inside a certificate revokes the key, but never stands for it.
    const bool counts = marker == KnownKey::Marker::revoked || !known.key.certificate;
    return known.marker == marker && counts && known.key.plain == key;
  });
  return found == keys.end() ? nullptr : &*found;
}

const KnownKey* find_authority(const KnownHost& host) {
  for (const std::vector<KnownKey>* keys : {&host.named, &host.bare}) {
    for (const KnownKey& known : *keys) {
      if (known.marker == KnownKey::Marker::authority)
        return &known;
    }
  }
  return nullptr;
}

/// Revoked, match, changed or unknown, by the lines of one name.
KeyCheck check_lines(const std::vector<KnownKey>& keys, const std::string& key) {
  if (const KnownKey* known = find_key(keys, KnownKey::Marker::revoked, key))
    return {KeyVerdict::revoked, known->where(), {}};
  if (const KnownKey* known = find_key(keys, KnownKey::Marker::none, key))
    return {KeyVerdict::match, known->where(), {}};
  KeyCheck check;
  for (const KnownKey& known : keys) {
    if (known.marker == KnownKey::Marker::none)
      check.expected.push_back(known);
  }
  if (check.expected.empty())
    return check;
  check.verdict = KeyVerdict::changed;
  const auto same_type = std::find_if(
      check.expected.begin(), check.expected.end(),
      [&](const KnownKey& known) { return key_type(known.key.plain) == key_type(key); });
  check.where = (same_type == check.expected.end() ? check.expected.front() : *same_type).where();
  return check;
}

}  // namespace

bool only_ssh_can_tell(KeyVerdict verdict) {
  return verdict == KeyVerdict::authority || verdict == KeyVerdict::key_list;
}

std::string KnownKey::where() const {
  return file.string() + ":" + std::to_string(line);
}

std::string known_host_name(const std::string& name, int port) {
  const std::string spelt = lower(name);
  return port == 22 || port == 0 ? spelt : "[" + spelt + "]:" + std::to_string(port);
}

KnownHosts::KnownHosts(const std::vector<std::filesystem::path>& files,
                       const std::vector<std::filesystem::path>& revoked) {
  for (const std::filesystem::path& file : files)
    add_file(file);
  for (const std::filesystem::path& file : revoked)
    revoked_.push_back(read_revoked(file));
}

void KnownHosts::add_file(const std::filesystem::path& file) {
  std::string text;
  try {
    text = read_file(file);
  } catch (const Error&) {
    return;  // absent or unreadable: no key of it is trusted
  }
  texts_.push_back(std::move(text));
  files_.push_back(file);
  each_line(texts_.back(), [this](std::string_view text, int number) {
    Line line;
    if (!parse_line(text, line))
      return;
    line.file = static_cast<std::uint32_t>(files_.size() - 1);
    line.number = number;
    lines_.push_back(line);
    index(static_cast<std::uint32_t>(lines_.size() - 1));
  });
}

/// False for a comment, and for a line that ssh skips because its front is wrong. The key is looked
/// at only when the line stands for a host that is asked for.
bool KnownHosts::parse_line(std::string_view text, Line& line) {
  text = skip_blanks(text);
  if (text.empty() || text.starts_with('#'))
    return false;
  if (text.starts_with('@')) {
    // ssh ends the marker at the first space of the line, and at a tab only if there is none.
    const std::size_t space = text.find(' ');
    const std::size_t end = space != std::string_view::npos ? space : text.find('\t');
    const std::string_view marker = text.substr(0, end);
    if (end == std::string_view::npos || (marker != "@revoked" && marker != "@cert-authority"))
      return false;
    line.marker = marker == "@revoked" ? KnownKey::Marker::revoked : KnownKey::Marker::authority;
    text = skip_blanks(text.substr(end));
    if (text.starts_with('@'))
      return false;
  }
  const std::size_t end = text.find_first_of(blanks);
  if (end == std::string_view::npos)
    return false;
  line.names = text.substr(0, end);
  line.key = skip_blanks(text.substr(end));
  return !line.key.empty();
}

void KnownHosts::index(std::uint32_t number) {
  Line& line = lines_[number];
  has_authorities_ |= line.marker == KnownKey::Marker::authority;
  if (line.names.starts_with('|')) {
    const std::vector<std::string> parts = split(line.names, '|');
    if (!line.names.starts_with(hash_magic) || parts.size() != 4)
      return;
    const std::optional<std::string> salt = decode_base64(parts[2]), hash = decode_base64(parts[3]);
    if (salt && hash && salt->size() == sha1_size && hash->size() == sha1_size)
      hashed_.push_back({number, *salt, *hash});
    return;
  }
  line.pattern = line.names.find_first_of("*?!") != std::string_view::npos;
  if (line.pattern || line.names.size() > longest_pattern) {
    patterns_.push_back({number, split(lower(line.names), ',')});
    return;
  }
  for (const std::string& name : split(lower(line.names), ',')) {
    std::vector<std::uint32_t>& of_name = names_[name];
    if (of_name.empty() || of_name.back() != number)
      of_name.push_back(number);
  }
}

std::vector<KnownKey> KnownHosts::keys_of(const std::string& name) const {
  std::vector<std::uint32_t> found;
  const auto listed = names_.find(name);
  if (listed != names_.end())
    found = listed->second;
  for (const PatternLine& line : patterns_) {
    if (name_list_matches(line.names, name))
      found.push_back(line.line);
  }
  if (!hashed_.empty()) {
    const NameHash hash(name);
    for (const HashedLine& line : hashed_) {
      if (hash.under(line.salt) == line.hash)
        found.push_back(line.line);
    }
  }
  std::sort(found.begin(), found.end());
  std::vector<KnownKey> keys;
  for (const std::uint32_t number : found) {
    const Line& line = lines_[number];
    std::optional<HostKey> key = parse_host_key_text(line.key);
    if (key && !key->weak)
      keys.push_back({files_[line.file], line.number, line.marker, line.pattern, std::move(*key)});
  }
  return keys;
}

KnownHost KnownHosts::find(const std::string& name, int port) const {
  KnownHost host;
  host.named = keys_of(known_host_name(name, port));
  const bool has_port = known_host_name(name, port) != known_host_name(name, 0);
  if (has_port && (has_authorities_ || !has(host.named, KnownKey::Marker::none)))
    host.bare = keys_of(known_host_name(name, 0));
  return host;
}

KeyCheck KnownHosts::check(const KnownHost& host, std::string_view key) const {
  const std::optional<HostKey> parsed = parse_host_key(key);
  const std::string plain = parsed ? parsed->plain : std::string(key);
  const KeyCheck listed = check_lists(plain);
  if (listed.verdict == KeyVerdict::revoked || listed.verdict == KeyVerdict::unreadable)
    return listed;
  KeyCheck check = check_lines(host.named, plain);
  if (check.verdict == KeyVerdict::unknown) {
    // Another key under the bare name is that of another server on the machine: no change.
    KeyCheck bare = check_lines(host.bare, plain);
    if (bare.verdict == KeyVerdict::match || bare.verdict == KeyVerdict::revoked)
      check = std::move(bare);
  }
  const bool open = check.verdict == KeyVerdict::unknown || check.verdict == KeyVerdict::changed;
  const KnownKey* authority = open ? find_authority(host) : nullptr;
  if (authority != nullptr)
    return {KeyVerdict::authority, authority->where(), std::move(check.expected)};
  const bool decided = check.verdict == KeyVerdict::revoked || check.verdict == KeyVerdict::changed;
  return listed.verdict == KeyVerdict::key_list && !decided ? listed : check;
}

std::vector<std::string> KnownHosts::key_types(const KnownHost& host) {
  std::vector<std::string> types;
  const bool under_name = has(host.named, KnownKey::Marker::none);
  for (const KnownKey& known : under_name ? host.named : host.bare) {
    const std::string type = key_type(known.key.plain);
    const bool usable = known.marker == KnownKey::Marker::none && !known.key.certificate;
    if (usable && std::find(types.begin(), types.end(), type) == types.end())
      types.push_back(type);
  }
  std::sort(types.begin(), types.end(), [](const std::string& left, const std::string& right) {
    return key_type_rank(left) < key_type_rank(right);
  });
  return types;
}

KnownHosts::RevokedList KnownHosts::read_revoked(const std::filesystem::path& file) {
  RevokedList list{file, KeyVerdict::match, 0, {}};
  std::string text;
  try {
    text = read_file(file);
  } catch (const Error&) {
    list.fault = KeyVerdict::unreadable;
    return list;
  }
  if (text.starts_with(krl_magic)) {
    list.fault = KeyVerdict::key_list;
    return list;
  }
  each_line(text, [&list](std::string_view line, int number) {
    line = skip_blanks(line);
    if (line.empty() || line.starts_with('#') || list.fault != KeyVerdict::match)
      return;
    if (const std::optional<HostKey> key = parse_host_key_text(line)) {
      list.keys.emplace(key->plain, number);
    } else {
      // ssh reads up to the line that is wrong; a key before it is revoked, any other refused.
      list.fault = KeyVerdict::unreadable;
      list.bad_line = number;
    }
  });
  return list;
}

/// Revoked, unreadable, key_list, or match where no list has anything against the key.
KeyCheck KnownHosts::check_lists(const std::string& key) const {
  KeyCheck check{KeyVerdict::match, {}, {}};
  for (const RevokedList& list : revoked_) {
    const auto found = list.keys.find(key);
    if (found != list.keys.end())
      return {KeyVerdict::revoked, list.file.string() + ":" + std::to_string(found->second), {}};
    const std::string line = list.bad_line == 0 ? "" : ":" + std::to_string(list.bad_line);
    if (list.fault == KeyVerdict::unreadable)
      check = {list.fault, list.file.string() + line, {}};
    if (list.fault == KeyVerdict::key_list && check.verdict == KeyVerdict::match)
      check = {list.fault, list.file.string(), {}};
  }
  return check;
}

}  // namespace ds
