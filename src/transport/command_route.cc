// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "process/process.h"
#include "transport/route.h"

namespace ds {
namespace {

constexpr std::size_t kLastWords = 4096;

class CommandRoute : public Route {
 public:
  explicit CommandRoute(const std::vector<std::string>& words) : words_(words) {}
  ~CommandRoute() override { end(); }
  CommandRoute(const CommandRoute&) = delete;
  CommandRoute& operator=(const CommandRoute&) = delete;

  Progress step() override {
    if (!socket_)
      start();
    return socket_ ? Progress::connected : Progress::failed;
  }
  void wants(std::vector<pollfd>& /*waits*/) const override {}
  int fd() const override { return socket_.get(); }
  std::string problem() const override;
  bool worth_another_try() const override;

 private:
  void start();
  void end();
  const std::string& said() const;

  std::vector<std::string> words_;
  Fd socket_;
  SocketChild child_;
  std::string problem_;
  mutable std::string said_;  ///< on stderr, as far as it was read
};

void CommandRoute::start() {
  try {
    child_ = spawn_with_socket(Command{words_, {}, {}}, socket_);
  } catch (const Error& error) {
    problem_ = error.what();
  }
}

std::string CommandRoute::problem() const {
  if (!problem_.empty())
    return problem_;
  const std::vector<std::string> text = lines(said());
  return fmt::format("'{}' ended{}", clean_line(join(words_, " ")),
                     text.empty() ? "" : ": " + clean_line(text.back()));
}

const std::string& CommandRoute::said() const {
  char piece[kLastWords];
  ssize_t got = 0;
  while (child_.err && (got = ::read(child_.err.get(), piece, sizeof piece)) > 0) {
    said_.append(piece, static_cast<std::size_t>(got));
    said_.erase(0, said_.size() - std::min(said_.size(), kLastWords));
  }
  return said_;
}

/// The words are those of OpenSSH's sshd and ssh for a server that hangs up before its greeting.
bool CommandRoute::worth_another_try() const {
  const std::string& text = said();
  const auto has = [&text](const char* words) { return text.find(words) != std::string::npos; };
  return problem_.empty() &&
         (text.empty() || has("Connection closed by") || has("Connection reset by") ||
          has("Not allowed at this time") || has("Exceeded MaxStartups"));
}

void CommandRoute::end() {
  socket_.close();
  if (child_.pid >= 0)
    end_child(child_.pid);
}

}  // namespace

std::unique_ptr<Route> make_command_route(const std::vector<std::string>& words) {
  return std::make_unique<CommandRoute>(words);
}

}  // namespace ds
