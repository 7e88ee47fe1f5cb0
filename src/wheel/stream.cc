// SPDX-License-Identifier: Apache-2.0
//
// Packs a stream with libzstd into a file that has no name.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/sha256.h"
#include "wheel/wheel.h"
#include "wheel/zip_reader.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

// One core packs 400 MB/s of machine code at this level, to 40 % (level 1: 600 MB/s to 48 %; level
// 5 takes twice as long for no less). So a wheel of 300 MB is packed in less than the second that
// 1 Gbit/s needs to send what comes of it to one host; further cores make the wait shorter still.
constexpr int level = 3;
constexpr unsigned most_workers = 4;
// Smaller than the default of 8 MB, for each worker holds several.
constexpr int job_bytes = 4 << 20;

[[noreturn]] void changed(const Wheel& wheel, const std::string& what) {
  throw Error(wheel.file.string() + ": " + what + " changed since the wheel was checked",
              "try again", ExitStatus::usage);
}

/// A file that is gone with its descriptor, so that nothing is left however this process ends.
class NamelessFile {
 public:
  explicit NamelessFile(const fs::path& folder) : folder_(folder) {
    make_folders(folder);
    std::string name = folder / ".stream.XXXXXX";
    fd_ = Fd(::mkostemp(name.data(), O_CLOEXEC));
    if (!fd_)
      fail();
    ::unlink(name.c_str());
  }

  void append(std::string_view bytes) {
    hash_.update(bytes);
    bytes_ += bytes.size();
    while (!bytes.empty()) {
      const ssize_t put = ::write(fd_.get(), bytes.data(), bytes.size());
      if (put < 0 && errno == EINTR)
        continue;
      if (put < 0)
        fail();
      bytes.remove_prefix(static_cast<std::size_t>(put));
    }
  }

  void give_to(WheelStream& stream) {
    stream.file = fmt::format("/proc/self/fd/{}", fd_.get());
    stream.bytes = bytes_;
    stream.sha256 = hex(hash_.finish());
    stream.content = std::move(fd_);
  }

 private:
  [[noreturn]] void fail() const {
    throw Error(fmt::format("cannot write to {} what hosts lack of the wheel: {}", folder_.string(),
                            errno_text(errno)),
                "make room there", ExitStatus::usage);
  }

  const fs::path folder_;
  Fd fd_;
  Sha256 hash_;
  std::uint64_t bytes_ = 0;
};

/// One zstd frame.
class Frame {
 public:
  Frame(NamelessFile& out, std::uint64_t unpacked)
      : out_(out), context_(::ZSTD_createCCtx()), buffer_(::ZSTD_CStreamOutSize(), '\0') {
    if (context_ == nullptr)
      throw std::bad_alloc();
    const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
    set(ZSTD_c_compressionLevel, level);
    // A library without threads refuses this. Any number of them gives the same bytes.
    ::ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_nbWorkers,
                             static_cast<int>(std::min(cores, most_workers)));
    ::ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_jobSize, job_bytes);
    check(::ZSTD_CCtx_setPledgedSrcSize(context_.get(), unpacked));
  }

  void append(std::string_view bytes) {
    ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
    while (in.pos < in.size)
      step(in, ZSTD_e_continue);
  }

  void finish() {
    ZSTD_inBuffer none{nullptr, 0, 0};
    while (step(none, ZSTD_e_end) != 0)
      check_interrupt();
  }

 private:
  struct Free {
    void operator()(ZSTD_CCtx* context) const { ::ZSTD_freeCCtx(context); }
  };

  static std::size_t check(std::size_t outcome) {
    if (::ZSTD_isError(outcome) != 0)
      throw Error(std::string("zstd cannot pack the wheel: ") + ::ZSTD_getErrorName(outcome));
    return outcome;
  }

  void set(ZSTD_cParameter parameter, int value) {
    check(::ZSTD_CCtx_setParameter(context_.get(), parameter, value));
  }

  std::size_t step(ZSTD_inBuffer& in, ZSTD_EndDirective directive) {
    ZSTD_outBuffer out{buffer_.data(), buffer_.size(), 0};
    const std::size_t left = check(::ZSTD_compressStream2(context_.get(), &out, &in, directive));
    out_.append({buffer_.data(), out.pos});
    return left;
  }

  NamelessFile& out_;
  std::unique_ptr<ZSTD_CCtx, Free> context_;
  std::string buffer_;
};

std::size_t index_of(const Wheel& wheel, const std::string& path) {
  const auto found = std::lower_bound(
      wheel.entries.begin(), wheel.entries.end(), path,
      [](const WheelEntry& entry, const std::string& wanted) { return entry.path < wanted; });
  if (found == wheel.entries.end() || found->path != path)
    changed(wheel, path);
  return static_cast<std::size_t>(found - wheel.entries.begin());
}

std::uint64_t unpacked_bytes(const Wheel& wheel, const std::vector<bool>& wanted) {
  std::uint64_t bytes = 0;
  for (std::size_t at = 0; at < wheel.entries.size(); ++at)
    bytes += wanted.at(at) ? wheel.entries[at].size : 0;
  return bytes;
}

}  // namespace

WheelStream make_stream(const Wheel& wheel, const std::vector<bool>& wanted, StreamPacking packing,
                        const std::filesystem::path& folder) {
  WheelStream stream;
  stream.packing = packing;
  NamelessFile out(folder);
  std::unique_ptr<Frame> frame;
  if (packing == StreamPacking::zstd)
    frame = std::make_unique<Frame>(out, unpacked_bytes(wheel, wanted));
  const auto number = static_cast<std::size_t>(std::count(wanted.begin(), wanted.end(), true));
  ZipReader archive(wheel.file);
  while (stream.files.size() < number && archive.next()) {
    const std::size_t at = index_of(wheel, archive.path());
    if (!wanted[at])
      continue;
    Sha256 hash;
    std::uint64_t left = wheel.entries[at].size;
    archive.read([&](std::string_view block) {
      check_interrupt();
      if (block.size() > left)
        changed(wheel, archive.path());
      left -= block.size();
      hash.update(block);
      frame ? frame->append(block) : out.append(block);
    });
    if (hex(hash.finish()) != wheel.entries[at].sha256)
      changed(wheel, archive.path());
    stream.files.push_back(at);
  }
  if (stream.files.size() != number)
    changed(wheel, "the list of its files");
  if (frame)
    frame->finish();
  out.give_to(stream);
  return stream;
}

}  // namespace ds
