// SPDX-License-Identifier: Apache-2.0
//
// Commands over a link by libssh2, one after the other on one connection.
#include <fmt/format.h>
#include <poll.h>

#include <algorithm>

#include "base/text.h"
#include "transport/remote_command.h"
#include "transport/session.h"
#include "transport/ssh_link.h"

namespace ds {
namespace {

/// Bytes that one session sends or reads before the others get their turn.
constexpr std::size_t kTurn = 1u << 20;

enum class Phase { link, idle, open, exec, transfer, close };

class SshSession : public HostSession {
 public:
  SshSession(const SshSettings& settings, SshServices& services, Loop::Member& owner)
      : services_(services), owner_(owner), link_(settings, services, owner) {}

  void begin(CommandIo& io) override;
  void wants(std::vector<pollfd>& waits) const override;
  std::optional<ExecResult> step() override;
  Clock::time_point deadline() const override;
  bool weighs() const override {
    return phase_ == Phase::link || (busy() && !input_ended_ && io_->uploads());
  }
  std::size_t descriptors() const override { return link_.descriptors(); }
  bool idle() const override { return phase_ == Phase::idle && link_.ready(); }
  void close_idle() override;
  std::string better_by_openssh() const override { return link_.failure().by_openssh; }

 private:
  using Outcome = ExecResult::Outcome;

  bool busy() const { return phase_ > Phase::idle; }
  SshProgress advance();  ///< one step; `failed` once result_ is complete
  SshProgress reach();
  SshProgress open_channel();
  SshProgress start_command();
  SshProgress transfer();
  bool feed();
  bool read_all();
  SshProgress close_channel();
  void finish(const SshChannel::Exit& exit);
  void settle();
  SshProgress fail(Outcome outcome, const std::string& message);
  SshProgress not_begun(Outcome otherwise, const std::string& doing, const std::string& when);
  std::string what_broke() const;
  SshProgress enter(Phase phase);
  void mind_the_time();

