// SPDX-License-Identifier: Apache-2.0
#include "plan/source_flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include "base/text.h"

namespace ds {
namespace {

constexpr const char* because_cpu = "what all hosts can do, not this machine's CPU";
constexpr const char* because_debug =
    "debug information is half of the compile time and most of an object; --debug-info keeps it";
constexpr const char* because_place = "a place of the build machine, which no host need have";

/// 17 for "-std=c++17", "--std=gnu++1z"; nothing for other words.
std::optional<int> standard_of(std::string_view word) {
  for (const std::string_view start : {"--std=", "-std="}) {
    if (!word.starts_with(start))
      continue;
    const std::string_view text = word.substr(start.size());
    const std::size_t sign = text.find("++");
    if (sign == std::string_view::npos)
      return std::nullopt;
    static constexpr std::array<std::pair<std::string_view, int>, 5> drafts = {
        {{"0x", 11}, {"1y", 14}, {"1z", 17}, {"2a", 20}, {"2b", 23}}};
    for (const auto& [name, year] : drafts) {
      if (text.substr(sign + 2) == name)
        return year;
    }
    const std::optional<long> year = parse_integer(text.substr(sign + 2), 3, 98);
    return year && *year < 90 ? std::optional<int>(static_cast<int>(*year)) : 11;
  }
  return std::nullopt;
}

bool is_native(std::string_view word) {
  return word == "-march=native" || word == "-mcpu=native" || word == "-mtune=native";
}

/// DeepSpeed's own macros for the width of vectors, and GCC's, which it defines by itself.
bool is_simd_macro(std::string_view word) {
  return word == "-D__AVX512__" || word == "-D__AVX256__" || word == "-D__SCALAR__";
}

bool is_debug(std::string_view word) {
  if (word == "-lineinfo" || word == "--generate-line-info" || word == "-G" ||
      word == "--device-debug" || word == "--debug" || word.starts_with("-ggdb") ||
      word.starts_with("-gdwarf"))
    return true;
  return word == "-g" ||
         (word.size() == 3 && word.starts_with("-g") && word[2] >= '0' && word[2] <= '3');
}

/// Options of nvcc that are ours to give; the value may be a word of its own.
constexpr std::array ours_of_nvcc = {"-gencode", "--generate-code",  "-arch", "--gpu-architecture",
                                     "-code",    "--gpu-code",       "-t",    "--threads",
                                     "-ccbin",   "--compiler-bindir"};

class Rewriting {
 public:
  Rewriting(const SourceOp& op, const FlagTargets& targets) : op_(op), targets_(targets) {}

  SourceFlags all() {
    settle_bf16();
    flags_.cxx = cxx();
    if (op_.cuda)
      flags_.nvcc = nvcc();
    flags_.link = link();
    flags_.cxx_standard = raise(flags_.cxx_standard, flags_.cxx_changes);
    if (op_.cuda)
      flags_.nvcc_standard = raise(flags_.nvcc_standard, flags_.nvcc_changes);
    return std::move(flags_);
  }

 private:
  using Changes = std::vector<FlagChange>;

  static void note(Changes& changes, const std::string& from, const std::string& to,
                   const std::string& because) {
    const FlagChange change{from, to, because};
    if (std::find(changes.begin(), changes.end(), change) == changes.end())
      changes.push_back(change);
  }

  /// The tree leaves bf16 out of every image when one GPU is older than 8.0. Headers of CUDA 12.2
  /// and later can do it for those too, by way of float.
  void settle_bf16() {
    const bool asked = std::find(op_.nvcc_flags.begin(), op_.nvcc_flags.end(),
                                 "-DBF16_AVAILABLE") != op_.nvcc_flags.end();
    const bool old = std::any_of(targets_.archs.begin(), targets_.archs.end(),
                                 [](const Arch& arch) { return arch.number < 80; });
    if (!asked || !old)
      return;
    flags_.bf16_lost = compare_versions(targets_.nvcc_version, "12.2") < 0;
    flags_.bf16_kept = !flags_.bf16_lost;
  }

  /// Takes care of a word that every compiler may be given; false if it is used as it is.
  bool take_common(const std::string& word, Words& words, int& standard, Changes& changes) {
    if (const std::optional<int> year = standard_of(word)) {
      standard = *year;
    } else if (is_native(word)) {
      note(changes, word, join(targets_.cpu_flags, " "), because_cpu);
    } else if (targets_.x86 && word == "-D__AVX2__") {
      note(changes, word, "", "the compiler defines it where the hosts have it");
    } else if (targets_.x86 && is_simd_macro(word)) {
      const std::string macro = targets_.cpu_level >= 4   ? "-D__AVX512__"
                                : targets_.cpu_level == 3 ? "-D__AVX256__"
                                                          : "-D__SCALAR__";
      if (macro != word)
        note(changes, word, macro, because_cpu);
      words.push_back(macro);
    } else if (!targets_.debug_info && is_debug(word)) {
      note(changes, word, "", because_debug);
    } else if (flags_.bf16_lost && word == "-DBF16_AVAILABLE") {
      note(changes, word, "",
           fmt::format("CUDA {} has no bf16 for GPUs before 8.0", targets_.nvcc_version));
    } else {
      return false;
    }
    return true;
  }

