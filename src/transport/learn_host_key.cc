// SPDX-License-Identifier: Apache-2.0
#include "transport/learn_host_key.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <map>
#include <thread>

#include "base/error.h"
#include "base/fd.h"
#include "base/interrupt.h"
#include "base/text.h"

namespace ds {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr auto lock_patience = 10s;

[[noreturn]] void fail(const std::string& doing, const fs::path& file, int number) {
  throw Error("cannot " + doing + " " + file.string() + ": " + errno_text(number),
              "the host key was not added; see to the file, then run it again", ExitStatus::usage);
}

/// What would mean something else in the file: separators, patterns, markers, comments.
void check_entry(const NewHostKey& added) {
  const auto wrong = [](unsigned char c) {
    return c <= ' ' || c >= 0x7f || std::string_view("@?*#[]|'\"\\,!").find(c) != std::string::npos;
  };
  if (added.name.empty() || std::any_of(added.name.begin(), added.name.end(), wrong)) {
    throw Error("the name '" + clean_line(added.name) + "' cannot stand in a known_hosts file",
                "give the host a HostKeyAlias in the ssh configuration", ExitStatus::usage);
  }
  const std::optional<HostKey> key = parse_host_key(added.key);
  if (!key || key->certificate || key->weak) {
    throw Error("the host key of " + added.name + " is none that ssh takes: " +
                    (key && key->weak ? "RSA below 1024 bits" : "unknown type or form"),
                "give the host a new key: ssh-keygen -A there", ExitStatus::key_refused);
  }
}

std::string hashed(const std::string& name) {
  unsigned char salt[20], hash[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (::RAND_bytes(salt, sizeof salt) != 1 ||
      ::HMAC(::EVP_sha1(), salt, sizeof salt, reinterpret_cast<const unsigned char*>(name.data()),
             name.size(), hash, &size) == nullptr)
    throw Error("OpenSSL could not hash a name for known_hosts (HMAC-SHA1)",
                "set HashKnownHosts no in the ssh configuration");
  return "|1|" + encode_base64({reinterpret_cast<const char*>(salt), sizeof salt}) + "|" +
         encode_base64({reinterpret_cast<const char*>(hash), size});
}

std::string entry(const NewHostKey& added) {
  const std::string name = known_host_name(added.name, added.port);
  return (added.hash_names ? hashed(name) : name) + " " +
         key_text(parse_host_key(added.key)->plain) + "\n";
}

void make_folder(const fs::path& folder) {
  if (folder.empty() || fs::exists(folder))
    return;
  make_folder(folder.parent_path());
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST)
    fail("make the folder", folder, errno);
}

/// The file, opened and locked. ssh-keygen -R puts another file in its place: then once more.
Fd open_locked(const fs::path& file) {
  const auto give_up = std::chrono::steady_clock::now() + lock_patience;
  while (true) {
    Fd fd(::open(file.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600));
    if (!fd)
      fail("open", file, errno);
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) {
      struct stat held {
      }, named{};
      if (::fstat(fd.get(), &held) == 0 && ::stat(file.c_str(), &named) == 0 &&
          held.st_ino == named.st_ino && held.st_dev == named.st_dev)
        return fd;
      continue;
    }
    if (errno != EWOULDBLOCK && errno != EINTR)
      fail("lock", file, errno);
    if (std::chrono::steady_clock::now() > give_up) {
      throw Error("cannot lock " + file.string() + ": another program has held it for 10 s",
                  "find it with 'fuser " + file.string() + "', then run it again",
                  ExitStatus::lock_held);
    }
    check_interrupt();
    std::this_thread::sleep_for(10ms);
  }
}

bool lacks_newline(int fd, const fs::path& file) {
  struct stat status {};
  if (::fstat(fd, &status) != 0)
    fail("read", file, errno);
  if (status.st_size == 0)
    return false;
  char last = '\n';
  if (::pread(fd, &last, 1, status.st_size - 1) != 1)
    fail("read", file, errno);
  return last != '\n';
}

}  // namespace

std::vector<KeyCheck> append_host_keys(const fs::path& file, std::span<const NewHostKey> keys) {
  std::for_each(keys.begin(), keys.end(), check_entry);
  make_folder(file.parent_path());
  const Fd fd = open_locked(file);
  const KnownHosts known({file});  // read under the lock: somebody may have added it meanwhile
  std::vector<KeyCheck> checks;
  std::map<std::string, std::string> added;
  std::string text;
  for (const NewHostKey& key : keys) {
    checks.push_back(known.check(key.name, key.port, key.key));
    if (checks.back().verdict != KeyVerdict::unknown)
      continue;
    const auto [before, fresh] = added.emplace(known_host_name(key.name, key.port), key.key);
    if (fresh) {
      text += entry(key);
    } else {
      checks.back().verdict = before->second == key.key ? KeyVerdict::match : KeyVerdict::changed;
      checks.back().where = file.string();
    }
  }
  if (text.empty())
    return checks;
  if (lacks_newline(fd.get(), file))
    text.insert(text.begin(), '\n');
  ssize_t put = 0;
  do {
    put = ::write(fd.get(), text.data(), text.size());
  } while (put < 0 && errno == EINTR);
  if (put != static_cast<ssize_t>(text.size()))
    fail("write all of", file, put < 0 ? errno : ENOSPC);
  return checks;
}

}  // namespace ds