  SshServices& services_;
  Loop::Member& owner_;
  SshLink link_;
  std::unique_ptr<SshChannel> channel_;
  Phase phase_ = Phase::idle;
  bool yielded_ = false;  ///< gave way to other sessions with work left
  bool reused_ = false;   ///< the connection served a command before
  Clock::time_point began_;
  CommandIo* io_ = nullptr;  ///< of the command that is under way
  RemoteCommand command_;
  bool sends_by_reading_ = false;  ///< a window that reading made larger is half announced
  bool input_ended_ = false;
  ExecResult result_;
  bool over_ = false;  ///< result_ is complete
};

void SshSession::begin(CommandIo& io) {
  io_ = &io;
  result_ = {};
  over_ = input_ended_ = false;
  began_ = services_.loop.now();
  io.start(began_);
  command_ = RemoteCommand(io.exec(), services_.sudo, io.stays());
  sends_by_reading_ = false;
  reused_ = link_.ready();
  phase_ = reused_ ? Phase::open : Phase::link;
  if (!reused_)
    link_.begin();
  services_.loop.wake(owner_);
}

void SshSession::close_idle() {
  link_.drop();
  phase_ = Phase::idle;
}

void SshSession::wants(std::vector<pollfd>& waits) const {
  if (!over_ || idle())
    link_.wants(waits);
}

Clock::time_point SshSession::deadline() const {
  if (phase_ == Phase::idle)
    return Clock::time_point::max();
  if (phase_ == Phase::link)
    return link_.deadline();
  const bool may_feed = phase_ == Phase::transfer && !sends_by_reading_;
  return may_feed ? std::min(io_->deadline(), io_->resumes()) : io_->deadline();
}

std::optional<ExecResult> SshSession::step() {
  if (phase_ == Phase::idle) {
    // Nothing is asked for: the server has closed the connection, or speaks of itself.
    pollfd state{link_.fd(), POLLIN, 0};
    if (link_.ready() && ::poll(&state, 1, 0) != 0)
      link_.drop();
    return std::nullopt;
  }
  yielded_ = false;
  while (!over_ && advance() == SshProgress::done) {
  }
  if (!over_)
    mind_the_time();
  if (!over_) {
    if (yielded_)
      services_.loop.wake(owner_);
    return std::nullopt;
  }
  phase_ = Phase::idle;
  io_ = nullptr;
  return std::move(result_);
}

void SshSession::mind_the_time() {
  if (phase_ == Phase::link)
    return;
  if (const std::string late = io_->too_late(services_.loop.now()); !late.empty())
    fail(Outcome::timed_out, late);
}

SshProgress SshSession::advance() {
  switch (phase_) {
    case Phase::link:
      return reach();
    case Phase::idle:
      return SshProgress::waiting;
    case Phase::open:
      return open_channel();
    case Phase::exec:
      return start_command();
    case Phase::transfer:
      return transfer();
    case Phase::close:
      return close_channel();
  }
  return SshProgress::failed;
}

SshProgress SshSession::enter(Phase phase) {
  phase_ = phase;
  return SshProgress::done;
}

SshProgress SshSession::reach() {
  const SshProgress progress = link_.step();
  if (progress == SshProgress::waiting)
    return progress;
  if (progress == SshProgress::failed) {
    result_.host_key = link_.failure().seen_key;
    return fail(link_.failure().outcome, link_.failure().message);
  }
  began_ = services_.loop.now();
  io_->start(began_);
  return enter(Phase::open);
}

SshProgress SshSession::open_channel() {
  const SshProgress opened = link_.connection().open_session(channel_);
  if (opened == SshProgress::done)
    return enter(Phase::exec);
  if (opened == SshProgress::waiting)
    return opened;
  if (reused_) {
    // The server may have closed an idle connection; a new one is no second try of the command.
    reused_ = false;
    link_.begin();
    return enter(Phase::link);
  }
  return not_begun(Outcome::login_refused,
                   "the login worked, but no command can be run, for the server opens no session "
                   "(sshd_config's MaxSessions tells how many)",
                   "before the command was run");
}

/// A server that says why, or stays, has refused; where the connection is gone that was all.
SshProgress SshSession::not_begun(Outcome otherwise, const std::string& doing,
                                  const std::string& when) {
  // libssh2 1.11 puts an error of its own over the reason when it has no words of the server.
  const bool broken = link_.broken();
  const std::string reason = what_broke();
  const std::string said = link_.connection().server_words();
  if (said.empty() && broken) {
    return fail(Outcome::lost,
                fmt::format("{}: the connection broke {}: {}", link_.where(), when, reason));
  }
  return fail(otherwise,
              fmt::format("{}: {}: {}", link_.where(), doing, said.empty() ? reason : said));
}

std::string SshSession::what_broke() const {
  const std::string behind = link_.route_problem();
  return link_.connection().last_error() + (behind.empty() ? "" : " (" + behind + ")");
}

SshProgress SshSession::start_command() {
  const SshProgress started = channel_->exec(command_.line());
  if (started == SshProgress::failed)
    return not_begun(Outcome::lost, "the command could not be started",
                     "as the command was started");
  if (started != SshProgress::done)
    return started;
  if (!io_->stays())
    io_->begin(services_.loop.now());
  return enter(Phase::transfer);
}

/// Sends what the channel takes; true if it may take more at once.
bool SshSession::feed() {
  const Clock::time_point now = services_.loop.now();
  for (std::size_t total = 0; !input_ended_ && total < kTurn;) {
    const std::string_view piece = io_->next(now);
    if (piece.empty()) {
      if (!io_->input_over())
        return false;
      input_ended_ = channel_->end_input() != SshProgress::waiting;
      if (input_ended_)
        io_->input_closed(now);
      return false;
    }
    const std::optional<std::size_t> put = channel_->put(piece);
    // The command may have ended without reading everything; its own status tells.
    input_ended_ = !put;
    if (!put)
      io_->input_closed(now);
    if (put.value_or(0) == 0)
      return false;
    io_->consume(*put, now);
    total += *put;
  }
  return !input_ended_;
}

/// Reads what has come; true if there is more at once. Fails the command if nothing can come.
/// Reading one stream takes in what comes for the other, and no event tells of that again.
bool SshSession::read_all() {
  bool more = false;
  for (const auto& [stream, into] : {std::pair(SshChannel::Stream::out, &io_->out),
                                     std::pair(SshChannel::Stream::err, &io_->err)}) {
    const SshProgress got = channel_->get(stream, *into, kTurn);
    if (got == SshProgress::failed) {
      fail(Outcome::lost,
           link_.where() + ": the connection broke during the command: " + what_broke());
      return false;
    }
    more |= got == SshProgress::done;
  }
  return more || channel_->has_input();
}

SshProgress SshSession::transfer() {
  // While half a packet waits to be sent, only the same call may follow.
  bool more_to_send = !sends_by_reading_ && feed();
  const bool may_read = sends_by_reading_ || !link_.connection().wants_to_send();
  const std::size_t window = channel_->window();
  const bool more_to_read = may_read && read_all();
  sends_by_reading_ = may_read && !over_ && link_.connection().wants_to_send();
  if (over_)
    return SshProgress::failed;
  if (io_->stays() && !io_->begun() && command_.take_begin(io_->err)) {
    io_->begin(services_.loop.now());
    more_to_send = true;
  }
  io_->took();
  if (const std::string problem = io_->too_much(); !problem.empty())
    return fail(Outcome::flooded, problem);
  if (!more_to_read && channel_->ended())
    return enter(Phase::close);
  // Reading takes in what the server allows to be sent, too, and no event tells of that again.
  const bool window_opened = !input_ended_ && io_->feeds() && channel_->window() > window;
  yielded_ = more_to_send || more_to_read || window_opened;
  return SshProgress::waiting;
}

SshProgress SshSession::close_channel() {
  SshChannel::Exit exit;
  const SshProgress closed = channel_->close(exit);
  if (closed == SshProgress::done)
    finish(exit);
  return closed;
}

void SshSession::finish(const SshChannel::Exit& exit) {
  settle();
  channel_.reset();
  if (command_.read_end(result_))
    return;
  // libssh2 gives status 0 also when none arrived.
  if (!exit.signal.empty()) {
    result_.outcome = Outcome::signalled;
    result_.message = "the command was killed by signal " + exit.signal;
  } else if (!command_.refused(exit.status, link_.where(), link_.settings().name, result_)) {
    result_.outcome = Outcome::lost;
    result_.message = link_.where() + ": the connection ended before the command did";
  }
}

void SshSession::settle() {
  over_ = true;
  result_.out = io_->take_out();
  result_.err = std::move(io_->err);
  result_.sent_bytes = io_->sent();
  result_.seconds = std::chrono::duration<double>(services_.loop.now() - began_).count();
}

SshProgress SshSession::fail(Outcome outcome, const std::string& message) {
  result_.outcome = outcome;
  result_.message = message;
  settle();
  channel_.reset();
  link_.drop();
  return SshProgress::failed;
}

}  // namespace

std::unique_ptr<HostSession> make_ssh_session(const SshSettings& settings, SshServices& services,
                                              Loop::Member& owner) {
  return std::make_unique<SshSession>(settings, services, owner);
}

}  // namespace ds
