// SPDX-License-Identifier: Apache-2.0
//
// Zip by libarchive. Whatever the archive says is foreign: names, kinds and sizes are judged before
// a byte is handed on.
#include "wheel/zip_reader.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <set>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "base/sha256.h"
#include "base/text.h"
#include "base/utf8_locale.h"
#include "wheel/wheel_name.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t unpacked_limit = 64ull << 30;
constexpr std::uint64_t ratio_limit = 200;           // unpacked to packed, once ...
constexpr std::uint64_t ratio_starts_at = 1u << 28;  // ... this much came out

[[noreturn]] void refuse(const fs::path& file, const std::string& why, const std::string& fix) {
  throw Error(file.string() + ": " + why, fix, ExitStatus::usage);
}

}  // namespace

class ZipReader::Archive {
 public:
  explicit Archive(const fs::path& file)
      : file_(file), fd_(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    struct stat status {};
    if (!fd_ || ::fstat(fd_.get(), &status) != 0) {
      throw Error(fmt::format("cannot read {}: {}", file.string(), errno_text(errno)), {},
                  ExitStatus::usage);
    }
    if (!S_ISREG(status.st_mode))
      refuse(file, "it is not a regular file", "name a wheel");
    bytes_ = static_cast<std::uint64_t>(status.st_size);
    archive_.reset(::archive_read_new());
    check(::archive_read_support_format_zip_seekable(archive_.get()));
    if (::archive_read_open_fd(archive_.get(), fd_.get(), 1 << 17) != ARCHIVE_OK)
      not_a_zip();
  }

  std::uint64_t bytes() const { return bytes_; }
  const std::string& path() const { return path_; }
  int mode() const { return (::archive_entry_perm(entry_) & 0111) != 0 ? 0755 : 0644; }

  std::string sha256() const {
    Sha256 hash;
    std::vector<char> buffer(1 << 20);
    std::uint64_t total = 0;
    for (;;) {
      const ssize_t got =
          ::pread(fd_.get(), buffer.data(), buffer.size(), static_cast<off_t>(total));
      if (got < 0 && errno == EINTR)
        continue;
      if (got < 0)
        refuse(file_, "it cannot be read: " + errno_text(errno), {});
      if (got == 0)
        break;
      hash.update({buffer.data(), static_cast<std::size_t>(got)});
      total += static_cast<std::uint64_t>(got);
    }
    if (total != bytes_)
      refuse(file_, "it changed while it was read", "try again");
    return hex(hash.finish());
  }

  bool next() {
    for (;;) {
      const int outcome = ::archive_read_next_header(archive_.get(), &entry_);
      if (outcome == ARCHIVE_EOF)
        return false;
      if (outcome == ARCHIVE_FATAL && names_.empty())
        not_a_zip();
      check(outcome);
      take_name();
      if (::archive_entry_filetype(entry_) != AE_IFDIR)
        return true;
    }
  }

  void read(const Sink& sink) {
    const void* block = nullptr;
    std::size_t size = 0;
    la_int64_t offset = 0;
    for (;;) {
      const int outcome = ::archive_read_data_block(archive_.get(), &block, &size, &offset);
      if (outcome == ARCHIVE_EOF)
        return;
      check(outcome);
      unpacked_ += size;
      const bool swollen = unpacked_ > ratio_starts_at && unpacked_ / ratio_limit > bytes_;
      if (unpacked_ > unpacked_limit || swollen) {
        refuse(file_,
               fmt::format("entry '{}': {} were unpacked from an archive of {}; that is a zip bomb",
                           path_, human_bytes(unpacked_), human_bytes(bytes_)),
               "do not use this file");
      }
      sink({static_cast<const char*>(block), size});
    }
  }

 private:
  struct Free {
    void operator()(::archive* archive) const { ::archive_read_free(archive); }
  };

  void take_name() {
    const char* name = ::archive_entry_pathname_utf8(entry_);
    const auto kind = ::archive_entry_filetype(entry_);
    path_ = name == nullptr ? "" : name;
    if (kind == AE_IFDIR && path_.size() > 1 && path_.ends_with('/'))
      path_.pop_back();
    std::string problem = path_problem(path_);
    if (problem.empty() && !names_.insert(path_).second)
      problem = "its name is there twice";
    if (problem.empty() && kind == AE_IFLNK)
      problem = "it is a symbolic link";
    if (problem.empty() && ::archive_entry_hardlink(entry_) != nullptr)
      problem = "it is a link";
    if (problem.empty() && kind != AE_IFDIR && kind != AE_IFREG)
      problem = "it is a special file";
    if (problem.empty() && ::archive_entry_is_encrypted(entry_) != 0)
      problem = "it is encrypted";
    if (problem.empty())
      return;
    refuse(file_, fmt::format("entry '{}': {}", clean_line(path_), problem),
           "do not use this file; build the wheel again");
  }

  [[noreturn]] void not_a_zip() const {
    refuse(file_, "it is no zip archive, or it was cut short", "build or fetch the wheel again");
  }

  void check(int outcome) const {
    if (outcome == ARCHIVE_OK)
      return;
    const char* why = ::archive_error_string(archive_.get());
    refuse(file_,
           fmt::format("{}the archive is damaged: {}",
                       path_.empty() ? "" : "entry '" + clean_line(path_) + "': ",
                       clean_line(why == nullptr ? "no reason given" : why)),
           "build or fetch the wheel again");
  }

  const Utf8Locale locale_;
  const fs::path file_;
  const Fd fd_;
  std::uint64_t bytes_ = 0;
  std::unique_ptr<::archive, Free> archive_;
  ::archive_entry* entry_ = nullptr;
  std::string path_;
  std::set<std::string> names_;
  std::uint64_t unpacked_ = 0;
};

ZipReader::ZipReader(const fs::path& file) : archive_(std::make_unique<Archive>(file)) {}
ZipReader::~ZipReader() = default;
std::uint64_t ZipReader::bytes() const {
  return archive_->bytes();
}
std::string ZipReader::sha256() const {
  return archive_->sha256();
}
bool ZipReader::next() {
  return archive_->next();
}
const std::string& ZipReader::path() const {
  return archive_->path();
}
int ZipReader::mode() const {
  return archive_->mode();
}
void ZipReader::read(const Sink& sink) {
  archive_->read(sink);
}

}  // namespace ds
