// SPDX-License-Identifier: Apache-2.0
//
// The hostfile's grammar. DeepSpeed reads `^(\S+)\s+slots=(\d+)` and ignores the rest of a line;
// here the rest is keys, and whatever is not understood is a problem instead of a surprise later.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "inventory/host_name.h"
#include "inventory/host_pattern.h"
#include "inventory/inventory.h"

namespace ds {
namespace {

constexpr long most_slots = 4096;

const std::vector<std::string>& keys() {
  static const std::vector<std::string> names = {
      "transport", "addr", "user", "port", "identity", "python", "env-script", "tags", "writer"};
  return names;
}

/// "did you mean 'port'?", or else what holds for every slip.
std::string hint(std::string_view word, const std::vector<std::string>& candidates,
                 std::string otherwise) {
  const std::string nearest = suggestion(word, candidates);
  return nearest.empty() ? otherwise : nearest;
}

std::string shown(std::string_view text) {
  return clean_line(text, 80);
}

bool is_blank(char c) {
  return c == ' ' || c == '\t';
}

std::string_view without_comment(std::string_view line) {
  for (std::size_t at = 0; at < line.size(); ++at) {
    if (line[at] == '#' && (at == 0 || is_blank(line[at - 1])))
      return line.substr(0, at);
  }
  return line;
}

bool has_control_character(std::string_view line) {
  return std::any_of(line.begin(), line.end(),
                     [](char c) { return (c >= 0 && c < 0x20 && c != '\t') || c == 0x7F; });
}

class HostfileParser {
 public:
  explicit HostfileParser(std::string file) { inventory_.file = std::move(file); }

  Inventory parse(std::string_view text) {
    if (text.starts_with("\xEF\xBB\xBF"))
      text.remove_prefix(3);
    refuse_nul(text);
    for (const std::string& line : lines(text)) {
      ++line_;
      parse_line(trim(without_comment(line)));
    }
    if (inventory_.hosts.empty() && problems_.empty()) {
      line_ = 0;
      problem("no host is named", "write one line for each host: NAME slots=N");
    }
    if (!problems_.empty())
      throw InputError(std::move(problems_));
    return std::move(inventory_);
  }

 private:
  void problem(std::string what, std::string fix) {
    problems_.push_back({inventory_.file, line_, 0, std::move(what), std::move(fix)});
  }
  void fault(const NameFault& fault) { problem(fault.what, fault.fix); }

  /// Not a text file at all: one problem says it better than one for each of its lines.
  void refuse_nul(std::string_view text) const {
    const std::size_t nul = text.find('\0');
    if (nul == std::string_view::npos)
      return;
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<long>(nul), '\n');
    throw InputError(
        {{inventory_.file, static_cast<int>(line), 0,
          "a NUL byte: this is no text file, or it is UTF-16", "save it as plain UTF-8 text"}});
  }

  void parse_line(std::string_view line) {
    if (line.empty())
      return;
    if (has_control_character(line)) {
      return problem("a control character is in the line", "retype the line");
    }
    const std::vector<std::string> words = split_words(line);
    Host host;
    host.line = line_;
    const std::size_t before = problems_.size();
    parse_name(words.front(), host);
    parse_slots(words, host);
    seen_.clear();
    for (std::size_t at = host.slots > 0 ? 2 : 1; at < words.size(); ++at) {
      parse_word(words[at], host);
    }
    if (problems_.size() != before)
      return;
    if (host.endpoint.address.empty())
      host.endpoint.address = host.endpoint.name;
    add(std::move(host));
  }

  void parse_name(std::string_view word, Host& host) {
    const std::size_t at = word.rfind('@');
    if (at != std::string_view::npos) {
      host.endpoint.user = word.substr(0, at);
      word.remove_prefix(at + 1);
      if (const auto wrong = user_name_fault(host.endpoint.user))
        fault(*wrong);
    }
    word = without_brackets(word);
    if (const auto wrong = host_name_fault(word))
      fault(*wrong);
    host.name = with_brackets(word);
    host.endpoint.name = word;
  }

