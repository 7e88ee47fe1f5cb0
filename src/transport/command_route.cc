// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

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

 private:
  void start();
  void end();

  std::vector<std::string> words_;
  Fd socket_;
  SocketChild child_;
  std::string problem_;
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
  std::string said(kLastWords, '\0');
  const ssize_t got = child_.err ? ::read(child_.err.get(), said.data(), said.size()) : 0;
  said.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  const std::vector<std::string> text = lines(said);
  return fmt::format("'{}' ended{}", clean_line(join(words_, " ")),
                     text.empty() ? "" : ": " + clean_line(text.back()));
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
