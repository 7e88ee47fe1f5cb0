// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <type_traits>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "facts/facts_fields.h"
#include "facts/probe_answer.h"

namespace ds {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t list_limit = 20000;

constexpr std::pair<HostFacts::State, const char*> state_names[] = {
    {HostFacts::State::reached, "reached"},
    {HostFacts::State::unreachable, "unreachable"},
    {HostFacts::State::login_refused, "login-refused"},
    {HostFacts::State::key_refused, "key-refused"},
    {HostFacts::State::failed, "failed"}};

struct Writer {
  ordered_json& into;

  template <typename Value>
  static ordered_json value_of(Value& value) {
    if constexpr (requires(Value & any) { fields(any, Writer{std::declval<ordered_json&>()}); }) {
      ordered_json object = ordered_json::object();
      fields(value, Writer{object});
      return object;
    } else {
      return value;
    }
  }
  static ordered_json value_of(HostFacts::State& state) {
    for (const auto& [known, name] : state_names) {
      if (known == state)
        return name;
    }
    return "failed";
  }
  template <typename Value>
  static ordered_json value_of(std::optional<Value>& value) {
    return value ? value_of(*value) : ordered_json(nullptr);
  }
  static ordered_json value_of(std::optional<Distributions>& value) {
    if (!value)
      return nullptr;
    ordered_json object = ordered_json::object();
    for (auto& [name, version] : value->all())
      object.push_back({name, version});
    return object;
  }
  template <typename Item>
  static ordered_json value_of(std::vector<Item>& items) {
    ordered_json array = ordered_json::array();
    for (Item& item : items)
      array.push_back(value_of(item));
    return array;
  }
  template <typename Value>
  void operator()(const char* name, Value& value) const {
    into[name] = value_of(value);
  }
};

/// Reads what is there; a key that is absent keeps its default, one of another type is a problem.
struct Reader {
  const ordered_json& from;
  std::string path;
  std::vector<std::string>& problems;

  template <typename Value>
  void read(const ordered_json& json, Value& value, const std::string& where) const {
    if constexpr (requires(Value & any) { fields(any, Reader{json, where, problems}); }) {
      if (!json.is_object()) {
        problems.push_back(where + " is no object");
      } else {
        fields(value, Reader{json, where, problems});
      }
    } else {
      read_number(json, value, where);
    }
  }
  template <typename Number>
  void read_number(const ordered_json& json, Number& value, const std::string& where) const {
    static_assert(std::is_arithmetic_v<Number> && !std::is_same_v<Number, bool>);
    if constexpr (std::is_integral_v<Number>) {
      const bool fits =
          json.is_number_unsigned()
              ? std::in_range<Number>(json.get<std::uint64_t>())
              : json.is_number_integer() && std::in_range<Number>(json.get<std::int64_t>());
      if (fits) {
        value = json.get<Number>();
        return;
      }
    } else if (json.is_number()) {
      value = json.get<Number>();
      return;
    }
    problems.push_back(where + " has the wrong type or is out of range");
  }
  void read(const ordered_json& json, bool& value, const std::string& where) const {
    if (json.is_boolean()) {
      value = json.get<bool>();
    } else {
      problems.push_back(where + " is neither true nor false");
    }
  }
  void read(const ordered_json& json, std::string& value, const std::string& where) const {
    if (json.is_string()) {
      value = clean_line(json.get<std::string>(), 4096);
    } else {
      problems.push_back(where + " is no text");
    }
  }
  void read(const ordered_json& json, HostFacts::State& value, const std::string& where) const {
    for (const auto& [state, name] : state_names) {
      if (json.is_string() && json.get<std::string>() == name) {
        value = state;
        return;
      }
    }
    problems.push_back(where + " is no state");
  }
  template <typename Value>
  void read(const ordered_json& json, std::optional<Value>& value, const std::string& where) const {
    if (json.is_null())
      return;
    const std::size_t before = problems.size();
    read(json, value.emplace(), where);
    if (problems.size() > before)
      value.reset();
  }
  void read(const ordered_json& json, std::optional<Distributions>& value,
            const std::string& where) const {
    if (json.is_null())
      return;
    if (!json.is_object()) {
      problems.push_back(where + " is no object");
      return;
    }
    value.emplace();
    for (const auto& [name, version] : json.items()) {
      if (version.is_string())
        value->add(name, version.get_ref<const std::string&>());
    }
  }
  template <typename Item>
  void read(const ordered_json& json, std::vector<Item>& items, const std::string& where) const {
    if (!json.is_array()) {
      problems.push_back(where + " is no list");
      return;
    }
    for (std::size_t i = 0; i < json.size() && i < list_limit; ++i) {
      items.emplace_back();
      read(json[i], items.back(), where + "[" + std::to_string(i) + "]");
    }
  }
  void read(const ordered_json& json, std::map<std::string, std::string>& map,
            const std::string& where) const {
    if (!json.is_object()) {
      problems.push_back(where + " is no object");
      return;
    }
    for (const auto& [key, value] : json.items()) {
      if (map.size() < list_limit)
        read(value, map[clean_line(key)], where + "." + clean_line(key));
    }
  }
  template <typename Value>
  void operator()(const char* name, Value& value) const {
    const auto found = from.find(name);
    if (found != from.end())
      read(*found, value, path.empty() ? name : path + "." + name);
  }
};

/// What NVML says of the GPUs that nvidia-smi listed is added to them; where it listed none, they
/// are NVML's.
void read_driver_answer(const Reader& reader, HostFacts& host) {
  fields(host.nvidia, reader);
  reader("notes", host.notes);
  std::vector<Gpu> gpus;
  reader("gpus", gpus);
  for (Gpu& gpu : gpus) {
    const auto known = std::find_if(host.gpus.begin(), host.gpus.end(),
                                    [&gpu](const Gpu& one) { return one.uuid == gpu.uuid; });
    if (known != host.gpus.end()) {
      known->mig_devices = gpu.mig_devices;
      known->remapping = gpu.remapping;
      known->processes = std::move(gpu.processes);
    }
  }
  if (host.gpus.empty() && gpus.size() <= 64)
    host.gpus = std::move(gpus);
}

/// The text without the hosts, which are read one by one as they end: a fleet of thousands is never
/// there twice.
ordered_json read_hosts(const std::string& text, Fleet& fleet, std::vector<std::string>& problems) {
  using Event = ordered_json::parse_event_t;
  bool in_hosts = false;
  const auto take = [&](int depth, Event event, ordered_json& parsed) {
    if (depth == 1 && event == Event::key)
      in_hosts = parsed == "hosts";
    const bool ends =
        event == Event::object_end || event == Event::array_end || event == Event::value;
    if (!in_hosts || depth != 2 || !ends)
      return true;
    if (fleet.hosts.size() < list_limit) {
      const std::string where = fmt::format("hosts[{}]", fleet.hosts.size());
      fleet.hosts.emplace_back();
      Reader{parsed, "", problems}.read(parsed, fleet.hosts.back(), where);
    }
    return false;
  };
  return ordered_json::parse(text, take, false);
}

}  // namespace

