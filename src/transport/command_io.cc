// SPDX-License-Identifier: Apache-2.0
#include "transport/command_io.h"

#include <fmt/format.h>

#include <algorithm>

#include "transport/session.h"

namespace ds {
namespace {

constexpr Clock::time_point kNever = Clock::time_point::max();

std::string printed_too_much(const Exec& exec) {
  return fmt::format("the command printed more than {} bytes", exec.output_limit);
}

std::string stood_still(std::chrono::milliseconds limit) {
  return "no byte of the upload moved in " + in_seconds(limit) + " s";
}

}  // namespace

void WholeIo::begin(Clock::time_point now) {
  begun_ = true;
  moved_ = now;
}

void WholeIo::consume(std::size_t bytes, Clock::time_point now) {
  input_.consume(bytes);
  moved_ = now;
}

std::string WholeIo::too_much() const {
  return out.size() + err.size() > exec_.output_limit ? printed_too_much(exec_) : std::string();
}

Clock::time_point WholeIo::resumes() const {
  return !closed_ && input_.held() ? input_.opens() : kNever;
}

Clock::time_point WholeIo::stalls_at() const {
  return begun_ && feeds() ? std::max(moved_, input_.opens()) + stall_limit_ : kNever;
}

Clock::time_point WholeIo::ends_at() const {
  return started_ + exec_.time_limit + input_.held_time();
}

Clock::time_point WholeIo::deadline() const {
  return std::min(ends_at(), stalls_at());
}

std::string WholeIo::too_late(Clock::time_point now) const {
  if (now >= ends_at())
    return "the command took longer than " + in_seconds(exec_.time_limit) + " s";
  return now >= stalls_at() ? stood_still(stall_limit_) : std::string();
}

ConversationIo::ConversationIo(Exec exec, std::chrono::milliseconds stall_limit, RateLimit* limit)
    : CommandIo(std::move(exec)), stall_limit_(stall_limit), limit_of_files_(limit) {
  if (!exec_.input.empty())
    send(std::move(exec_.input), std::chrono::milliseconds(0), {});
}

void ConversationIo::send(ExecInput input, std::chrono::milliseconds limit, Clock::time_point now) {
  if (ending_)
    return;
  Request request;
  request.bytes = input.text_size();
  std::uint64_t size = request.bytes;
  if (!input.file.empty()) {
    std::error_code unknown;
    const std::uint64_t whole = std::filesystem::file_size(input.file, unknown);
    if (!unknown)
      size += whole - std::min(whole, input.offset);
  }
  request.uploads = size >= Conversation::kUpload;
  request.input = std::move(input);
  request.limit = limit;
  push(std::move(request), now);
}

void ConversationIo::end(std::chrono::milliseconds limit, Clock::time_point now) {
  if (ending_)
    return;
  ending_ = true;
  Request request;
  request.limit = limit;
  request.ends = true;
  push(std::move(request), now);
}

void ConversationIo::push(Request request, Clock::time_point now) {
  if (requests_.empty())
    moved_ = now;
  if (request.limit.count() > 0) {
    due_ = kNever;
    for (Request& earlier : requests_)
      earlier.limit = {};
  }
  said_ = 0;
  requests_.push_back(std::move(request));
  if (closed_)
    input_closed(now);
}

void ConversationIo::answered() {
  if (ending_)
    return;
  due_ = kNever;
  for (Request& request : requests_)
    request.limit = {};
}

bool ConversationIo::under_way() const {
  return !begun_ || ending_ || !requests_.empty() || due_ != kNever;
}

bool ConversationIo::wants_turn() const {
  return begun_ && !requests_.empty() && requests_.front().uploads && !admitted_;
}

void ConversationIo::admit(Clock::time_point now) {
  admitted_ = true;
  moved_ = now;
}

void ConversationIo::start(Clock::time_point now) {
  started_ = true;
  due_ = now + exec_.time_limit;
}

void ConversationIo::begin(Clock::time_point now) {
  begun_ = true;
  due_ = kNever;
  moved_ = now;
  next(now);
}

bool ConversationIo::has_input() const {
  return !preamble_.empty() || (begun_ && !requests_.empty() && !wants_turn());
}

Clock::time_point ConversationIo::resumes() const {
  return held() ? stream_->opens() : kNever;
}

std::string_view ConversationIo::next(Clock::time_point now) {
  if (!preamble_.empty())
    return preamble_;
  while (has_input() && !input_over()) {
    if (!stream_)
      stream_.emplace(std::move(requests_.front().input), "", limit_of_files_);
    const std::string_view piece = stream_->next(now);
    if (!piece.empty() || held())
      return piece;
    written(now);
  }
  return {};
}

void ConversationIo::consume(std::size_t bytes, Clock::time_point now) {
  moved_ = now;
  if (!preamble_.empty())
    preamble_.erase(0, bytes);
  else
    stream_->consume(bytes);
}

std::uint64_t ConversationIo::sent_of_file() const {
  const std::uint64_t bytes = requests_.empty() ? 0 : requests_.front().bytes;
  return stream_ ? stream_->sent() - std::min(stream_->sent(), bytes) : 0;
}

std::uint64_t ConversationIo::sent() const {
  return sent_ + sent_of_file();
}

/// The first request is: its answer is due from now on.
void ConversationIo::written(Clock::time_point now) {
  sent_ += sent_of_file();
  stream_.reset();
  admitted_ = false;
  await(requests_.front().limit, now);
  requests_.pop_front();
  moved_ = now;
}

void ConversationIo::await(std::chrono::milliseconds limit, Clock::time_point now) {
  if (limit.count() <= 0)
    return;
  limit_ = limit;
  due_ = now + limit;
}

void ConversationIo::input_closed(Clock::time_point now) {
  closed_ = true;
  while (!requests_.empty())
    written(now);
}

void ConversationIo::took() {
  said_ += out.size() + err.size() - std::min(err_counted_, err.size());
  for (const char c : out) {
    line_ = c == '\n' ? 0 : line_ + 1;
    longest_line_ = std::max(longest_line_, line_);
  }
  heard_ += out;
  out.clear();
  if (err.size() > 2 * Conversation::kKeptErr)
    err.erase(0, err.size() - Conversation::kKeptErr);
  err_counted_ = err.size();
}

std::optional<std::string> ConversationIo::next_line() {
  const std::size_t end = begun_ ? heard_.find('\n', at_) : std::string::npos;
  if (end == std::string::npos) {
    heard_.erase(0, at_);
    at_ = 0;
    return std::nullopt;
  }
  std::string line = heard_.substr(at_, end - at_);
  at_ = end + 1;
  return line;
}

std::string ConversationIo::too_much() const {
  if (longest_line_ > Conversation::kLongestLine)
    return fmt::format("the command printed a line of more than {} bytes",
                       Conversation::kLongestLine);
  return said_ > exec_.output_limit ? printed_too_much(exec_) : std::string();
}

Clock::time_point ConversationIo::stalls_at() const {
  const Clock::time_point opened = stream_ ? stream_->opens() : Clock::time_point();
  return begun_ && feeds() ? std::max(moved_, opened) + stall_limit_ : kNever;
}

Clock::time_point ConversationIo::deadline() const {
  return std::min(due_, stalls_at());
}

std::string ConversationIo::too_late(Clock::time_point now) const {
  // What has come in time is heard first, however late we are.
  if (begun_ && heard_.find('\n', at_) != std::string::npos)
    return {};
  if (now >= stalls_at())
    return stood_still(stall_limit_);
  if (now < due_)
    return {};
  if (!begun_)
    return "the command did not begin within " + in_seconds(exec_.time_limit) + " s";
  return (ending_ && closed_ ? "the command did not end within "
                             : "the command gave no answer within ") +
         in_seconds(limit_) + " s";
}

}  // namespace ds
