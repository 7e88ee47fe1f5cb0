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

/// CC, else the C compiler of the same kind and folder as the C++ compiler: g++-12 -> gcc-12.
void choose_cc(const Environment& environment, Toolchain& chosen) {
  chosen.cc = split_words(value_of(environment, "CC"));
  if (!chosen.cc.empty())
    return;
  const fs::path cxx = chosen.host_compiler;
  std::string name = cxx.filename().string();
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 3> pairs = {
      {{"clang++", "clang"}, {"g++", "gcc"}, {"c++", "cc"}}};
  for (const auto& [of_cxx, of_c] : pairs) {
    const std::size_t at = name.find(of_cxx);
    if (at == std::string::npos)
      continue;
    name.replace(at, of_cxx.size(), of_c);
    chosen.cc = {(cxx.parent_path() / name).string()};
    return;
  }
  chosen.cc = {"cc"};
}

void choose_flags(const Environment& environment, Toolchain& chosen) {
  for (const char* variable : {"CFLAGS", "CXXFLAGS"}) {
    for (const std::string& flag : split_words(value_of(environment, variable))) {
      chosen.cxx_flags.push_back(flag);
      if (variable == std::string_view("CFLAGS"))
        chosen.c_flags.push_back(flag);
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
  for (std::vector<std::string>* compiler : {&chosen.cxx, &chosen.cc}) {
    if (compiler->front() != launcher)
      compiler->insert(compiler->begin(), launcher);
  }
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
  choose_cc(options.environment, chosen);
  choose_flags(options.environment, chosen);
  choose_launcher(options.launcher, chosen);
  return chosen;
}

void choose_toolkit(const HostFacts& builder, const PlanOptions& options, const ToolkitNeeds& needs,
                    Toolchain& chosen) {
  const std::string home = value_of(options.environment, "CUDA_HOME");
  chosen.toolkits = judge_toolkits(builder.nvcc, home, needs);
  for (const JudgedToolkit& toolkit : chosen.toolkits) {
    if (!toolkit.chosen)
      continue;
    const Tool& nvcc = toolkit.tool;
    chosen.nvcc = nvcc.path;
    chosen.nvcc_version = nvcc.version;
    chosen.nvcc_text = tool_text(nvcc.path, builder.nvcc);
    if (!home.empty() && !named_by(home, nvcc)) {
      chosen.notes.push_back(fmt::format("CUDA_HOME={} has no bin/nvcc that answers; {} is used",
                                         clean_line(home, 200), nvcc.path));
    }
    const fs::path beside = fs::path(nvcc.path).parent_path().parent_path() / "include";
    chosen.include_is_apart = !nvcc.include.empty() && nvcc.include != beside;
    const fs::path include = nvcc.include.empty() ? beside : fs::path(nvcc.include);
    // Naming /usr/include would put it before the compiler's own folders and break #include_next.
    if (include != "/usr/include")
      chosen.cuda_include = include.string();
  }
  if (chosen.toolkits.empty() && !home.empty()) {
    chosen.notes.push_back(
        fmt::format("CUDA_HOME={} has no bin/nvcc that answers", clean_line(home, 200)));
  }
}

}  // namespace ds
