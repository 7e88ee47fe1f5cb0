// SPDX-License-Identifier: Apache-2.0
#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"

namespace ds {
namespace {

[[noreturn]] void fail(const std::string& doing, const std::filesystem::path& file, int number) {
  throw Error("cannot " + doing + " " + file.string() + ": " + errno_text(number), {},
              ExitStatus::usage);
}

void write_all(int fd, std::string_view content, const std::filesystem::path& file) {
  while (!content.empty()) {
    const ssize_t put = ::write(fd, content.data(), content.size());
    if (put < 0 && errno == EINTR)
      continue;
    if (put < 0)
      fail("write", file, errno);
    content.remove_prefix(static_cast<std::size_t>(put));
  }
}

}  // namespace

std::string read_file(const std::filesystem::path& file, std::size_t limit) {
  const Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd)
    fail("read", file, errno);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0)
    fail("read", file, errno);
  if (S_ISDIR(status.st_mode)) {
    throw Error("cannot read " + file.string() + ": it is a folder", "name a file",
                ExitStatus::usage);
  }
  if (!S_ISREG(status.st_mode)) {
    throw Error("cannot read " + file.string() + ": it is not a regular file", {},
                ExitStatus::usage);
  }
  std::string content;
  char buffer[1 << 16];
  for (;;) {
    const ssize_t got = ::read(fd.get(), buffer, sizeof buffer);
    if (got == 0)
      return content;
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      fail("read", file, errno);
    content.append(buffer, static_cast<std::size_t>(got));
    if (content.size() > limit)
      fail("read", file, EFBIG);
  }
}

void write_file(const std::filesystem::path& file, std::string_view content, int mode,
                Outlives outlives) {
  std::string temporary = file.string() + ".XXXXXX";
  const Fd fd(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd)
    fail("write", file, errno);
  try {
    write_all(fd.get(), content, file);
    if (::fchmod(fd.get(), static_cast<mode_t>(mode)) != 0 ||
        (outlives == Outlives::power && ::fsync(fd.get()) != 0) ||
        ::rename(temporary.c_str(), file.c_str()) != 0) {
      fail("write", file, errno);
    }
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
}

void make_folders(const std::filesystem::path& folder) {
  std::error_code failure;
  std::filesystem::create_directories(folder, failure);
  if (failure) {
    throw Error("cannot make the folder " + folder.string() + ": " + failure.message(),
                "make it, let this user write there, or name another folder", ExitStatus::usage);
  }
}

std::filesystem::path find_program(const std::string& name) {
  const auto can_run = [](const std::filesystem::path& file) {
    std::error_code absent;
    return std::filesystem::is_regular_file(file, absent) && ::access(file.c_str(), X_OK) == 0;
  };
  if (name.find('/') != std::string::npos)
    return can_run(name) ? std::filesystem::path(name) : std::filesystem::path();
  const char* path = std::getenv("PATH");
  for (const std::string& folder : split(path != nullptr ? path : "", ':')) {
    const std::filesystem::path file = std::filesystem::path(folder) / name;
    if (can_run(file))
      return file;
  }
  return {};
}

TempDir::TempDir(std::string_view prefix) {
  const char* base = std::getenv("TMPDIR");
  std::string pattern = std::string(base != nullptr && *base != '\0' ? base : "/tmp") + "/" +
                        std::string(prefix) + ".XXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr)
    fail("make a folder like", pattern, errno);
  path_ = pattern;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::filesystem::path expand_home(std::string_view path) {
  if (path != "~" && !path.starts_with("~/"))
    return path;
  const char* home = std::getenv("HOME");
  return std::filesystem::path(home != nullptr ? home : "/") /
         path.substr(path.size() == 1 ? 1 : 2);
}

std::filesystem::path cache_home() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && *cache == '/')
    return std::filesystem::path(cache) / "ds-deploy";
  return expand_home("~/.cache/ds-deploy");
}

std::filesystem::path state_home() {
  const char* state = std::getenv("XDG_STATE_HOME");
  if (state != nullptr && *state == '/')
    return std::filesystem::path(state) / "ds-deploy";
  return expand_home("~/.local/state/ds-deploy");
}

}  // namespace ds
