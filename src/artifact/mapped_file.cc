// SPDX-License-Identifier: Apache-2.0
#include "artifact/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>

#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"

namespace ds {

MappedFile::MappedFile(const std::filesystem::path& file) {
  const auto fail = [&file](const std::string& why) {
    throw Error("cannot read " + file.string() + ": " + why, {}, ExitStatus::usage);
  };
  const Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (!fd || ::fstat(fd.get(), &status) != 0)
    fail(errno_text(errno));
  if (!S_ISREG(status.st_mode))
    fail(S_ISDIR(status.st_mode) ? "it is a folder" : "it is not a regular file");
  size_ = static_cast<std::size_t>(status.st_size);
  if (size_ == 0)
    return;
  void* start = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (start == MAP_FAILED)
    fail(errno_text(errno));
  start_ = static_cast<const char*>(start);
}

MappedFile::~MappedFile() {
  if (start_ != nullptr)
    ::munmap(const_cast<char*>(start_), size_);
}

}  // namespace ds
