// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include "base/error.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/machine.h"
#include "base/text.h"
#include "cache/cache.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

constexpr int asked_again_after = 100;  // milliseconds
/// Breaking a dead owner's lock takes a moment; whoever takes longer died meanwhile.
constexpr int longest_breaking = 10;  // seconds

std::string content(const fs::path& file) {
  try {
    return read_file(file, 4096);
  } catch (const Error&) {
    return {};
  }
}

std::string boot_id() {
  return std::string(trim(content("/proc/sys/kernel/random/boot_id")));
}

/// "HOST PID BOOT-ID".
std::string own_mark() {
  return fmt::format("{} {} {}\n", host_name(), ::getpid(), boot_id());
}

std::string who(const std::string& mark) {
  const std::vector<std::string> words = split_words(mark);
  if (words.size() != 3)
    return "another process";
  return words[0] == host_name() ? "process " + clean_line(words[1], 20)
                                 : clean_line(fmt::format("process {} on {}", words[1], words[0]));
}

/// Its machine was started anew, or on this machine nothing runs under its number.
bool is_dead(const std::string& mark) {
  const std::vector<std::string> words = split_words(mark);
  if (words.size() != 3 || words[0] != host_name())
    return false;
  return words[2] != boot_id() || !may_be_running(words[1]);
}

void wait_a_moment() {
  pollfd waits{interrupt_fd(), POLLIN, 0};
  ::poll(&waits, 1, asked_again_after);
  check_interrupt();
}

/// Two may see the same dead owner; only one of them may take its lock away.
void break_lock(const fs::path& file, const std::string& mark) {
  const fs::path breaking = file.string() + ".breaking";
  const Fd mine(::open(breaking.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (mine) {
    if (content(file) == mark)
      ::unlink(file.c_str());
    ::unlink(breaking.c_str());
    return;
  }
  struct stat status {};
  if (::stat(breaking.c_str(), &status) == 0 &&
      std::time(nullptr) - status.st_mtime > longest_breaking)
    ::unlink(breaking.c_str());
}

}  // namespace

FileLock::FileLock(fs::path file, const Waiting& waiting, Means means) : file_(std::move(file)) {
  make_folders(file_.parent_path());
  if (means == Means::automatic && take_by_flock(waiting))
    return;
  // What flock left is empty and stays; a link is there only while somebody has it.
  file_ += ".link";
  own_ = fmt::format("{}.{}.{}", file_.string(), host_name(), ::getpid());
  write_file(own_, own_mark());
  try {
    take_by_link(waiting);
  } catch (...) {
    ::unlink(own_.c_str());
    throw;
  }
}

FileLock::~FileLock() {
  if (fd_) {
    // The file stays: another may wait for the very inode.
    if (::ftruncate(fd_.get(), 0) != 0)
      return;
  } else if (!own_.empty()) {
    ::unlink(file_.c_str());
    ::unlink(own_.c_str());
  }
}

bool FileLock::take_by_flock(const Waiting& waiting) {
  Fd fd(::open(file_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (!fd)
    throw Error(fmt::format("cannot open the lock {}: {}", file_.string(), errno_text(errno)),
                "let this user write there, or name another folder", ExitStatus::usage);
  for (bool told = false; ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0;) {
    if (errno == EINTR)
      continue;
    if (errno != EWOULDBLOCK)
      return false;
    const std::string mark = content(file_);
    if (!told && !mark.empty()) {
      waiting(who(mark));
      told = true;
    }
    wait_a_moment();
  }
  const std::string mark = own_mark();
  if (::ftruncate(fd.get(), 0) != 0 ||
      ::pwrite(fd.get(), mark.data(), mark.size(), 0) != static_cast<ssize_t>(mark.size()))
    return false;
  fd_ = std::move(fd);
  return true;
}

/// link(2) is atomic on every file system that has it, NFS included.
void FileLock::take_by_link(const Waiting& waiting) {
  for (bool told = false;;) {
    struct stat status {};
    // Where the answer of a server was lost the link is there all the same.
    if (::link(own_.c_str(), file_.c_str()) == 0 ||
        (::stat(own_.c_str(), &status) == 0 && status.st_nlink == 2))
      return;
    if (errno != EEXIST && errno != ENOENT) {
      throw Error(fmt::format("cannot take the lock {}: {}", file_.string(), errno_text(errno)),
                  "name a folder on a file system that has link(2)", ExitStatus::usage);
    }
    const std::string owner = content(file_);
    if (is_dead(owner)) {
      break_lock(file_, owner);
      continue;
    }
    if (!told && !owner.empty()) {
      waiting(who(owner));
      told = true;
    }
    wait_a_moment();
  }
}

}  // namespace ds
