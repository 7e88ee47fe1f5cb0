// SPDX-License-Identifier: Apache-2.0
#include "transport/ssh_config_files.h"

#include <glob.h>

#include <filesystem>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

constexpr int kDeepestInclude = 16;  // ssh's own limit

std::vector<fs::path> matches(const std::string& pattern) {
  glob_t found{};
  std::vector<fs::path> files;
  if (::glob(pattern.c_str(), GLOB_TILDE, nullptr, &found) == 0) {
    for (std::size_t i = 0; i < found.gl_pathc; ++i)
      files.emplace_back(found.gl_pathv[i]);
  }
  ::globfree(&found);
  return files;
}

std::vector<std::string> words_of(const std::string& line) {
  std::string text = line;
  // "Key=Value" and "Key = Value" are "Key Value".
  const std::size_t equals = text.find('=');
  if (equals != std::string::npos && text.find_first_of(" \t") >= equals)
    text[equals] = ' ';
  std::vector<std::string> words = split_words(text);
  for (std::string& word : words) {
    if (word.size() >= 2 && word.front() == '"' && word.back() == '"')
      word = word.substr(1, word.size() - 2);
  }
  return words;
}

bool names_algorithms(const std::string& keyword) {
  return keyword == "ciphers" || keyword == "macs" || keyword == "kexalgorithms" ||
         keyword == "hostkeyalgorithms";
}

class Reader {
 public:
  void read(const fs::path& file, const fs::path& base, int depth) {
    if (depth > kDeepestInclude)
      return;
    std::string text;
    try {
      text = read_file(file, 16u << 20);
    } catch (const Error&) {
      return;
    }
    found_.contents += file.string() + "\n" + text + "\n";
    for (const std::string& line : lines(text)) {
      const std::vector<std::string> words = words_of(line);
      if (!words.empty() && !words[0].starts_with("#"))
        take(words, base, depth);
    }
  }

  void read_option(const std::string& option) {
    const std::vector<std::string> words = words_of(option);
    if (!words.empty())
      take(words, {}, kDeepestInclude);
  }

  const SshConfigFiles& found() const { return found_; }

 private:
  void take(const std::vector<std::string>& words, const fs::path& base, int depth) {
    const std::string key = lower(words[0]);
    const bool all = words.size() == 2 && lower(words[1]) == "all";
    if (key == "host") {
      found_.depends_on_name |= words.size() != 2 || words[1] != "*";
    } else if (key == "match") {
      found_.depends_on_name |= !all;
      for (const std::string& word : words) {
        const std::string criterion = lower(word);
        found_.depends_on_world |= criterion == "exec" || criterion == "localnetwork" ||
                                   criterion == "canonical" || criterion == "final";
      }
    } else if (key == "canonicalizehostname") {
      const bool off = words.size() == 2 && lower(words[1]) == "no";
      found_.depends_on_name |= !off;
      found_.depends_on_world |= !off;
    } else if (key == "include") {
      for (std::size_t i = 1; i < words.size(); ++i)
        include(words[i], base, depth);
    } else {
      found_.sets_algorithms |= names_algorithms(key);
      for (const std::string& word : words)
        found_.depends_on_name |= word.find('%') != std::string::npos;
    }
  }

  void include(const std::string& pattern, const fs::path& base, int depth) {
    const bool absolute = pattern.starts_with("/") || pattern.starts_with("~");
    for (const fs::path& file : matches(absolute ? pattern : (base / pattern).string()))
      read(file, base, depth + 1);
  }

  SshConfigFiles found_;
};

}  // namespace

SshConfigFiles read_ssh_config_files(const TransportOptions& options) {
  Reader reader;
  if (options.ssh_config.empty()) {
    reader.read(expand_home("~/.ssh/config"), expand_home("~/.ssh"), 0);
    reader.read("/etc/ssh/ssh_config", "/etc/ssh", 0);
  } else if (options.ssh_config != "none") {
    reader.read(options.ssh_config, expand_home("~/.ssh"), 0);
  }
  for (const std::string& option : options.ssh_options)
    reader.read_option(option);
  return reader.found();
}

}  // namespace ds
