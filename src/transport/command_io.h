// SPDX-License-Identifier: Apache-2.0
//
// What one command reads and says, and the time it has for that: the same for every kind of
// session.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "base/awake_clock.h"
#include "transport/input_stream.h"
#include "transport/transport.h"

namespace ds {

class CommandIo {
 public:
  virtual ~CommandIo() = default;
  const Exec& exec() const { return exec_; }

  /// True for a command that stays. Such a one tells when it begins, and has to be asked for that
  /// (RemoteCommand).
  virtual bool stays() const { return false; }
  /// The session runs the command from now on. May be called anew, where it is tried again.
  virtual void start(Clock::time_point now) = 0;
  /// What was started has begun: from now on it is the command itself that reads.
  virtual void begin(Clock::time_point now) = 0;
  virtual bool begun() const = 0;

  /// What it is to read next; stays the same until consume(). Empty: nothing now. Error if a file
  /// cannot be read. Bytes of a file come as the limit of bandwidth lets them.
  virtual std::string_view next(Clock::time_point now) = 0;
  virtual void consume(std::size_t bytes, Clock::time_point now) = 0;
  /// next() would have something, or its input is over.
  virtual bool feeds() const = 0;
  /// When next() has something again that the limit of bandwidth held back; the far future if it
  /// holds nothing back.
  virtual Clock::time_point resumes() const = 0;
  /// After an empty next(): nothing will ever follow, so that its stdin can be closed.
  virtual bool input_over() const = 0;
  /// Its stdin is closed, by us or by itself: what is left will not be sent.
  virtual void input_closed(Clock::time_point now) = 0;
  virtual bool uploads() const = 0;        ///< its input weighs, and is being sent
  virtual std::uint64_t sent() const = 0;  ///< bytes, without the preamble

  /// What it said; a session appends, calls took() and looks whether it was too_much().
  std::string out, err;
  virtual void took() {}
  /// The words for it; empty: fine.
  virtual std::string too_much() const = 0;
  virtual std::string too_late(Clock::time_point now) const = 0;
  virtual Clock::time_point deadline() const = 0;
  /// All of stdout that nobody has been given, when it has ended.
  virtual std::string take_out() { return std::move(out); }

 protected:
  explicit CommandIo(Exec exec) : exec_(std::move(exec)) {}
  Exec exec_;
};

/// A command of Transport::start(): one input, all of its output, one time limit. It stands still
/// when nothing moved for `stall_limit` after begin(), which not every session can tell. Time in
/// which `limit` held its input back counts for neither.
class WholeIo : public CommandIo {
 public:
  WholeIo(Exec exec, const std::string& preamble, std::chrono::milliseconds stall_limit,
          RateLimit* limit = nullptr)
      : CommandIo(std::move(exec)),
        input_(std::move(exec_.input), preamble, limit),
        stall_limit_(stall_limit) {}

  void start(Clock::time_point now) override { started_ = now; }
  void begin(Clock::time_point now) override;
  bool begun() const override { return begun_; }
  std::string_view next(Clock::time_point now) override { return input_.next(now); }
  void consume(std::size_t bytes, Clock::time_point now) override;
  bool feeds() const override { return !closed_ && !input_.held(); }
  Clock::time_point resumes() const override;
  bool input_over() const override { return !input_.held(); }
  void input_closed(Clock::time_point /*now*/) override { closed_ = true; }
  bool uploads() const override { return true; }
  std::uint64_t sent() const override { return input_.sent(); }
  std::string too_much() const override;
  std::string too_late(Clock::time_point now) const override;
  Clock::time_point deadline() const override;

 private:
  Clock::time_point stalls_at() const;
  Clock::time_point ends_at() const;

  InputStream input_;
  std::chrono::milliseconds stall_limit_;
  Clock::time_point started_, moved_;
  bool begun_ = false, closed_ = false;
};

/// A conversation's command: inputs as they are sent, lines as they come. Uploads wait for admit(),
/// and are held back by `limit`.
class ConversationIo : public CommandIo {
 public:
  ConversationIo(Exec exec, std::chrono::milliseconds stall_limit, RateLimit* limit = nullptr);

  /// What stands before everything else; before the session begins.
  void set_preamble(std::string preamble) { preamble_ = std::move(preamble); }
  /// As Conversation.
  void send(ExecInput input, std::chrono::milliseconds limit, Clock::time_point now);
  void answered();
  void end(std::chrono::milliseconds limit, Clock::time_point now);

  bool under_way() const;
  /// An upload is next; it goes on once admit() was called for it.
  bool wants_turn() const;
  void admit(Clock::time_point now);
  /// The next complete line, once it has begun.
  std::optional<std::string> next_line();

  bool stays() const override { return true; }
  void start(Clock::time_point now) override;
  void begin(Clock::time_point now) override;
  bool begun() const override { return begun_; }
  std::string_view next(Clock::time_point now) override;
  void consume(std::size_t bytes, Clock::time_point now) override;
  bool feeds() const override { return has_input() && !held(); }
  Clock::time_point resumes() const override;
  bool input_over() const override {
    return begun_ && !requests_.empty() && requests_.front().ends;
  }
  void input_closed(Clock::time_point now) override;
  bool uploads() const override { return begun_ && admitted_; }
  std::uint64_t sent() const override;
  void took() override;
  std::string too_much() const override;
  std::string too_late(Clock::time_point now) const override;
  Clock::time_point deadline() const override;
  std::string take_out() override { return heard_.substr(at_); }

 private:
  struct Request {
    ExecInput input;
    std::chrono::milliseconds limit{0};  ///< 0: no answer is awaited
    bool uploads = false, ends = false;
    std::uint64_t bytes = 0;  ///< before those of the file
  };
  bool has_input() const;
  bool held() const { return stream_ && stream_->held(); }
  void push(Request request, Clock::time_point now);
  void written(Clock::time_point now);
  std::uint64_t sent_of_file() const;
  Clock::time_point stalls_at() const;
  void await(std::chrono::milliseconds limit, Clock::time_point now);

  std::chrono::milliseconds stall_limit_;
  RateLimit* limit_of_files_;
  std::string preamble_;
  std::deque<Request> requests_;       ///< not written yet
  std::optional<InputStream> stream_;  ///< of the first of them
  bool started_ = false, begun_ = false, admitted_ = false;
  bool ending_ = false, closed_ = false;              ///< end() was called; stdin is closed
  std::chrono::milliseconds limit_{0};                ///< of the answer that is awaited
  Clock::time_point due_ = Clock::time_point::max();  ///< when it has to be there
  Clock::time_point moved_;
  std::uint64_t sent_ = 0;  ///< bytes of files of requests that are written
  std::string heard_;       ///< stdout from `at_` on was not given away
  std::size_t at_ = 0;
  std::size_t line_ = 0, longest_line_ = 0;  ///< of the last line as far as it came, of any
  std::size_t said_ = 0;                     ///< since the last request
  std::size_t err_counted_ = 0;              ///< of `err`, in said_
};

}  // namespace ds