  void parse_slots(const std::vector<std::string>& words, Host& host) {
    const std::string name = shown(words.front());
    const auto later = std::find_if(words.begin() + 1, words.end(), [](const std::string& word) {
      return word.starts_with("slots=");
    });
    if (words.size() > 2 && words[1] == "slots" && words[2].starts_with("=")) {
      return problem("blanks stand around the '=' of slots",
                     fmt::format("write {} slots=N, without blanks", name));
    }
    if (later == words.end()) {
      const std::string word = words.size() > 1 ? words[1].substr(0, words[1].find('=')) : "";
      return problem(fmt::format("host '{}' has no slots", name),
                     hint(lower(word), {"slots"},
                          fmt::format("write {} slots=N, N being the number of its GPUs", name)));
    }
    const std::string number = later->substr(6);
    if (later != words.begin() + 1) {
      return problem(
          "slots= does not follow the name, so DeepSpeed cannot read the line",
          fmt::format("write {} slots={} and the other keys after it", name, shown(number)));
    }
    const std::optional<long> slots = parse_integer(number, 1, most_slots);
    if (!slots) {
      return problem(fmt::format("slots={} is no number of slots", shown(number)),
                     fmt::format("write a whole number from 1 to {}", most_slots));
    }
    host.slots = static_cast<int>(*slots);
    for (int slot = 0; slot < host.slots; ++slot)
      host.selected_slots.push_back(slot);
  }

  void parse_word(const std::string& word, Host& host) {
    const std::size_t equals = word.find('=');
    const std::string key = word.substr(0, equals);
    const bool known = std::find(keys().begin(), keys().end(), key) != keys().end();
    // Without readable slots the line's shape is unknown, and that was said already.
    if (!known && host.slots == 0)
      return;
    if (equals == std::string::npos) {
      return problem(fmt::format("'{}' is no key=value; DeepSpeed would ignore it", shown(word)),
                     "put a # before it if it is a remark");
    }
    if (key == "slots")
      return problem("slots is given twice", "keep one of them");
    if (!known) {
      return problem(fmt::format("unknown key '{}'", shown(key)),
                     hint(key, keys(), fmt::format("the keys are {}", join(keys(), ", "))));
    }
    if (!seen_.insert(key).second) {
      return problem(fmt::format("{} is given twice", key), "keep one of them");
    }
    parse_value(key, word.substr(equals + 1), host);
  }

  void parse_value(const std::string& key, const std::string& value, Host& host) {
    if (value.empty()) {
      return problem(fmt::format("{}= has no value", key),
                     "write it right after the '=', or remove the key");
    }
    if (value.find_first_of("\"'") != std::string::npos) {
      return problem(fmt::format("the value of {} is quoted: values are taken as they are", key),
                     "remove the quotes; a value cannot hold blanks");
    }
    if (key == "transport")
      return parse_transport(value, host);
    if (key == "addr")
      return parse_address(value, host);
    if (key == "user")
      return parse_user(value, host);
    if (key == "port")
      return parse_port(value, host);
    if (key == "tags")
      return parse_tags(value, host);
    if (key == "writer")
      return parse_writer(value, host);
    if (key == "identity") {
      host.endpoint.identity = value;
      return;
    }
    const bool rooted = value.starts_with('/') || value.starts_with("~/");
    const bool bare_program = key == "python" && value.find('/') == std::string::npos;
    if (!rooted && !bare_program) {
      return problem(fmt::format("{}={} depends on where the login begins", key, shown(value)),
                     "write the whole path, from / or ~/");
    }
    (key == "python" ? host.python : host.env_script) = value;
  }

  void parse_transport(const std::string& value, Host& host) {
    if (value == "local") {
      host.endpoint.kind = Endpoint::Kind::local;
    } else if (value != "ssh") {
      problem(fmt::format("unknown transport '{}'", shown(value)),
              hint(value, {"ssh", "local"}, "use ssh or local"));
    }
  }

  void parse_writer(const std::string& value, Host& host) {
    host.writer = value == "yes";
    if (value != "yes" && value != "no")
      problem(fmt::format("writer={} says neither yes nor no", shown(value)), "use yes or no");
  }

