// SPDX-License-Identifier: Apache-2.0
#include "process/process_tree.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <string>

#include "base/fd.h"
#include "base/text.h"

namespace ds {
namespace {

/// The first bytes of a small file of /proc, or nothing.
std::string content(const std::string& file) {
  const Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 4096> bytes;
  const ssize_t got = fd ? ::read(fd.get(), bytes.data(), bytes.size()) : -1;
  return got <= 0 ? std::string() : std::string(bytes.data(), static_cast<std::size_t>(got));
}

}  // namespace

std::uint64_t resident_bytes_of_tree(pid_t pid) {
  constexpr long most_pages = 1L << 40;
  static const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::vector<std::string> sizes = split_words(content(fmt::format("/proc/{}/statm", pid)));
  std::uint64_t bytes = 0;
  if (sizes.size() > 1)
    bytes = static_cast<std::uint64_t>(parse_integer(sizes[1], 0, most_pages).value_or(0)) * page;
  // Compilers start what they start from their first thread.
  for (const std::string& child :
       split_words(content(fmt::format("/proc/{0}/task/{0}/children", pid)))) {
    if (const auto number = parse_integer(child, 1, 1L << 30))
      bytes += resident_bytes_of_tree(static_cast<pid_t>(*number));
  }
  return bytes;
}

}  // namespace ds
