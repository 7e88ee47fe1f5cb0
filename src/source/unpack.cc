// SPDX-License-Identifier: Apache-2.0
//
// Tar and zip by libarchive. Names, kinds and sizes are foreign: they are judged before a byte is
// written, and links are made last, so that nothing is written through one.
#include "source/unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/random.h"
#include "base/sha256.h"
#include "base/text.h"
#include "base/utf8_locale.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t unpacked_limit = 4ull << 30;
constexpr std::uint64_t ratio_limit = 200;           // unpacked to packed, once ...
constexpr std::uint64_t ratio_starts_at = 1u << 28;  // ... this much came out
constexpr std::size_t entry_limit = 200'000;

/// "x/y" for "./x//y/"; empty for the root itself. `problem` says why a name cannot be used.
std::string plain_path(const char* given, std::string& problem) {
  const std::string name = given == nullptr ? "" : given;
  std::string plain;
  if (name.empty() || name.size() > 4000)
    problem = "its name is empty or too long";
  else if (name.front() == '/')
    problem = "its name is absolute";
  else if (clean_line(name, name.size()) != name || name.find('\\') != std::string::npos)
    problem = "its name has characters that no file of a source has";
  for (const std::string& piece : split(name, '/')) {
    if (piece == "..")
      problem = "its name climbs";
    if (!piece.empty() && piece != ".")
      plain += (plain.empty() ? "" : "/") + piece;
  }
  return plain;
}

/// True for `inner` below `outer`; both are canonical.
bool is_below(const fs::path& inner, const fs::path& outer) {
  const auto [mismatch, rest] =
      std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end());
  return mismatch == outer.end();
}

class Unpacker {
 public:
  Unpacker(const fs::path& file, const fs::path& root)
      : file_(file), root_(root), fd_(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    struct stat status {};
    if (!fd_ || ::fstat(fd_.get(), &status) != 0)
      refuse("it cannot be read: " + errno_text(errno));
    if (!S_ISREG(status.st_mode))
      refuse("it is neither a folder nor a file");
    bytes_ = static_cast<std::uint64_t>(status.st_size);
    archive_.reset(::archive_read_new());
    ::archive_read_support_format_tar(archive_.get());
    ::archive_read_support_format_zip(archive_.get());
    ::archive_read_support_filter_gzip(archive_.get());
    ::archive_read_support_filter_bzip2(archive_.get());
    ::archive_read_support_filter_xz(archive_.get());
    if (::archive_read_open_fd(archive_.get(), fd_.get(), 1 << 17) != ARCHIVE_OK)
      refuse("it is no archive of a kind that is known here");
  }

  void run() {
    for (;;) {
      const int outcome = ::archive_read_next_header(archive_.get(), &entry_);
      if (outcome == ARCHIVE_EOF)
        break;
      if (outcome == ARCHIVE_FATAL && entries_ == 0)
        refuse("it is no archive of a kind that is known here, or it was cut short");
      check(outcome);
      take_entry();
    }
    if (names_.empty())
      refuse("there is nothing in it");
    make_links();
  }

 private:
  struct Free {
    void operator()(::archive* archive) const { ::archive_read_free(archive); }
  };

  [[noreturn]] void refuse(const std::string& why) const {
    throw Error(fmt::format("{}: {}{}", file_.string(),
                            path_.empty() ? "" : "entry '" + clean_line(path_) + "': ", why),
                "name a source distribution (.tar.gz or .zip) or a folder; if this is one, get it "
                "again",
                ExitStatus::usage);
  }

  void check(int outcome) const {
    if (outcome == ARCHIVE_OK || outcome == ARCHIVE_EOF)
      return;
    const char* why = ::archive_error_string(archive_.get());
    refuse("the archive is damaged: " + clean_line(why == nullptr ? "no reason given" : why));
  }

  void take_entry() {
    const char* given = ::archive_entry_pathname_utf8(entry_);
    std::string problem;
    path_ = given == nullptr ? "?" : given;
    const std::string path = plain_path(given, problem);
    if (++entries_ > entry_limit)
      problem = "there are too many entries";
    if (!problem.empty())
      refuse(problem);
    const auto kind = ::archive_entry_filetype(entry_);
    take_folders(kind == AE_IFDIR ? path + "/" : path);
    if (kind == AE_IFDIR)
      return make_folders(root_ / path);
    if (path.empty() || folders_.contains(path) || !names_.insert(path).second)
      refuse("its name is there twice");
    if (::archive_entry_hardlink(entry_) != nullptr || ::archive_entry_is_encrypted(entry_) != 0)
      refuse("it is a hard link, or encrypted");
    if (kind == AE_IFLNK)
      take_link(path);
    else if (kind == AE_IFREG)
      write_entry(root_ / path);
    else
      refuse("it is a special file");
  }

