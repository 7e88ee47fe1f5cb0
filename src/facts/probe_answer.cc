// SPDX-License-Identifier: Apache-2.0
#include "facts/probe_answer.h"

#include <algorithm>
#include <functional>
#include <optional>

#include "base/text.h"
#include "facts/gpu_names.h"

namespace ds {
namespace {

std::int64_t number(const std::string& text, std::int64_t highest = std::int64_t{1} << 53) {
  return parse_integer(trim(text), 0, highest).value_or(0);
}

std::string cell(const std::vector<std::string>& cells, std::size_t at) {
  return at < cells.size() ? std::string(trim(cells[at])) : std::string();
}

Gpu read_gpu(const std::string& row) {
  const std::vector<std::string> cells = split(row, ',');
  Gpu gpu;
  gpu.index = static_cast<int>(number(cell(cells, 0), 4096));
  gpu.uuid = cell(cells, 1);
  gpu.name = cell(cells, 2);
  gpu.compute_capability =
      is_capability(cell(cells, 3)) ? cell(cells, 3) : capability_of_name(gpu.name);
  gpu.driver = cell(cells, 4);
  gpu.memory_mb = number(cell(cells, 5));
  gpu.mig = cell(cells, 6);
  gpu.ecc = cell(cells, 7);
  return gpu;
}

Tool read_tool(const std::string& value) {
  const std::vector<std::string> cells = split(value, '\t');
  return {cell(cells, 1), cell(cells, 0), cell(cells, 2)};
}

void add_tool(std::vector<Tool>& tools, const std::string& value) {
  const Tool tool = read_tool(clean(value, 4096));
  const bool known = std::any_of(tools.begin(), tools.end(),
                                 [&tool](const Tool& other) { return other.path == tool.path; });
  if (!known && tools.size() < 32)
    tools.push_back(tool);
}

void make_set(std::vector<std::string>& words) {
  std::sort(words.begin(), words.end());
  words.erase(std::unique(words.begin(), words.end()), words.end());
}

std::vector<std::string> sorted_words(const std::string& value) {
  std::vector<std::string> words = split_words(clean_line(value, 1u << 20));
  make_set(words);
  return words;
}

void add_note(HostFacts& host, const std::string& text) {
  if (host.notes.size() < 64)
    host.notes.push_back(clean_line(text));
}

void take_gpu(HostFacts& host, const std::string& value) {
  const Gpu gpu = read_gpu(clean_line(value));
  if (!gpu.uuid.starts_with("GPU-")) {
    add_note(host, "nvidia-smi said: " + value);
  } else if (host.gpus.size() < 64) {
    host.gpus.push_back(gpu);
  }
}

void take_xid(HostFacts& host, const std::string& value) {
  const std::vector<std::string> cells = split(clean(value, 4096), '\t');
  const Xid xid{static_cast<int>(number(cell(cells, 0), 100000)), cell(cells, 1),
                number(cell(cells, 2))};
  if (host.xids && xid.number > 0 && host.xids->size() < 64)
    host.xids->push_back(xid);
}

void take(HostFacts& host, const std::string& key, const std::string& value) {
  const std::pair<const char*, std::string*> texts[] = {
      {"kernel", &host.kernel},
      {"machine", &host.machine},
      {"hostname", &host.hostname},
      {"user", &host.user},
      {"os", &host.os},
      {"machine_id", &host.machine_id},
      {"boot_id", &host.boot_id},
      {"cpu_model", &host.cpu_model},
      {"glibc", &host.glibc},
      {"driver", &host.driver},
      {"env_script_problem", &host.env_script_problem}};
  for (const auto& [name, place] : texts) {
    if (key == name)
      *place = clean_line(value);
  }
  if (key == "cpu_flags")
    host.cpu_flags = sorted_words(value);
  if (key == "cpu_count")
    host.cpu_count = static_cast<int>(number(value, 1 << 20));
  if (key == "memory_kb")
    host.memory_mb = number(value) / 1024;
  if (key == "clock")
    host.clock = number(value);
  if (key == "libraries")
    host.libraries = split_words(clean_line(value, 1u << 20));
  if (key == "cxx")
    add_tool(host.cxx, value);
  if (key == "nvcc")
    add_tool(host.nvcc, value);
  if (key == "gpu")
    take_gpu(host, value);
  if (key == "gpus_on_bus")
    host.gpus_on_bus = static_cast<int>(number(value, 4096));
  if (key == "kernel_log")
    host.xids.emplace();
  if (key == "xid")
    take_xid(host, value);
  if (key == "note" || key == "env_script_problem")
    add_note(host, value);
  if (key != "python")
    return;
  for (const std::string& problem : read_python_answer(value, host)) {
    add_note(host, "probe: " + problem);
  }
}

}  // namespace

bool is_capability(const std::string& text) {
  const std::vector<std::string> pieces = split(text, '.');
  return pieces.size() == 2 && parse_integer(pieces[0], 1, 99) && parse_integer(pieces[1], 0, 9);
}

int cpu_level(const std::vector<std::string>& sorted_flags) {
  static const std::vector<std::vector<std::string>> levels = {
      {"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"},
      {"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"},
      {"avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"}};
  if (!std::binary_search(sorted_flags.begin(), sorted_flags.end(), "sse2"))
    return 0;
  int level = 1;
  for (const std::vector<std::string>& needed : levels) {
    if (!std::includes(sorted_flags.begin(), sorted_flags.end(), needed.begin(), needed.end())) {
      break;
    }
    ++level;
  }
  return level;
}

HostFacts parse_probe_answer(const std::string& out, const std::string& nonce) {
  HostFacts host;
  bool inside = false, ended = false;
  for (const std::string& line : lines(out)) {
    if (line == nonce + " begin") {
      inside = true;
    } else if (line == nonce + " end") {
      ended = inside;
      inside = false;
    } else if (inside) {
      const std::size_t tab = line.find('\t');
      if (tab != std::string::npos)
        take(host, line.substr(0, tab), line.substr(tab + 1));
    }
  }
  if (!ended) {
    host.state = HostFacts::State::failed;
    host.problem = out.find(nonce + " begin") == std::string::npos
                       ? "the probe gave no answer: is the login shell a shell?"
                       : "the probe's answer is cut";
    return host;
  }
  host.state = HostFacts::State::reached;
  host.cpu_level = cpu_level(host.cpu_flags);
  make_set(host.libraries);
  if (host.driver.empty() && !host.gpus.empty())
    host.driver = host.gpus.front().driver;
  return host;
}

}  // namespace ds
