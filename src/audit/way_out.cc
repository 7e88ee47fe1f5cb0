// SPDX-License-Identifier: Apache-2.0
//
// What would make the refused hosts ready: one choice for each kind of trouble, the cheaper of
// building otherwise, once, and of changing each host.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "audit/rule.h"
#include "base/text.h"

namespace ds {
namespace {

/// How values that several hosts ask for go together.
enum class Together { each, all, lowest };

struct Kind {
  const char* name;
  bool build;  ///< done once, when the wheel is built; else on each host
  int cost;    ///< in the work of installing one package on one host
  Together together;
  const char* text;  ///< {} is the value
};

/// A toolkit or a machine with an old glibc may have to be found first; a driver wants the host
/// empty and often a reboot.
constexpr std::array kinds = {
    Kind{"arch", true, 1, Together::all, "build for compute capability {} too"},
    Kind{"cpu-level", true, 1, Together::lowest, "build for x86-64-v{0}: --cpu-level {0}"},
    Kind{"torch-wheel", true, 2, Together::each, "build one more wheel, with torch {}"},
    Kind{"python-wheel", true, 2, Together::each, "build one more wheel, for {}"},
    Kind{"machine-wheel", true, 2, Together::each, "build one more wheel, on {}"},
    Kind{"old-arch", true, 10, Together::all,
         "build for compute capability {} too, with CUDA 12.9 or older"},
    Kind{"cuda", true, 10, Together::lowest, "build with CUDA {} or older"},
    Kind{"glibc", true, 10, Together::lowest, "build where glibc is {} or older"},
    Kind{"glibcxx", true, 10, Together::lowest,
         "build with a compiler that knows no GLIBCXX_ version above {}"},
    Kind{"cxxabi", true, 10, Together::lowest,
         "build with a compiler that knows no CXXABI_ version above {}"},
    Kind{"driver", false, 3, Together::each, "update the NVIDIA driver to {} or newer"},
    Kind{"torch", false, 2, Together::each, "install torch {}"},
    Kind{"library", false, 1, Together::each, "{}"},
    Kind{"host", false, 1, Together::each, "{}"},
};

const Kind& kind_of(const Change& change) {
  const auto found = std::find_if(kinds.begin(), kinds.end(),
                                  [&](const Kind& kind) { return change.kind == kind.name; });
  return found == kinds.end() ? kinds.back() : *found;
}

/// A "host" change is what the fix says.
std::vector<Change> ways_of(const Finding& finding, const std::string& host) {
  if (!finding.ways.empty())
    return finding.ways;
  std::string text = finding.fix;
  take_leave_out(text, host);
  if (text.empty())
    return {};
  return {{"host", text}};
}

struct Trouble {
  const std::string* host;
  std::vector<Change> ways;
};

/// Two ways are weighed against each other wherever both would do.
std::string choice_of(const std::vector<Change>& ways) {
  std::vector<std::string> names;
  for (const Change& way : ways)
    names.push_back(way.kind);
  return join(names, " ");
}

/// What taking the `at`th way costs for all of these.
int cost_of(const std::vector<Trouble>& troubles, std::size_t at) {
  std::set<std::pair<std::string, std::string>> done;
  int cost = 0;
  for (const Trouble& trouble : troubles) {
    const Change& way = trouble.ways[at];
    const Kind& kind = kind_of(way);
    const bool fresh = done.emplace(kind.build ? "" : *trouble.host,
                                    kind.together == Together::each ? way.value : "")
                           .second;
    cost += fresh ? kind.cost : 0;
  }
  return cost;
}

std::vector<std::string> in_order(const std::set<std::string>& values) {
  std::vector<std::string> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end(), [](const std::string& left, const std::string& right) {
    const int order = compare_versions(left, right);
    return order != 0 ? order < 0 : left < right;
  });
  return sorted;
}

std::string together(const Kind& kind, const std::set<std::string>& values) {
  const std::vector<std::string> sorted = in_order(values);
  const std::string value = kind.together == Together::lowest ? sorted.front() : join(sorted, ", ");
  return fmt::format(fmt::runtime(kind.text), value);
}

/// The newest toolkit that a wheel of this step can be built with; empty: any.
std::string newest_toolkit(const std::string& kind, const std::set<std::string>& values) {
  if (kind == "old-arch")
    return "12.9";
  return kind == "cuda" ? in_order(values).front() : "";
}

/// True if a host that is none of these, and gets the same wheels, has a GPU for which such a
/// toolkit compiles nothing.
bool newer_is_needed(const std::string& toolkit, const std::vector<std::string>& hosts,
                     const Sets& sets, const Fleet& fleet, const Catalog& catalog) {
  const std::set<std::string> served(hosts.begin(), hosts.end());
  const std::set<const SetNeeds*> wheels = sets.of(hosts);
  return std::any_of(fleet.hosts.begin(), fleet.hosts.end(), [&](const HostFacts& host) {
    return !served.contains(host.host) && wheels.contains(sets.of(host.host)) &&
           std::any_of(host.gpus.begin(), host.gpus.end(), [&](const Gpu& gpu) {
             const Catalog::Gpu* known = catalog.gpu(gpu.compute_capability);
             return known != nullptr && compare_versions(known->first, toolkit) > 0;
           });
  });
}

/// What code for this capability costs in the libraries that have none: as much as they have for
/// another, since machine code of one differs little in size from that of the next.
void add_cost(WayOut::Step& step, const std::string& capability, const Sets& sets,
              const Catalog& catalog) {
  for (const SetNeeds* set : sets.of(step.hosts)) {
    for (const Requirements& wheel : set->wheels) {
      for (const LibraryNeeds& library : wheel.libraries) {
        std::uint64_t bytes = 0, archs = 0;
        for (const auto& [arch, size] : library.gpu.bytes) {
          bytes += arch.starts_with("sm_") ? size : 0;
          archs += arch.starts_with("sm_") ? 1 : 0;
        }
        if (archs == 0 || compare_versions(capability, library.minimum_capability) < 0 ||
            image_for(library.gpu, capability, catalog) != Image::none)
          continue;
        step.units += static_cast<std::size_t>(library.gpu.units);
        step.bytes += bytes / archs;
      }
    }
  }
}

/// The steps that are taken, before their texts are known.
class Steps {
 public:
  Steps(const Sets& sets, const Fleet& fleet, const Catalog& catalog)
      : sets_(sets), fleet_(fleet), catalog_(catalog) {}

