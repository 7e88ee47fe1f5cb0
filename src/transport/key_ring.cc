// SPDX-License-Identifier: Apache-2.0
#include "transport/key_ring.h"

#include <fcntl.h>
#include <unistd.h>

#include <chrono>

#include "base/error.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"
#include "process/process.h"
#include "transport/host_key.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLargestKeyFile = 1 << 16;
constexpr auto kReadLimit = std::chrono::seconds(5);

std::string valid_blob(std::string_view base64, std::string_view type) {
  std::optional<std::string> blob = decode_base64(base64);
  if (!blob || (!type.empty() && key_type(*blob) != type))
    return {};
  return std::move(*blob);
}

/// The public half by ssh-keygen, which finds it in OpenSSH's format without the passphrase.
std::string extracted_blob(const fs::path& file) {
  const CommandResult said = run_command(
      {{"ssh-keygen", "-e", "-m", "RFC4716", "-P", "", "-f", file.string()}, {}, {}}, kReadLimit);
  if (!said.ok())
    return {};
  std::string base64;
  for (const std::string& line : lines(said.output)) {
    // Header lines have a colon, the frame has blanks (RFC 4716).
    if (line.find_first_of(": ") == std::string::npos)
      base64 += line;
  }
  return valid_blob(base64, {});
}

fs::path with_suffix(const fs::path& file, const std::string& suffix) {
  return file.string() + suffix;
}

/// Says so without the secret part in our memory.
bool is_private(const fs::path& file) {
  const Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  char start[5] = {};
  const ssize_t got = fd ? ::read(fd.get(), start, sizeof start) : 0;
  return std::string_view(start, got > 0 ? static_cast<std::size_t>(got) : 0) == "-----";
}

}  // namespace

std::string KeyRing::public_blob(const fs::path& file) {
  if (::access(file.c_str(), R_OK) != 0 || is_private(file))
    return {};
  try {
    for (const std::string& line : lines(read_file(file, kLargestKeyFile))) {
      const std::vector<std::string> words = split_words(line);
      if (words.size() >= 2 && !words[0].starts_with("#"))
        return valid_blob(words[1], words[0]);
    }
  } catch (const Error&) {
    // A folder, a device: no key.
  }
  return {};
}

const KeyFile& KeyRing::key_file(const fs::path& file) {
  const auto [entry, added] = files_.try_emplace(file);
  KeyFile& key = entry->second;
  if (!added)
    return key;
  // Some name the public half: then an agent has the other.
  key.blob = public_blob(file);
  key.exists = key.blob.empty() && ::access(file.c_str(), F_OK) == 0;
  if (key.blob.empty())
    key.blob = public_blob(with_suffix(file, ".pub"));
  key.certificate = public_blob(with_suffix(file, "-cert.pub"));
  if (key.blob.empty() && key.exists)
    key.blob = extracted_blob(file);
  return key;
}

const AgentKeys* KeyRing::agent(const std::string& socket) const {
  const auto known = agents_.find(socket);
  return known != agents_.end() ? &known->second : nullptr;
}

void KeyRing::remember_agent(const std::string& socket, AgentKeys keys) {
  agents_.insert_or_assign(socket, std::move(keys));
}

void KeyRing::give_up_agent(const std::string& socket) {
  agents_.try_emplace(socket,
                      AgentKeys{{}, "the ssh agent " + clean_line(socket) + " gives no answer"});
}

bool KeyRing::can_sign_with_files() {
  if (!can_sign_)
    can_sign_ = OwnAgent::possible();
  return *can_sign_;
}

const std::string& KeyRing::unlock(const fs::path& file) {
  const auto known = unlocked_.find(file);
  if (known != unlocked_.end())
    return known->second;
  return unlocked_.emplace(file, own_.add(file)).first->second;
}

}  // namespace ds
