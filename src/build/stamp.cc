// SPDX-License-Identifier: Apache-2.0
#include "build/stamp.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <array>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/text.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

constexpr const char* schema = "ds-deploy.stamp/1";

/// Variables by which a compiler reads or makes something else without a word in its command.
constexpr std::array heeded = {
    "CPATH",
    "C_INCLUDE_PATH",
    "CPLUS_INCLUDE_PATH",
    "LIBRARY_PATH",
    "COMPILER_PATH",
    "GCC_EXEC_PREFIX",
    "NVCC_PREPEND_FLAGS",
    "NVCC_APPEND_FLAGS",
    "SOURCE_DATE_EPOCH",
};

/// A program as execvp(3) would find it.
fs::path program_path(const std::string& name) {
  if (name.find('/') != std::string::npos)
    return name;
  const char* path = std::getenv("PATH");
  for (const std::string& folder : split(path == nullptr ? "" : path, ':')) {
    std::error_code absent;
    if (fs::is_regular_file(fs::path(folder) / name, absent))
      return fs::path(folder) / name;
  }
  return name;
}

std::string program_identity(const std::string& name) {
  const fs::path program = program_path(name);
  struct stat status {};
  if (::stat(program.c_str(), &status) != 0)
    return program.string() + " absent\n";
  return fmt::format("{} {} {}.{}\n", program.string(), status.st_size, status.st_mtim.tv_sec,
                     status.st_mtim.tv_nsec);
}

}  // namespace

std::optional<Stamp> read_stamp(const fs::path& file) {
  std::string text;
  try {
    text = read_file(file);
  } catch (const Error&) {
    return std::nullopt;
  }
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  try {
    if (json.at("schema") != schema)
      return std::nullopt;
    return Stamp{json.at("command"), json.at("output"), json.at("inputs")};
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

void write_stamp(const fs::path& file, const Stamp& stamp) {
  const nlohmann::ordered_json json = {{"schema", schema},
                                       {"command", stamp.command},
                                       {"output", stamp.output},
                                       {"inputs", stamp.inputs}};
  // File names need not be UTF-8; a name that was changed here only means that it is made again.
  write_file(file, json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

bool is_current(const Stamp& stamp, const fs::path& output, FileHashes& hashes) {
  for (const auto& [input, digest] : stamp.inputs) {
    if (digest.empty() || hashes.of(input) != digest)
      return false;
  }
  return !stamp.output.empty() && hashes.of(output) == stamp.output;
}

std::string command_digest(const Command& command) {
  std::string all = command.cwd.string() + '\n';
  for (const std::string& word : command.argv)
    all += word + '\0';
  for (const std::string& setting : command.environment)
    all += '\n' + setting;
  for (const char* variable : heeded) {
    const char* value = std::getenv(variable);
    if (value != nullptr)
      all += fmt::format("\n{}={}", variable, value);
  }
  all += '\n';
  for (std::size_t at = 0; at < command.argv.size(); ++at) {
    const bool program = at == 0 || command.argv[at - 1] == "-ccbin";
    if (program)
      all += program_identity(command.argv[at]);
  }
  return sha256_hex(all);
}

}  // namespace ds
