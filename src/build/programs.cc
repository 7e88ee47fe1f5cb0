// SPDX-License-Identifier: Apache-2.0
#include "build/programs.h"

#include <fmt/format.h>

#include <array>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/text.h"
#include "plan/plan.h"
#include "process/process.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

constexpr const char* schema = "ds-deploy.programs/1";
constexpr std::array behind_gcc = {"cc1plus", "cc1", "as", "ld", "collect2", "lto1"};
constexpr std::array behind_nvcc = {"bin/cudafe++",
                                    "bin/ptxas",
                                    "bin/fatbinary",
                                    "bin/nvlink",
                                    "bin/nvcc.profile",
                                    "nvvm/bin/cicc",
                                    "nvvm/libdevice/libdevice.10.bc"};

/// As execvp(3) would find it, without symbolic links; what is not there keeps its name.
fs::path program_path(const std::string& name) {
  std::error_code absent;
  const fs::path real = fs::canonical(find_program(name), absent);
  return absent ? fs::path(name) : real;
}

std::vector<std::string> asked_of_gcc(const std::string& driver) {
  std::vector<std::string> found;
  for (const char* name : behind_gcc) {
    const CommandResult said = run_command(
        {{driver, std::string("-print-prog-name=") + name}, {}, {}}, std::chrono::seconds(10));
    const std::string path(trim(said.output));
    // What it does not have it names without a folder.
    if (said.ok() && path.starts_with('/') && path.find('\n') == std::string::npos)
      found.push_back(path);
    else if (said.ok() && path == name && program_path(path).is_absolute())
      found.push_back(program_path(path));
  }
  return found;
}

std::vector<std::string> beside_nvcc(const fs::path& driver) {
  const fs::path home = driver.parent_path().parent_path();
  std::vector<std::string> found;
  for (const char* name : behind_nvcc)
    found.push_back((home / name).string());
  return found;
}

}  // namespace

Programs::Programs(FileHashes& hashes, fs::path memory)
    : hashes_(hashes), memory_(std::move(memory)) {
  if (memory_.empty())
    return;
  try {
    const nlohmann::json json = nlohmann::json::parse(read_file(memory_));
    if (json.at("schema") == schema)
      json.at("behind").get_to(behind_);
  } catch (const Error&) {
    behind_.clear();
  } catch (const nlohmann::json::exception&) {
    behind_.clear();
  }
}

void Programs::save() const {
  if (memory_.empty() || !learned_)
    return;
  const nlohmann::ordered_json json = {{"schema", schema}, {"behind", behind_}};
  write_memory(memory_, json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

std::vector<std::string> Programs::behind(const std::string& program, const std::string& hash) {
  if (fs::path(program).filename() == "nvcc")
    return beside_nvcc(program);
  if (is_launcher(program))
    return {};
  const auto known = behind_.find(hash);
  if (known != behind_.end())
    return known->second;
  learned_ = true;
  return behind_[hash] = asked_of_gcc(program);
}

const std::string& Programs::identity_of(const std::string& program) {
  const auto known = identities_.find(program);
  if (known != identities_.end())
    return known->second;
  const std::string path = program_path(program).string();
  const std::string& hash = hashes_.of(path);
  std::string all = hash.empty() ? "absent " + path : hash;
  if (!hash.empty()) {
    for (const std::string& other : behind(path, hash))
      all += " " + hashes_.of(other);
  }
  return identities_[program] = sha256_hex(all);
}

std::string Programs::identity(const std::vector<std::string>& argv) {
  std::string all;
  for (const std::string& word : argv) {
    if (word.starts_with('-'))
      break;
    all += identity_of(word);
  }
  for (std::size_t at = 1; at < argv.size(); ++at) {
    if (argv[at - 1] == "-ccbin")
      all += identity_of(argv[at]);
  }
  return all;
}

}  // namespace ds