  void parse_address(const std::string& value, Host& host) {
    const std::string_view address = without_brackets(value);
    if (address.find('@') != std::string_view::npos) {
      return problem("addr= holds a user", "write the user as user=, the address alone as addr=");
    }
    if (const auto wrong = host_name_fault(address))
      return fault(*wrong);
    host.endpoint.address = address;
  }

  void parse_user(const std::string& value, Host& host) {
    if (!host.endpoint.user.empty() && host.endpoint.user != value) {
      return problem(fmt::format("two users: {}@ before the name and user={}",
                                 shown(host.endpoint.user), shown(value)),
                     "keep one of them");
    }
    if (const auto wrong = user_name_fault(value))
      return fault(*wrong);
    host.endpoint.user = value;
  }

  void parse_port(const std::string& value, Host& host) {
    const std::optional<long> port = parse_integer(value, 1, 65535);
    if (!port) {
      return problem(fmt::format("port={} is no port", shown(value)),
                     "write a whole number from 1 to 65535");
    }
    host.endpoint.port = static_cast<int>(*port);
  }

  void parse_tags(const std::string& value, Host& host) {
    for (const std::string& tag : split(value, ',')) {
      if (tag.empty() || host_name_fault(tag)) {
        return problem(fmt::format("tags={} holds '{}', which is no tag", shown(value), shown(tag)),
                       "use letters, digits, '.', '_' and '-', with commas between tags");
      }
      if (std::find(host.tags.begin(), host.tags.end(), tag) == host.tags.end()) {
        host.tags.push_back(tag);
      }
    }
  }

  void add(Host host) {
    const auto same = std::find_if(inventory_.hosts.begin(), inventory_.hosts.end(),
                                   [&](const Host& other) { return other.name == host.name; });
    if (same != inventory_.hosts.end()) {
      return problem(
          fmt::format("host '{}' is there twice; line {} has it first", host.name, same->line),
          "remove one of the two lines");
    }
    inventory_.hosts.push_back(std::move(host));
  }

  Inventory inventory_;
  std::vector<Problem> problems_;
  std::set<std::string> seen_;  ///< keys of the line at hand
  int line_ = 0;
};

}  // namespace

Inventory parse_hostfile(std::string_view text, const std::string& file) {
  return HostfileParser(file).parse(text);
}

Inventory join_inventories(const std::vector<Inventory>& inventories) {
  std::vector<std::string> files;
  std::vector<Problem> problems;
  std::map<std::string, std::string> places;
  Inventory all;
  for (const Inventory& each : inventories) {
    files.push_back(each.file);
    for (const Host& host : each.hosts) {
      const std::string place = fmt::format("{}:{}", each.file, host.line);
      const auto [first, fresh] = places.emplace(host.name, place);
      if (!fresh) {
        problems.push_back({each.file, host.line, 0,
                            fmt::format("host '{}' is in {} already", host.name, first->second),
                            "remove one of the two lines"});
      }
      all.hosts.push_back(host);
    }
  }
  if (!problems.empty())
    throw InputError(std::move(problems));
  all.file = join(files, ", ");
  return all;
}

Inventory slurm_inventory(std::string_view nodelist, const std::string& what, int slots) {
  Inventory inventory{what, {}};
  std::set<std::string> names;
  for (const std::string& name : expand_nodelist(nodelist)) {
    if (const auto wrong = host_name_fault(name))
      throw UsageError(what + ": " + wrong->what, wrong->fix);
    if (!names.insert(name).second)
      continue;
    Host host;
    host.name = host.endpoint.name = host.endpoint.address = name;
    host.slots = slots;
    for (int slot = 0; slot < slots; ++slot)
      host.selected_slots.push_back(slot);
    inventory.hosts.push_back(std::move(host));
  }
  return inventory;
}

Inventory local_inventory() {
  Host host;
  host.name = "localhost";
  host.endpoint = {.kind = Endpoint::Kind::local,
                   .name = "localhost",
                   .address = "localhost",
                   .user = {},
                   .port = 0,
                   .identity = {}};
  host.slots = 1;
  host.selected_slots = {0};
  return {"this machine", {host}};
}

}  // namespace ds