  void take(const Change& change, const std::string& host) {
    const Kind& kind = kind_of(change);
    Taken& step = taken_[{kind.name, kind.together == Together::each ? change.value : ""}];
    step.kind = &kind;
    step.values.insert(change.value);
    if (step.hosts.empty() || step.hosts.back() != host)
      step.hosts.push_back(host);
  }

  std::vector<WayOut::Step> steps() const {
    std::vector<WayOut::Step> all;
    for (const auto& [key, taken] : taken_) {
      all.push_back({together(*taken.kind, taken.values), taken.hosts});
      WayOut::Step& step = all.back();
      const std::string toolkit = newest_toolkit(key.first, taken.values);
      if (!toolkit.empty() && newer_is_needed(toolkit, taken.hosts, sets_, fleet_, catalog_))
        step.change += ", as a second wheel: other hosts need a newer CUDA";
      if (key.first != "arch" && key.first != "old-arch")
        continue;
      for (const std::string& capability : taken.values)
        add_cost(step, capability, sets_, catalog_);
    }
    std::stable_sort(all.begin(), all.end(), [](const auto& left, const auto& right) {
      return left.hosts.size() > right.hosts.size();
    });
    return all;
  }

 private:
  struct Taken {
    const Kind* kind = nullptr;
    std::set<std::string> values;
    std::vector<std::string> hosts;
  };
  const Sets& sets_;
  const Fleet& fleet_;
  const Catalog& catalog_;
  std::map<std::pair<std::string, std::string>, Taken> taken_;
};

bool refuses(const Finding& finding, bool strict) {
  return !finding.ignored &&
         (finding.severity == Severity::fail || (strict && finding.severity != Severity::ok));
}

}  // namespace

WayOut way_out(const std::vector<HostAudit>& hosts, const Sets& sets, const Fleet& fleet,
               const AuditOptions& options) {
  WayOut out;
  std::map<std::string, std::vector<Trouble>> choices;
  for (const HostAudit& host : hosts) {
    if (host.verdict == Verdict::ready)
      continue;
    std::vector<Trouble> troubles;
    const Finding* hopeless = nullptr;
    for (const Finding& finding : host.findings) {
      if (!refuses(finding, options.strict))
        continue;
      troubles.push_back({&host.host, ways_of(finding, host.host)});
      if (troubles.back().ways.empty() && hopeless == nullptr)
        hopeless = &finding;
    }
    if (hopeless != nullptr || troubles.empty()) {
      out.remaining.push_back({host.host, hopeless == nullptr ? "" : hopeless->because});
      continue;
    }
    for (Trouble& trouble : troubles)
      choices[choice_of(trouble.ways)].push_back(std::move(trouble));
  }
  Steps steps(sets, fleet, *options.catalog);
  for (const auto& [kinds_of_choice, troubles] : choices) {
    std::size_t best = 0;
    for (std::size_t at = 1; at < troubles.front().ways.size(); ++at) {
      if (cost_of(troubles, at) < cost_of(troubles, best))
        best = at;
    }
    for (const Trouble& trouble : troubles)
      steps.take(trouble.ways[best], *trouble.host);
  }
  out.steps = steps.steps();
  return out;
}

}  // namespace ds