  /// Nothing lies below a file or a link, whichever of the two comes first.
  void take_folders(const std::string& path) {
    for (std::size_t at = path.find('/'); at != std::string::npos; at = path.find('/', at + 1)) {
      const std::string folder = path.substr(0, at);
      if (names_.contains(folder))
        refuse("it lies below a file or a link");
      folders_.insert(folder);
    }
  }

  void take_link(const std::string& path) {
    const char* target = ::archive_entry_symlink_utf8(entry_);
    if (target == nullptr || *target == '\0' || *target == '/')
      refuse("it is a link that leads out of the tree");
    links_.emplace(path, target);
  }

  void write_entry(const fs::path& to) {
    make_folders(to.parent_path());
    const mode_t mode = (::archive_entry_perm(entry_) & 0111) != 0 ? 0755 : 0644;
    const Fd out(::open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
    if (!out)
      cannot_write(to);
    const void* block = nullptr;
    std::size_t size = 0;
    la_int64_t offset = 0, end = 0;
    for (;;) {
      const int outcome = ::archive_read_data_block(archive_.get(), &block, &size, &offset);
      if (outcome == ARCHIVE_EOF)
        return;
      check(outcome);
      unpacked_ += size + static_cast<std::uint64_t>(std::max<la_int64_t>(0, offset - end));
      end = offset + static_cast<la_int64_t>(size);
      const bool swollen = unpacked_ > ratio_starts_at && unpacked_ / ratio_limit > bytes_;
      if (unpacked_ > unpacked_limit || swollen)
        refuse(fmt::format("{} came out of {}: too much for a source", human_bytes(unpacked_),
                           human_bytes(bytes_)));
      write_block(out, to, {static_cast<const char*>(block), size}, offset);
    }
  }

  static void write_block(const Fd& out, const fs::path& to, std::string_view block, off_t at) {
    while (!block.empty()) {
      const ssize_t written = ::pwrite(out.get(), block.data(), block.size(), at);
      if (written < 0 && errno == EINTR)
        continue;
      if (written < 0)
        cannot_write(to);
      block.remove_prefix(static_cast<std::size_t>(written));
      at += written;
    }
  }

  [[noreturn]] static void cannot_write(const fs::path& to) {
    throw Error(fmt::format("cannot write {}: {}", to.string(), errno_text(errno)),
                "name a cache folder that can be written to, with --cache-dir", ExitStatus::usage);
  }

  /// Each is followed to its end, through the others.
  void make_links() {
    for (const auto& [path, target] : links_) {
      make_folders((root_ / path).parent_path());
      if (::symlink(target.c_str(), (root_ / path).c_str()) != 0)
        cannot_write(root_ / path);
    }
    const fs::path root = fs::canonical(root_);
    for (const auto& [path, target] : links_) {
      std::error_code failure;
      const fs::path end = fs::canonical(root_ / path, failure);
      path_ = path;
      if (failure || !is_below(end, root))
        refuse("it is a link that leads out of the tree, or to nothing");
    }
  }

  const Utf8Locale locale_;
  const fs::path file_, root_;
  const Fd fd_;
  std::uint64_t bytes_ = 0, unpacked_ = 0;
  std::unique_ptr<::archive, Free> archive_;
  ::archive_entry* entry_ = nullptr;
  std::size_t entries_ = 0;
  std::string path_;  ///< of the entry, as it is written
  std::set<std::string> names_, folders_;
  std::map<std::string, std::string> links_;
};

/// The one folder that a folder holds, or itself.
fs::path tree_in(const fs::path& folder) {
  const std::vector<fs::directory_entry> inside(fs::directory_iterator(folder), {});
  const bool one = inside.size() == 1 && fs::is_directory(inside.front().symlink_status());
  return one ? inside.front().path() : folder;
}

}  // namespace

fs::path unpack_source(const fs::path& file, const fs::path& cache, InUse& in_use) {
  if (!fs::is_regular_file(file)) {
    throw Error(file.string() + " is neither a folder nor a file",
                "name a source distribution (.tar.gz or .zip) or a folder", ExitStatus::usage);
  }
  const fs::path sources = fs::absolute(cache) / "sources";
  const fs::path place = sources / hex(sha256_file(file));
  if (in_use.hold(place))
    return fs::canonical(tree_in(place));
  const fs::path part = place.string() + "." + random_nonce().substr(0, 8);
  make_folders(part);
  try {
    Unpacker(file, part).run();
    std::error_code taken;
    fs::rename(part, place, taken);
    if (taken && !fs::is_directory(place))
      throw Error(fmt::format("cannot write {}: {}", place.string(), taken.message()),
                  "name another cache folder with --cache-dir", ExitStatus::usage);
    if (taken)  // another run was first
      fs::remove_all(part, taken);
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(part, ignored);
    throw;
  }
  if (!in_use.hold(place)) {
    throw Error("the unpacked source was removed while it was read: " + place.string(),
                "run it again; something else clears the cache folder", ExitStatus::build_failed);
  }
  return fs::canonical(tree_in(place));
}

}  // namespace ds
