// SPDX-License-Identifier: Apache-2.0
#include "support/fleet/relay.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace fleet {
namespace {

constexpr size_t kChunk = 16384;
constexpr size_t kQueued = 262144;  // per direction; what a window would hold

}  // namespace

bool Lane::wants_to_read() const {
  return !ended_ && !broken_ && queued_ < kQueued;
}

bool Lane::wants_to_write(Clock::time_point now) const {
  return !broken_ && !chunks_.empty() && chunks_.front().due <= now;
}

Clock::time_point Lane::due() const {
  return chunks_.empty() || broken_ ? Clock::time_point::max() : chunks_.front().due;
}

std::string_view Lane::read(Clock::time_point now, size_t most) {
  const bool limited = fault_.kind == Fault::Kind::rate;
  const size_t step = limited ? std::max<size_t>(fault_.number / 50, 1) : kChunk;
  std::string bytes(std::min({most, kChunk, step}), '\0');
  const ssize_t count = ::recv(from_, bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (count < 0) {
    broken_ = errno != EAGAIN && errno != EINTR;
    return {};
  }
  if (count == 0) {
    ended_ = true;
    if (chunks_.empty())
      ::shutdown(to_, SHUT_WR);
    return {};
  }
  bytes.resize(count);
  Clock::time_point due = now;
  if (limited) {
    free_at_ = std::max(free_at_, now) +
               std::chrono::nanoseconds(std::chrono::seconds(count)) / fault_.number;
    due = free_at_;
  } else if (fault_.kind == Fault::Kind::slow) {
    due += std::chrono::milliseconds(fault_.number);
  }
  queued_ += bytes.size();
  chunks_.push_back({due, std::move(bytes)});
  return chunks_.back().bytes;
}

void Lane::write(Clock::time_point now) {
  while (wants_to_write(now)) {
    std::string& bytes = chunks_.front().bytes;
    const ssize_t count = ::send(to_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0) {
      broken_ = errno != EAGAIN && errno != EINTR;
      return;
    }
    queued_ -= count;
    bytes.erase(0, count);
    if (bytes.empty())
      chunks_.pop_front();
  }
  if (ended_ && chunks_.empty())
    ::shutdown(to_, SHUT_WR);
}

Relay::Relay(size_t host, ds::Fd client, ds::Fd server, const Fault& fault)
    : host_(host),
      fault_(fault),
      client_(std::move(client)),
      server_(std::move(server)),
      up_(client_.get(), server_.get(), fault),
      down_(server_.get(), client_.get(), fault) {}

bool Relay::spent() const {
  return fault_.counts_bytes() && (keys_.over() || !fault_.after_keys) &&
         counted_ >= static_cast<size_t>(fault_.number);
}

void Relay::add_to(std::vector<pollfd>& polled, Clock::time_point now) const {
  short client = 0;
  short server = 0;
  if (state_ == State::stalled) {
    client = POLLRDHUP;
  } else if (state_ == State::draining) {
    server = POLLIN;
  } else {
    client =
        (up_.wants_to_read() && !spent() ? POLLIN : 0) | (down_.wants_to_write(now) ? POLLOUT : 0);
    server = (down_.wants_to_read() ? POLLIN : 0) | (up_.wants_to_write(now) ? POLLOUT : 0);
  }
  // Without an interest, poll would report a hang-up again and again.
  polled.push_back({client != 0 ? client_.get() : -1, client, 0});
  polled.push_back({server != 0 ? server_.get() : -1, server, 0});
}

void Relay::step(short client, short server, Clock::time_point now) {
  if (state_ == State::passing) {
    pass(client, server, now);
  } else if (state_ == State::stalled) {
    over_ = client != 0;
  } else if (server != 0) {
    char buffer[4096];
    const ssize_t count = ::recv(server_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    over_ = count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR);
  }
}

void Relay::pass(short client, short server, Clock::time_point now) {
  if (client & (POLLIN | POLLHUP | POLLERR))
    read_from_client(now);
  if (server & (POLLIN | POLLHUP | POLLERR))
    down_.read(now, kChunk);
  up_.write(now);
  down_.write(now);
  // Once sshd is gone and the client has all of it, nothing can happen any more.
  over_ = up_.broken() || down_.over();
  if (spent() && up_.empty()) {
    if (fault_.kind == Fault::Kind::reset)
      reset_client();
    else
      state_ = State::stalled;
  }
}

void Relay::read_from_client(Clock::time_point now) {
  if (!fault_.counts_bytes()) {
    up_.read(now, kChunk);
  } else if (fault_.after_keys && !keys_.over()) {
    keys_.pass(up_.read(now, keys_.wanted()));
  } else if (!spent()) {
    counted_ += up_.read(now, fault_.number - counted_).size();
  }
}

/// RST to the client; sshd sees the end of the connection behind all the bytes that it was to get.
void Relay::reset_client() {
  const linger at_once{1, 0};
  ::setsockopt(client_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  client_.close();
  ::shutdown(server_.get(), SHUT_WR);
  state_ = State::draining;
}

Clock::time_point Relay::due_after(Clock::time_point now) const {
  Clock::time_point first = Clock::time_point::max();
  for (const Lane* lane : {&up_, &down_}) {
    if (state_ == State::passing && lane->due() > now)
      first = std::min(first, lane->due());
  }
  return first;
}

}  // namespace fleet
