// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "process/process.h"

namespace ds {
namespace {

class Tokens : public JobServer {
 public:
  Tokens(Fd read, Fd write, std::string variable, std::unique_ptr<TempDir> folder = nullptr)
      : folder_(std::move(folder)),
        read_(std::move(read)),
        write_(std::move(write)),
        variable_(std::move(variable)) {}
  ~Tokens() override {
    while (!taken_.empty())
      give();
  }
  Tokens(const Tokens&) = delete;
  Tokens& operator=(const Tokens&) = delete;

  bool take() override {
    char token = 0;
    if (::read(read_.get(), &token, 1) != 1)
      return false;
    taken_ += token;
    return true;
  }

  /// The very bytes that were taken, as the manual asks for.
  void give() override {
    while (::write(write_.get(), &taken_.back(), 1) < 0 && errno == EINTR) {
    }
    taken_.pop_back();
  }

  int fd() const override { return read_.get(); }
  std::string variable() const override { return variable_; }

 private:
  std::unique_ptr<TempDir> folder_;  ///< where a FIFO of our own lies
  Fd read_, write_;
  std::string variable_, taken_;
};

/// A description of our own of an inherited pipe: ours may be non-blocking, make's may not.
Fd reopened(int fd, int flags) {
  return Fd(::open(fmt::format("/proc/self/fd/{}", fd).c_str(), flags | O_CLOEXEC));
}

}  // namespace

std::unique_ptr<JobServer> join_job_server(const std::string& makeflags) {
  std::string auth;
  for (const std::string& word : split_words(makeflags)) {
    // make before 4.2 called it --jobserver-fds; the last one counts.
    for (const std::string_view option : {"--jobserver-auth=", "--jobserver-fds="}) {
      if (word.starts_with(option))
        auth = word.substr(option.size());
    }
  }
  Fd read, write;
  if (auth.starts_with("fifo:")) {
    read = Fd(::open(auth.c_str() + 5, O_RDWR | O_NONBLOCK | O_CLOEXEC));
    write = Fd(::open(auth.c_str() + 5, O_RDWR | O_CLOEXEC));
  } else {
    const std::vector<std::string> numbers = split(auth, ',');
    const auto from = numbers.size() == 2 ? parse_integer(numbers[0], 0, 1 << 20) : std::nullopt;
    const auto to = numbers.size() == 2 ? parse_integer(numbers[1], 0, 1 << 20) : std::nullopt;
    struct stat status {};
    if (!from || !to || ::fstat(static_cast<int>(*from), &status) != 0 || !S_ISFIFO(status.st_mode))
      return nullptr;
    read = reopened(static_cast<int>(*from), O_RDONLY | O_NONBLOCK);
    write = reopened(static_cast<int>(*to), O_WRONLY);
  }
  if (!read || !write)
    return nullptr;
  return std::make_unique<Tokens>(std::move(read), std::move(write), "MAKEFLAGS=" + makeflags);
}

std::unique_ptr<JobServer> make_job_server(int slots) {
  auto folder = std::make_unique<TempDir>("ds-deploy-jobs");
  const std::string path = (folder->path() / "tokens").string();
  if (::mkfifo(path.c_str(), 0600) != 0)
    throw Error("cannot make " + path + ": " + errno_text(errno));
  const std::string all(static_cast<std::size_t>(slots - 1), '+');
  Fd read(::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  Fd write(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!read || !write ||
      ::write(write.get(), all.data(), all.size()) != static_cast<ssize_t>(all.size()))
    throw Error("cannot open " + path + ": " + errno_text(errno));
  const std::string variable = fmt::format("MAKEFLAGS= -j{} --jobserver-auth=fifo:{}", slots, path);
  return std::make_unique<Tokens>(std::move(read), std::move(write), variable, std::move(folder));
}

}  // namespace ds