std::string facts_to_json(const Fleet& fleet) {
  ordered_json hosts = ordered_json::array();
  for (HostFacts host : fleet.hosts)
    hosts.push_back(Writer::value_of(host));
  const ordered_json whole = {{"schema", "ds-deploy.facts/1"}, {"hosts", hosts}};
  return whole.dump(1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

Fleet facts_from_json(const std::string& text, const std::string& file) {
  const auto refuse = [&file](const std::string& what) {
    throw InputError({{file, 0, 0, what, "write it anew: ds-deploy facts --save-facts FILE"}});
  };
  Fleet fleet;
  std::vector<std::string> problems;
  const ordered_json whole = read_hosts(text, fleet, problems);
  if (!whole.is_object())
    refuse("is no JSON object");
  if (whole.value("schema", ordered_json()) != "ds-deploy.facts/1") {
    refuse("is no file of facts: its schema is not ds-deploy.facts/1");
  }
  if (!whole.value("hosts", ordered_json()).is_array())
    problems.emplace_back("hosts is no list");
  std::set<std::string> names;
  for (std::size_t i = 0; i < fleet.hosts.size(); ++i) {
    const std::string& name = fleet.hosts[i].host;
    if (name.empty()) {
      problems.push_back(fmt::format("hosts[{}].name is missing", i));
    } else if (!names.insert(name).second) {
      problems.push_back(fmt::format("hosts[{}].name is {} once more", i, name));
    }
  }
  std::vector<Problem> found;
  for (const std::string& problem : problems) {
    found.push_back({file, 0, 0, problem, "write it anew: ds-deploy facts --save-facts FILE"});
  }
  if (!found.empty())
    throw InputError(found);
  if (fleet.hosts.empty())
    refuse("names no host");
  return fleet;
}

std::vector<std::string> read_python_answer(const std::string& text, HostFacts& host) {
  std::vector<std::string> problems;
  const ordered_json answer = ordered_json::parse(text, nullptr, false);
  if (!answer.is_object())
    return {"the interpreter's answer is no JSON"};
  const Reader reader{answer, "", problems};
  const std::string asked = host.python.asked;
  reader("python", host.python);
  host.python.asked = asked;
  reader("torch", host.torch);
  reader("installed", host.installed);
  reader("distributions", host.distributions);
  reader("disk", host.disk);
  reader("shared_memory", host.shared_memory);
  reader("jit", host.jit);
  reader("earlier_modules", host.earlier_modules);
  reader("login", host.login);
  reader("use", host.use);
  reader("runtime", host.runtime);
  reader("notes", host.notes);
  const auto nvidia = answer.find("nvidia");
  if (nvidia != answer.end() && nvidia->is_object())
    read_driver_answer(Reader{*nvidia, "nvidia", problems}, host);
  reader("libraries", host.libraries);
  std::vector<Tool> toolkits;
  reader("nvcc", toolkits);
  for (Tool& toolkit : toolkits) {
    const bool known = std::any_of(host.nvcc.begin(), host.nvcc.end(),
                                   [&](const Tool& other) { return other.path == toolkit.path; });
    if (!known && host.nvcc.size() < 32)
      host.nvcc.push_back(std::move(toolkit));
  }
  const auto library = answer.find("libstdcxx");
  if (library != answer.end() && library->is_object()) {
    const Reader inner{*library, "libstdcxx", problems};
    inner("path", host.libstdcxx);
    inner("glibcxx", host.glibcxx);
    inner("cxxabi", host.cxxabi);
  }
  return problems;
}

}  // namespace ds