  Words cxx() {
    Words words;
    for (const std::string& word : op_.cxx_flags) {
      if (!take_common(word, words, flags_.cxx_standard, flags_.cxx_changes))
        words.push_back(word);
    }
    return words;
  }

  Words nvcc() {
    Words words;
    const Words& given = op_.nvcc_flags;
    for (std::size_t at = 0; at < given.size(); ++at) {
      const std::string& word = given[at];
      const bool apart = word == "-Xcompiler" || word == "--compiler-options";
      if (apart && at + 1 < given.size()) {
        add_for_host(given[++at], words);
      } else if (word.starts_with("-Xcompiler=") || word.starts_with("--compiler-options=")) {
        add_for_host(word.substr(word.find('=') + 1), words);
      } else if (const std::size_t taken = words_of_ours(given, at); taken > 0) {
        at += taken - 1;
      } else if (!take_common(word, words, flags_.nvcc_standard, flags_.nvcc_changes)) {
        words.push_back(word);
      }
    }
    return words;
  }

  /// How many words at `at` are an option that we give ourselves.
  std::size_t words_of_ours(const Words& given, std::size_t at) {
    const std::string name = given[at].substr(0, given[at].find('='));
    if (std::find(ours_of_nvcc.begin(), ours_of_nvcc.end(), name) == ours_of_nvcc.end())
      return 0;
    const bool apart = name == given[at] && at + 1 < given.size();
    const std::string whole = apart ? name + " " + given[at + 1] : given[at];
    const bool arch = name.find("code") != std::string::npos || name.find("arch") != name.npos;
    const bool compiler = name.find("bin") != std::string::npos;
    note(flags_.nvcc_changes, whole, "",
         arch       ? "the architectures are those of the hosts' GPUs"
         : compiler ? "the host compiler is the one of the C++ sources"
                    : "the slots of the build are shared by all of its jobs");
    return apart ? 2 : 1;
  }

  /// Words that nvcc hands to the host compiler, between commas.
  void add_for_host(const std::string& list, Words& words) {
    int ignored = 0;
    for (const std::string& word : split(list, ',')) {
      Words own;
      if (!take_common(word, own, ignored, flags_.nvcc_changes))
        own.push_back(word);
      for (const std::string& one : own)
        words.push_back("-Xcompiler=" + one);
    }
  }

  Words link() {
    Words words;
    bool value = false;  // the next piece is that of a -rpath
    for (const std::string& word : with_joined_linker_words(op_.link_flags)) {
      if (!word.starts_with("-Wl,")) {
        add_to_link(word, words);
        continue;
      }
      Words kept;
      for (const std::string& piece : split(word.substr(4), ','))
        keep_unless_run_path(piece, value, kept);
      const std::string now = kept.empty() ? "" : "-Wl," + join(kept, ",");
      if (now != word)
        note(flags_.link_changes, word, now, because_place);
      if (!now.empty())
        words.push_back(now);
    }
    return words;
  }

  /// -Xlinker X as -Wl,X.
  static Words with_joined_linker_words(const Words& given) {
    Words words;
    for (std::size_t at = 0; at < given.size(); ++at) {
      const bool apart = given[at] == "-Xlinker" && at + 1 < given.size();
      words.push_back(apart ? "-Wl," + given[++at] : given[at]);
    }
    return words;
  }

  static void keep_unless_run_path(const std::string& piece, bool& value, Words& kept) {
    if (std::exchange(value, false))
      return;
    if (piece == "-rpath" || piece == "--rpath" || piece == "-R")
      value = true;
    else if (!piece.starts_with("-rpath=") && !piece.starts_with("--rpath=") &&
             !piece.starts_with("-R"))
      kept.push_back(piece);
  }

  void add_to_link(const std::string& word, Words& words) {
    if (is_debug(word) && !targets_.debug_info) {
      note(flags_.link_changes, word, "", because_debug);
    } else if (is_native(word)) {
      note(flags_.link_changes, word, join(targets_.cpu_flags, " "), because_cpu);
    } else if (word.starts_with("-L")) {
      words.push_back("-L" + in_toolkit(word.substr(2), targets_.cuda_home, targets_.cuda_root));
      if (words.back() != word)
        note(flags_.link_changes, word, words.back(), "the toolkit that compiles");
    } else {
      words.push_back(word);
    }
  }

  /// What torch's own setup adds is C++17; its headers may need more than that and than the tree
  /// says.
  int raise(int said, Changes& changes) {
    const int needed = torch_standard(targets_.torch);
    if (said >= needed)
      return said;
    const int standard = said > 0 ? needed : std::max(17, needed);
    if (said == 0 && standard == 17)
      return standard;
    flags_.standard_raised = true;
    note(changes, said > 0 ? fmt::format("-std=c++{}", said) : "",
         fmt::format("-std=c++{}", standard),
         fmt::format("the headers of torch {} need it", targets_.torch));
    return standard;
  }

  const SourceOp& op_;
  const FlagTargets& targets_;
  SourceFlags flags_;
};

}  // namespace

std::string in_toolkit(const std::string& path, const std::string& home, const std::string& root) {
  const bool below = !home.empty() && !root.empty() && path.starts_with(home) &&
                     (path.size() == home.size() || path[home.size()] == '/');
  return below ? root + path.substr(home.size()) : path;
}

SourceFlags source_flags(const SourceOp& op, const FlagTargets& targets) {
  return Rewriting(op, targets).all();
}

}  // namespace ds
