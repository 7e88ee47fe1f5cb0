// SPDX-License-Identifier: Apache-2.0
#include "plan/toolchain.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "base/error.h"
#include "base/text.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

using Environment = std::map<std::string, std::string>;

std::string value_of(const Environment& environment, const std::string& variable) {
  const auto found = environment.find(variable);
  return found == environment.end() ? std::string() : std::string(trim(found->second));
}

/// CXX may begin with a launcher, as in "ccache g++"; nvcc wants the compiler itself.
std::string compiler_among(const std::vector<std::string>& words) {
  const auto compiler = std::find_if_not(words.begin(), words.end(), is_launcher);
  return compiler == words.end() ? words.front() : *compiler;
}

std::string tool_text(const std::string& path, const std::vector<Tool>& tools) {
  for (const Tool& tool : tools) {
    const fs::path known = tool.path;
    if (known != path && known.filename() != path)
      continue;
    return fmt::format("{} {} ({})", known.filename().string(), tool.version, tool.path);
  }
  return path;
}

void choose_cxx(const HostFacts& builder, const Environment& environment, Toolchain& chosen) {
  chosen.cxx = split_words(value_of(environment, "CXX"));
  if (chosen.cxx.empty() && builder.cxx.empty()) {
    throw Error("no C++ compiler was found on the build machine (CXX, PATH)",
                "install one, such as with 'apt install g++', or set CXX",
                ExitStatus::build_failed);
  }
  if (chosen.cxx.empty())
    chosen.cxx = {builder.cxx.front().path};
  chosen.host_compiler = compiler_among(chosen.cxx);
  chosen.cxx_text = tool_text(chosen.host_compiler, builder.cxx);
}

void choose_nvcc(const HostFacts& builder, const Environment& environment, Toolchain& chosen) {
  if (builder.nvcc.empty())
    return;
  const Tool* nvcc = &builder.nvcc.front();
  const std::string home = value_of(environment, "CUDA_HOME");
  if (!home.empty()) {
    const fs::path wanted = (fs::path(home) / "bin" / "nvcc").lexically_normal();
    const auto found = std::find_if(
        builder.nvcc.begin(), builder.nvcc.end(),
        [&](const Tool& tool) { return fs::path(tool.path).lexically_normal() == wanted; });
    if (found != builder.nvcc.end()) {
      nvcc = &*found;
    } else {
      chosen.notes.push_back(fmt::format("CUDA_HOME={} has no bin/nvcc that answers; {} is used",
                                         clean_line(home, 200), nvcc->path));
    }
  }
  chosen.nvcc = nvcc->path;
  chosen.nvcc_version = nvcc->version;
  chosen.nvcc_text = tool_text(nvcc->path, builder.nvcc);
  const fs::path include = fs::path(nvcc->path).parent_path().parent_path() / "include";
  // Naming /usr/include would put it before the compiler's own folders and break #include_next.
  if (include != "/usr/include")
    chosen.cuda_include = include.string();
}

void choose_flags(const Environment& environment, Toolchain& chosen) {
  for (const char* variable : {"CFLAGS", "CXXFLAGS"}) {
    for (const std::string& flag : split_words(value_of(environment, variable))) {
      chosen.cxx_flags.push_back(flag);
      if (flag == "-march=native" || flag == "-mtune=native" || flag == "-mcpu=native") {
        chosen.notes.push_back(
            fmt::format("{} holds {}: the libraries are for the CPU of the "
                        "build machine, which the hosts may not have",
                        variable, flag));
      }
    }
  }
  // __DATE__ and __TIME__ would make another object every second.
  const std::string epoch = value_of(environment, "SOURCE_DATE_EPOCH");
  chosen.environment.push_back("SOURCE_DATE_EPOCH=" + (epoch.empty() ? "315532800" : epoch));
}

void choose_launcher(const std::string& launcher, Toolchain& chosen) {
  if (launcher.empty())
    return;
  if (chosen.cxx.front() != launcher)
    chosen.cxx.insert(chosen.cxx.begin(), launcher);
  const std::string name = fs::path(launcher).filename().string();
  // distcc knows no nvcc. ccache reads preprocessed CUDA text, in which code for the host alone may
  // be missing, unless it goes by the depfile (CCACHE_DEPEND).
  if (name != "distcc")
    chosen.nvcc_launcher = {launcher};
  if (name == "ccache")
    chosen.environment.emplace_back("CCACHE_DEPEND=1");
}

}  // namespace

bool is_launcher(const std::string& program) {
  static constexpr std::array launchers = {"ccache", "sccache", "distcc", "icecc"};
  const std::string name = fs::path(program).filename().string();
  return std::find(launchers.begin(), launchers.end(), name) != launchers.end();
}

Toolchain choose_toolchain(const HostFacts& builder, const PlanOptions& options) {
  Toolchain chosen;
  choose_cxx(builder, options.environment, chosen);
  choose_nvcc(builder, options.environment, chosen);
  choose_flags(options.environment, chosen);
  choose_launcher(options.launcher, chosen);
  return chosen;
}

}  // namespace ds
