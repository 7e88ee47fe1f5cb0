// SPDX-License-Identifier: Apache-2.0
#include "transport/stream_pump.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace ds {
namespace {

void drain(Fd& fd, std::string& into) {
  char buffer[1 << 16];
  while (fd) {
    const ssize_t got = ::read(fd.get(), buffer, sizeof buffer);
    if (got > 0) {
      into.append(buffer, static_cast<std::size_t>(got));
      return;
    }
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
      return;
    fd.close();
  }
}

}  // namespace

StreamPump::~StreamPump() {
  if (child_.pid < 0)
    return;
  ::kill(-child_.pid, SIGKILL);
  reap();
}

void StreamPump::wants(std::vector<pollfd>& waits) const {
  if (child_.in)
    waits.push_back({child_.in.get(), POLLOUT, 0});
  if (child_.out)
    waits.push_back({child_.out.get(), POLLIN, 0});
  if (child_.err)
    waits.push_back({child_.err.get(), POLLIN, 0});
}

void StreamPump::move(std::string& out, std::string& err) {
  feed();
  drain(child_.out, out);
  drain(child_.err, err);
}

void StreamPump::feed() {
  while (child_.in) {
    const std::string_view piece = input_.next();
    if (piece.empty()) {
      child_.in.close();
      return;
    }
    const ssize_t put = ::write(child_.in.get(), piece.data(), piece.size());
    if (put >= 0) {
      input_.consume(static_cast<std::size_t>(put));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return;
    } else if (errno != EINTR) {
      // A command may end without reading everything; its exit status says whether that is right.
      child_.in.close();
    }
  }
}

int StreamPump::reap() {
  child_.in.close();
  int status = 0;
  while (::waitpid(child_.pid, &status, 0) < 0 && errno == EINTR) {
  }
  child_.pid = -1;
  return status;
}

}  // namespace ds
