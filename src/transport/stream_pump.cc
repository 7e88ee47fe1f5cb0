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
  // One that is root's, by sudo(8), cannot be ended by others: it is left, and not waited for.
  if (::kill(-child_.pid, SIGKILL) == 0 || errno != EPERM)
    reap();
}

void StreamPump::wants(std::vector<pollfd>& waits) const {
  if (child_.in && io_.feeds())
    waits.push_back({child_.in.get(), POLLOUT, 0});
  if (child_.out)
    waits.push_back({child_.out.get(), POLLIN, 0});
  if (child_.err)
    waits.push_back({child_.err.get(), POLLIN, 0});
}

void StreamPump::move(Clock::time_point now) {
  feed(now);
  drain(child_.out, io_.out);
  drain(child_.err, io_.err);
}

void StreamPump::feed(Clock::time_point now) {
  while (child_.in) {
    const std::string_view piece = io_.next(now);
    if (piece.empty()) {
      if (!io_.input_over())
        return;
      child_.in.close();
      io_.input_closed(now);
      return;
    }
    const ssize_t put = ::write(child_.in.get(), piece.data(), piece.size());
    if (put >= 0) {
      io_.consume(static_cast<std::size_t>(put), now);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return;
    } else if (errno != EINTR) {
      // A command may end without reading everything; its exit status says whether that is right.
      child_.in.close();
      io_.input_closed(now);
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
