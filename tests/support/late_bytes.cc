// SPDX-License-Identifier: Apache-2.0
//
// To preload: whoever finds a socket empty is told so a little later, so that more comes between
// two calls than ever does on a quiet machine. With LATE_BYTES=second, what every second wait tells
// of comes only after the first who asks for it.
#include <dlfcn.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace {

unsigned waits = 0;
bool asked = false;

bool for_the_second() {
  static const char* mode = ::getenv("LATE_BYTES");
  return mode != nullptr && std::strcmp(mode, "second") == 0;
}

template <typename Function>
Function real(const char* name) {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" int epoll_wait(int epoll, epoll_event* events, int most, int timeout) {
  static const auto wait = real<int (*)(int, epoll_event*, int, int)>("epoll_wait");
  ++waits;
  asked = false;
  return wait(epoll, events, most, timeout);
}

extern "C" ssize_t recv(int socket, void* bytes, size_t size, int flags) {
  static const auto receive = real<ssize_t (*)(int, void*, size_t, int)>("recv");
  const bool first = !asked;
  asked = true;
  if (for_the_second() && first && waits % 2 == 1) {
    ::usleep(20000);
    errno = EAGAIN;
    return -1;
  }
  const ssize_t got = receive(socket, bytes, size, flags);
  if (got < 0 && errno == EAGAIN && !for_the_second()) {
    ::usleep(20000);
    errno = EAGAIN;
  }
  return got;
}
