// SPDX-License-Identifier: Apache-2.0
#include "transport/input_stream.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"

namespace ds {

InputStream::InputStream(ExecInput input, const std::string& preamble)
    : input_(std::move(input)), preamble_(preamble.size()) {
  piece_ = preamble + input_.bytes;
  if (input_.file.empty())
    return;
  file_ = Fd(::open(input_.file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file_ || ::lseek(file_.get(), static_cast<off_t>(input_.offset), SEEK_SET) < 0) {
    throw Error("cannot read " + input_.file.string() + ": " + errno_text(errno));
  }
}

std::string_view InputStream::next() {
  if (at_ == piece_.size() && file_) {
    piece_.resize(256 * 1024);
    at_ = 0;
    ssize_t got = -1;
    do {
      got = ::read(file_.get(), piece_.data(), piece_.size());
    } while (got < 0 && errno == EINTR);
    if (got < 0)
      throw Error("cannot read " + input_.file.string() + ": " + errno_text(errno));
    piece_.resize(static_cast<std::size_t>(got));
    if (got == 0)
      file_.close();
  }
  return std::string_view(piece_).substr(at_);
}

void InputStream::consume(std::size_t bytes) {
  at_ += bytes;
  consumed_ += bytes;
}

}  // namespace ds
