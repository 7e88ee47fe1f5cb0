// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "base/text.h"
#include "facts/facts.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t most_bytes = 256u << 20;

bool is_build_id(const std::string& text) {
  return text.size() >= 16 && text.size() <= 128 &&
         text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

bool is_symbol(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

/// Lines of one library out of an answer: "NONCE NAME BUILD-ID LINES", then so many lines.
struct Told {
  std::string build_id, text;
};

std::vector<Told> read_answer(const std::string& out, const std::string& nonce) {
  std::vector<Told> all;
  const std::string mark = "\n" + nonce + " ";
  for (std::size_t at = out.find(mark); at != std::string::npos; at = out.find(mark, at)) {
    const std::size_t end = std::min(out.find('\n', at + 1), out.size());
    const std::vector<std::string> head = split_words(out.substr(at + 1, end - at - 1));
    at = end;
    const auto count = head.size() == 4 ? parse_integer(head[3], 1, 10'000'000) : std::nullopt;
    if (!count || !is_build_id(head[2]))
      continue;
    std::size_t last = end;
    for (long line = 0; line < *count && last < out.size(); ++line)
      last = std::min(out.find('\n', last + 1), out.size());
    if (last < out.size())
      all.push_back({head[2], out.substr(end + 1, last - end)});
  }
  return all;
}

/// What cannot be kept is asked for again next time.
void keep(const fs::path& folder, const Told& told) {
  try {
    make_folders(folder);
    write_file(folder / told.build_id, told.text);
  } catch (const Error&) {
    return;
  }
}

Exec exports_exec(const Host& host, const HostFacts& facts, const std::vector<std::string>& names,
                  const std::string& nonce) {
  const nlohmann::json request = {
      {"nonce", nonce}, {"torch", facts.torch.folder}, {"names", names}};
  Exec exec = host_program(
      host, facts.python.asked, program_text({"layout.py", "probe_runtime.py", "exports.py"}),
      request.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace), false);
  exec.time_limit = std::chrono::seconds(120);
  exec.output_limit = most_bytes;
  return exec;
}

}  // namespace

Exports::Exports(std::string text) : text_(std::move(text)) {
  const std::string_view all = text_;
  const std::size_t first = std::min(all.find('\n'), all.size());
  for (const std::string& soname : split_words(std::string(all.substr(0, first))))
    needed_.push_back(clean_line(soname, 200));
  for (std::size_t at = first + 1; at < all.size();) {
    const std::size_t end = std::min(all.find('\n', at), all.size());
    if (const std::string_view symbol = all.substr(at, end - at); is_symbol(symbol))
      symbols_.push_back(symbol);
    at = end + 1;
  }
  std::sort(symbols_.begin(), symbols_.end());
}

bool Exports::has(std::string_view symbol) const {
  return std::binary_search(symbols_.begin(), symbols_.end(), symbol);
}

RuntimeExports kept_exports(const Fleet& fleet, const fs::path& folder) {
  RuntimeExports exports;
  for (const HostFacts& host : fleet.hosts) {
    for (const auto& [name, build_id] : host.runtime) {
      if (!is_build_id(build_id) || exports.contains(build_id))
        continue;
      std::error_code unreadable;
      if (fs::is_regular_file(folder / build_id, unreadable))
        exports.try_emplace(build_id, read_file(folder / build_id, most_bytes));
    }
  }
  return exports;
}

void fetch_exports(const Fleet& fleet, const Inventory& inventory, Transport& transport,
                   const fs::path& folder, RuntimeExports& exports) {
  std::set<std::string> asked;
  bool any = false;
  for (std::size_t at = 0; at < fleet.hosts.size() && at < inventory.hosts.size(); ++at) {
    const HostFacts& facts = fleet.hosts[at];
    std::vector<std::string> names;
    for (const auto& [name, build_id] : facts.runtime) {
      if (is_build_id(build_id) && !exports.contains(build_id) && asked.insert(build_id).second)
        names.push_back(name);
    }
    if (names.empty() || facts.python.executable.empty())
      continue;
    any = true;
    const std::string nonce = random_nonce();
    transport.start(inventory.hosts[at].endpoint,
                    exports_exec(inventory.hosts[at], facts, names, nonce),
                    [&asked, &exports, &folder, nonce](const ExecResult& result) {
                      for (Told& told : read_answer(result.out, nonce)) {
                        // Nobody is believed about a library that was not asked for there.
                        if (!asked.contains(told.build_id) || exports.contains(told.build_id))
                          continue;
                        keep(folder, told);
                        exports.try_emplace(told.build_id, std::move(told.text));
                      }
                    });
  }
  if (any)
    transport.run();
}

}  // namespace ds
