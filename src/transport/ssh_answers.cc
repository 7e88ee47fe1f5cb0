// SPDX-License-Identifier: Apache-2.0
#include "transport/ssh_answers.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/text.h"
#include "process/process.h"
#include "transport/ssh_config.h"
#include "transport/ssh_config_files.h"

namespace ds {
namespace {

using nlohmann::json;

/// Stands for every name where the files do not care. No name of a host: it has a blank.
const std::string kAnyName = "any host";
const std::string kDefaults = "ssh's defaults";
constexpr const char* kPlaceholder = "ds-deploy-placeholder";

/// What ssh printed, by name.
using Texts = std::map<std::string, std::string>;

SshAnswer parse(const std::string& asked_as, const std::string& text) {
  SshAnswer answer;
  answer.asked_as = asked_as;
  for (const std::string& line : lines(text)) {
    const std::size_t blank = line.find(' ');
    if (blank != std::string::npos)
      answer.pairs.emplace_back(line.substr(0, blank), line.substr(blank + 1));
  }
  return answer;
}

std::vector<std::string> words_for(const std::string& name, const TransportOptions& options) {
  std::vector<std::string> words =
      name == kDefaults ? std::vector<std::string>{"ssh", "-F", "none"} : ssh_words(options);
  words.insert(words.end(),
               {"-G", "--", name == kDefaults || name == kAnyName ? kPlaceholder : name});
  return words;
}

/// Asks for what is not in `texts` yet, several at a time. False where there is no ssh.
bool ask(const std::vector<std::string>& names, const TransportOptions& options, Texts& texts,
         std::map<std::string, std::string>& problems) {
  const int jobs = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const std::unique_ptr<CommandRunner> runner = make_command_runner({jobs});
  std::size_t next = 0, running = 0;
  bool found = true;
  while (next < names.size() || running > 0) {
    for (; next < names.size() && runner->can_run_more(); ++next, ++running)
      runner->start(static_cast<int>(next), Command{words_for(names[next], options), {}, {}});
    const std::optional<CommandResult> ended = runner->wait();
    if (!ended)
      continue;
    const CommandResult& result = *ended;
    --running;
    const std::string& name = names[static_cast<std::size_t>(result.id)];
    if (result.exit_status == 127) {
      found = false;
    } else if (!result.ok()) {
      const std::vector<std::string> said = lines(result.output);
      problems[name] =
          "ssh -G failed: " + (said.empty() ? "without a word" : clean_line(said.back()));
    } else {
      texts[name] = result.output;
    }
  }
  return found;
}

class Cache {
 public:
  Cache(const TransportOptions& options, const SshConfigFiles& files) {
    if (options.cache.empty() || files.depends_on_world)
      return;
    std::string key = join(ssh_words(options), "\n") + "\n" + files.contents;
    for (const char* program : {"/usr/bin/ssh", "/usr/local/bin/ssh", "/bin/ssh"}) {
      std::error_code failure;
      const auto changed = std::filesystem::last_write_time(program, failure);
      if (!failure)
        key += program + std::to_string(changed.time_since_epoch().count());
    }
    file_ = options.cache / ("ssh-config-" + hex(sha256(key)).substr(0, 32) + ".json");
  }

  Texts load() const {
    std::error_code failure;
    if (file_.empty() || !std::filesystem::exists(file_, failure))
      return {};
    try {
      const json kept = json::parse(read_file(file_, 256u << 20), nullptr, false);
      return kept.is_object() ? kept.get<Texts>() : Texts();
    } catch (const json::exception&) {
      return {};
    } catch (const Error&) {
      return {};
    }
  }

  /// Whoever cannot write here asks again next time.
  void keep(const Texts& texts) const {
    if (file_.empty())
      return;
    try {
      std::filesystem::create_directories(file_.parent_path());
      write_file(file_, json(texts).dump(-1, ' ', false, json::error_handler_t::replace), 0600);
    } catch (const Error&) {
    } catch (const std::filesystem::filesystem_error&) {
    }
  }

 private:
  std::filesystem::path file_;
};

}  // namespace

std::string SshAnswer::value(const std::string& keyword) const {
  for (const auto& [key, value] : pairs) {
    if (key == keyword)
      return value;
  }
  return {};
}

const SshAnswer* SshAnswers::of(const std::string& name) const {
  const auto found = by_name.find(one_for_all ? kAnyName : name);
  return found == by_name.end() ? nullptr : &found->second;
}

SshAnswers ask_ssh(const std::vector<std::string>& names, const TransportOptions& options) {
  const SshConfigFiles files = read_ssh_config_files(options);
  SshAnswers answers;
  answers.one_for_all = !files.depends_on_name;
  answers.algorithms_chosen = files.sets_algorithms;
  std::set<std::string> wanted;
  // Chosen for some hosts: whoever has ssh's own lists is none of them.
  if (files.sets_algorithms && files.depends_on_name)
    wanted.insert(kDefaults);
  for (const std::string& name : names) {
    if (answers.one_for_all || !name.starts_with("-"))
      wanted.insert(answers.one_for_all ? kAnyName : name);
  }
  const Cache cache(options, files);
  Texts texts = cache.load();
  std::map<std::string, std::string> problems;
  std::vector<std::string> missing;
  for (const std::string& name : wanted) {
    if (!texts.contains(name))
      missing.push_back(name);
  }
  if (!missing.empty()) {
    answers.no_ssh = !ask(missing, options, texts, problems);
    if (!answers.no_ssh && problems.empty())
      cache.keep(texts);
  }
  if (answers.no_ssh)
    return answers;
  answers.defaults = parse(kPlaceholder, texts[kDefaults]);
  for (const std::string& name : wanted) {
    SshAnswer answer = parse(name == kAnyName ? kPlaceholder : name, texts[name]);
    if (problems.contains(name))
      answer.problem = problems[name];
    answers.by_name.emplace(name, std::move(answer));
  }
  return answers;
}

}  // namespace ds
