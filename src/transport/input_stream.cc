// SPDX-License-Identifier: Apache-2.0
#include "transport/input_stream.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>

#include "base/error.h"

namespace ds {

namespace {

constexpr int file_part = 4;

std::string_view view_of(const SharedText& text) {
  return text ? std::string_view(*text) : std::string_view();
}

std::atomic<std::uint64_t> bytes_of_files{0};

}  // namespace

InputStream::InputStream(ExecInput input, const std::string& preamble, RateLimit* limit)
    : input_(std::move(input)), preamble_(preamble), limit_(limit) {
  if (input_.file.empty())
    return;
  file_ = Fd(::open(input_.file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file_ || ::lseek(file_.get(), static_cast<off_t>(input_.offset), SEEK_SET) < 0) {
    throw Error("cannot read " + input_.file.string() + ": " + errno_text(errno));
  }
}

std::string_view InputStream::text() const {
  const std::string_view texts[] = {preamble_, view_of(input_.head), input_.bytes,
                                    view_of(input_.tail), block_};
  return texts[part_];
}

std::string_view InputStream::next(Clock::time_point now) {
  while (part_ < file_part && at_ == text().size()) {
    ++part_;
    at_ = 0;
  }
  if (part_ == file_part && at_ == block_.size() && file_) {
    block_.resize(256 * 1024);
    at_ = 0;
    ssize_t got = -1;
    do {
      got = ::read(file_.get(), block_.data(), block_.size());
    } while (got < 0 && errno == EINTR);
    if (got < 0)
      throw Error("cannot read " + input_.file.string() + ": " + errno_text(errno));
    block_.resize(static_cast<std::size_t>(got));
    if (got == 0)
      file_.close();
  }
  const std::string_view piece = text().substr(at_);
  return part_ == file_part && limit_ != nullptr && !piece.empty() ? limited(piece, now) : piece;
}

std::string_view InputStream::limited(std::string_view piece, Clock::time_point now) {
  if (granted_ == 0) {
    const RateLimit::Piece next = limit_->next(piece.size(), now);
    granted_ = next.bytes;
    opens_ = next.from;
    held_time_ += opens_ - now;
  }
  held_ = now < opens_;
  return held_ ? std::string_view() : piece.substr(0, granted_);
}

void InputStream::consume(std::size_t bytes) {
  at_ += bytes;
  if (part_ == file_part) {
    granted_ -= std::min(granted_, bytes);
    bytes_of_files += bytes;
  }
  consumed_ += bytes;
}

std::uint64_t file_bytes_sent() {
  return bytes_of_files;
}

}  // namespace ds
