// SPDX-License-Identifier: Apache-2.0
#include "plan/arch_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <string_view>

#include "base/error.h"
#include "base/text.h"

namespace ds {
namespace {

/// What is built when nobody says for which GPUs: the data centre's and their nearest kin.
constexpr std::array default_archs = {70, 75, 80, 86, 89, 90, 100, 120};

/// PyTorch's names (torch/utils/cpp_extension.py).
constexpr std::array<std::pair<std::string_view, std::string_view>, 14> named = {{
    {"Kepler+Tesla", "3.7"},
    {"Kepler", "3.5+PTX"},
    {"Maxwell+Tegra", "5.3"},
    {"Maxwell", "5.0;5.2+PTX"},
    {"Pascal", "6.0;6.1+PTX"},
    {"Volta+Tegra", "7.2"},
    {"Volta", "7.0+PTX"},
    {"Turing", "7.5+PTX"},
    {"Ampere+Tegra", "8.7"},
    {"Ampere", "8.0;8.6+PTX"},
    {"Ada", "8.9+PTX"},
    {"Hopper", "9.0+PTX"},
    {"Blackwell+Tegra", "11.0"},
    {"Blackwell", "10.0;10.3;12.0;12.1+PTX"},
}};

/// "9.0a" as an Arch, or nothing.
std::optional<Arch> parse_capability(std::string_view text) {
  Arch arch;
  if (text.ends_with('a') || text.ends_with('f')) {
    arch.suffix = text.back();
    text.remove_suffix(1);
  }
  const std::size_t dot = text.find('.');
  if (dot == std::string_view::npos)
    return std::nullopt;
  const std::optional<long> major = parse_integer(text.substr(0, dot), 1, 99);
  const std::optional<long> minor = parse_integer(text.substr(dot + 1), 0, 9);
  if (!major || !minor || text.size() != dot + 2)
    return std::nullopt;
  arch.number = static_cast<int>(*major * 10 + *minor);
  return arch;
}

void add_piece(std::string_view piece, std::set<Arch>& archs) {
  for (const auto& [name, meaning] : named) {
    if (piece != name)
      continue;
    for (const std::string& member : split(meaning, ';'))
      add_piece(member, archs);
    return;
  }
  const bool with_ptx = piece.ends_with("+PTX");
  const std::optional<Arch> arch =
      parse_capability(with_ptx ? piece.substr(0, piece.size() - 4) : piece);
  if (!arch) {
    throw UsageError(
        fmt::format("TORCH_CUDA_ARCH_LIST: '{}' is no architecture", clean_line(piece, 40)),
        "write compute capabilities, such as 8.0;9.0a+PTX, or names such as Ampere");
  }
  archs.insert(*arch);
  if (with_ptx)
    archs.insert({arch->number, arch->suffix, true});
}

std::set<Arch> parse_archs(const std::string& text) {
  std::string pieces = text;
  std::replace_if(
      pieces.begin(), pieces.end(), [](char c) { return c == ';' || c == ','; }, ' ');
  std::set<Arch> archs;
  for (const std::string& piece : split_words(pieces))
    add_piece(piece, archs);
  return archs;
}

using HostsByArch = std::map<Arch, std::vector<std::string>>;

HostsByArch hosts_by_arch(const Fleet& fleet) {
  HostsByArch hosts;
  for (const HostFacts& host : fleet.hosts) {
    std::set<Arch> here;
    for (const Gpu& gpu : host.gpus) {
      if (const auto arch = parse_capability(gpu.compute_capability))
        here.insert(*arch);
    }
    for (const Arch& arch : here)
      hosts[arch].push_back(host.host);
  }
  return hosts;
}

/// Newer GPUs than the highest arch can run only its PTX.
void add_ptx_of_highest(ArchChoice& choice) {
  if (choice.archs.empty())
    return;
  Arch highest = choice.archs.back();
  choice.because += fmt::format("; PTX of {} for newer GPUs", capability_text(highest));
  highest.ptx = true;
  choice.archs.push_back(highest);
}

ArchChoice archs_asked_for(const std::string& asked, const std::string& nvcc_version,
                           const Catalog& catalog) {
  ArchChoice choice;
  for (const Arch& arch : parse_archs(asked)) {
    if (!nvcc_makes(nvcc_version, arch, catalog)) {
      throw Error(fmt::format("TORCH_CUDA_ARCH_LIST={}: nvcc {} cannot compile for {}",
                              clean_line(asked, 200), nvcc_version, capability_text(arch)),
                  "remove it from the list, or set CUDA_HOME to a toolkit that can",
                  ExitStatus::build_failed);
    }
    choice.archs.push_back(arch);
  }
  choice.because = "TORCH_CUDA_ARCH_LIST=" + clean_line(asked, 200);
  return choice;
}

/// Code for `other` runs on `arch` too, as SASS.
bool covers(const Arch& other, const Arch& arch) {
  return other.suffix == 0 && other.number / 10 == arch.number / 10 && other.number < arch.number;
}

/// Takes out what the policy does not ask for; the archs are sorted.
void apply(ArchPolicy policy, ArchChoice& choice) {
  std::vector<Arch>& archs = choice.archs;
  const std::size_t before = archs.size();
  if (policy == ArchPolicy::cover) {
    const std::vector<Arch> all = archs;
    std::erase_if(archs, [&all](const Arch& arch) {
      return arch.suffix == 0 && std::any_of(all.begin(), all.end(), [&](const Arch& other) {
               return covers(other, arch);
             });
    });
  } else if (policy == ArchPolicy::ptx && before > 1) {
    archs.resize(1);
  }
  if (archs.size() < before) {
    choice.because +=
        fmt::format("; --arch-policy {} compiles for {} of them alone",
                    policy == ArchPolicy::cover ? "cover" : "ptx", join(sass_names(archs), ", "));
  }
}

ArchChoice archs_of_fleet(const HostsByArch& hosts, const std::string& nvcc_version,
                          ArchPolicy policy, const Catalog& catalog) {
  ArchChoice choice;
  choice.of_hosts = true;
  std::vector<std::string> reasons;
  for (const auto& [arch, names] : hosts) {
    if (nvcc_makes(nvcc_version, arch, catalog)) {
      choice.archs.push_back(arch);
      reasons.push_back(fmt::format("{} on {}", capability_text(arch), some_of(names)));
    } else {
      choice.notes.push_back(fmt::format("nvcc {} cannot compile for {}, the GPUs of {}",
                                         nvcc_version, capability_text(arch), some_of(names)));
    }
  }
  choice.because = join(reasons, ", ");
  apply(policy, choice);
  add_ptx_of_highest(choice);
  return choice;
}

}  // namespace

std::string to_string(const Arch& arch) {
  std::string text = std::to_string(arch.number);
  if (arch.suffix != 0)
    text += arch.suffix;
  return arch.ptx ? text + "+PTX" : text;
}

std::string capability_text(const Arch& arch) {
  std::string text = fmt::format("{}.{}", arch.number / 10, arch.number % 10);
  if (arch.suffix != 0)
    text += arch.suffix;
  return text;
}

bool nvcc_makes(const std::string& nvcc_version, const Arch& arch, const Catalog& catalog) {
  const std::string toolkit = major_minor(nvcc_version);
  const Catalog::Gpu* known = catalog.gpu(fmt::format("{}.{}", arch.number / 10, arch.number % 10));
  if (known == nullptr)
    return !catalog.toolkits.empty() && compare_versions(toolkit, catalog.toolkits.back().cuda) > 0;
  if (!known->last.empty() && compare_versions(toolkit, known->last) > 0)
    return false;
  const std::string& since = arch.suffix == 'a'   ? known->exact
                             : arch.suffix == 'f' ? known->family
                                                  : known->first;
  return !since.empty() && compare_versions(toolkit, since) >= 0;
}

std::vector<Arch> wanted_archs(const std::string& asked, const Fleet& fleet) {
  std::vector<Arch> wanted;
  if (!trim(asked).empty()) {
    const std::set<Arch> archs = parse_archs(asked);
    wanted.assign(archs.begin(), archs.end());
  } else {
    for (const auto& [arch, hosts] : hosts_by_arch(fleet))
      wanted.push_back(arch);
  }
  return wanted;
}

ArchChoice choose_archs(const std::string& asked, const Fleet& fleet,
                        const std::string& nvcc_version, ArchPolicy policy,
                        const Catalog& catalog) {
  if (!trim(asked).empty())
    return archs_asked_for(asked, nvcc_version, catalog);
  const HostsByArch hosts = hosts_by_arch(fleet);
  if (!hosts.empty())
    return archs_of_fleet(hosts, nvcc_version, policy, catalog);
  ArchChoice choice;
  for (const int number : default_archs) {
    const Arch arch{number};
    if (nvcc_makes(nvcc_version, arch, catalog))
      choice.archs.push_back(arch);
  }
  choice.because = fmt::format(
      "no host has a GPU and TORCH_CUDA_ARCH_LIST is not set, so the default of nvcc {}",
      nvcc_version);
  add_ptx_of_highest(choice);
  return choice;
}

std::vector<Arch> archs_from(const std::vector<Arch>& archs, const std::string& minimum) {
  const std::optional<Arch> lowest = parse_capability(minimum);
  std::vector<Arch> kept;
  std::copy_if(archs.begin(), archs.end(), std::back_inserter(kept),
               [&](const Arch& arch) { return !lowest || arch.number >= lowest->number; });
  return kept;
}

std::vector<std::string> sass_names(const std::vector<Arch>& archs) {
  std::vector<std::string> names;
  for (const Arch& arch : archs) {
    if (!arch.ptx)
      names.push_back(to_string(arch));
  }
  return names;
}

std::vector<std::string> parse_arch_list(const std::string& text) {
  std::vector<std::string> names;
  for (const Arch& arch : parse_archs(text))
    names.push_back(to_string(arch));
  return names;
}

}  // namespace ds
