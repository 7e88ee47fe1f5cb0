// SPDX-License-Identifier: Apache-2.0
//
// Rules about what the dynamic loader and the CPU of the host must offer.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>
#include <utility>

#include "audit/rule.h"
#include "base/text.h"

namespace ds {
namespace {

/// One family of symbol versions.
struct Family {
  const char* name;  ///< "glibc ", "GLIBCXX_"
  std::string LibraryNeeds::*needs;
  std::string HostFacts::*has;
  const char* way;  ///< of way_out
  const char* fix;  ///< {} is what the host has
};

/// "utils needs", "cpu_adam, utils need"
std::string who_needs(const std::vector<std::string>& names) {
  return join(names, ", ") + (names.size() == 1 ? " needs" : " need");
}

Findings version_findings(const Subject& subject, const Family& family) {
  const std::string& has = subject.host.*family.has;
  std::vector<std::string> too_new;
  std::string highest;
  bool any_built = false;
  for (const Requirements& wheel : subject.wheels) {
    any_built |= is_built(wheel);
    for (const LibraryNeeds& library : wheel.libraries) {
      const std::string& needs = library.*family.needs;
      if (compare_versions(needs, highest) > 0)
        highest = needs;
      if (compare_versions(needs, has) > 0)
        too_new.push_back(label(library));
    }
  }
  if (!any_built)
    return {};
  if (highest.empty())
    return {finding(Severity::ok, fmt::format("no {} version is needed", trim(family.name)))};
  if (has.empty()) {
    return {finding(Severity::unknown, fmt::format("{}{} is needed, and which version this host "
                                                   "has is not known",
                                                   family.name, highest))};
  }
  if (too_new.empty()) {
    return {finding(Severity::ok,
                    fmt::format("{0}{1} is needed, {0}{2} is there", family.name, highest, has))};
  }
  const std::string op = too_new.size() == 1 ? too_new.front() : "";
  return {with_ways(
      finding(Severity::fail,
              fmt::format("{} {}{}, and this host has {}", who_needs(too_new), family.name, highest,
                          has),
              fmt::format(fmt::runtime(family.fix), has) + ", or " + leave_out(subject), op),
      {{family.way, has}})};
}

bool has_own_folder(const LibraryNeeds& library) {
  const std::vector<std::string> folders = split(library.runpath, ':');
  return std::any_of(folders.begin(), folders.end(),
                     [](const std::string& folder) { return folder.starts_with('/'); });
}

std::set<std::string> names_in(const Requirements& wheel) {
  std::set<std::string> names;
  for (const LibraryNeeds& library : wheel.libraries) {
    names.insert(std::filesystem::path(library.path).filename().string());
    names.insert(library.soname);
  }
  return names;
}

Finding missing_library(const Subject& subject, const LibraryNeeds& library,
                        const std::string& soname) {
  if (subject.host.libraries.empty()) {
    return finding(Severity::unknown,
                   fmt::format("{} needs {}, and which libraries this host has is not known",
                               label(library), soname),
                   "", label(library));
  }
  if (has_own_folder(library)) {
    return finding(Severity::unknown,
                   fmt::format("{} needs {}, which the loader does not know; whether it lies in {} "
                               "is not known",
                               label(library), soname, library.runpath),
                   "", label(library));
  }
  const std::string get = how_to_get(subject, soname);
  return with_ways(finding(Severity::fail,
                           fmt::format("{} needs {}, which this host's loader does not know",
                                       label(library), soname),
                           get + in_loader_path + ", or " + leave_out(subject), label(library)),
                   {{"library", get}});
}

/// What a scan of its code finds that this host's CPU has not. A warning: whether it runs, a scan
/// cannot tell.
std::optional<Finding> beyond_the_cpu(const Subject& subject, const LibraryNeeds& library) {
  const std::vector<std::string>& has = subject.host.cpu_flags;
  const Instructions& code = *library.instructions;
  const std::string who = label(library);
  if (!code.read)
    return finding(Severity::unknown, who + " is not for x86-64, and only that can be scanned", {},
                   who);
  std::vector<std::string> missing;
  for (const InstructionSet& set : code.sets) {
    const bool stated = set.level > 0 && set.level <= library.cpu_level;  // for the rule cpu-level
    if (!stated && !std::binary_search(has.begin(), has.end(), set.flag))
      missing.push_back(fmt::format("{} ({}, the first in {})", set.flag,
                                    count(set.count, "instruction"), set.first));
  }
  if (missing.empty())
    return std::nullopt;
  if (has.empty())
    return finding(Severity::unknown,
                   fmt::format("{} has instructions beyond x86-64-v1, and what this host's CPU can "
                               "do is not known",
                               who),
                   {}, who);
  return finding(
      Severity::warn,
      fmt::format("{} has instructions that this CPU has not: {}; {}", who, join(missing, ", "),
                  code.asks_cpu ? "it asks the CPU (CPUID), so it may have other code for this one"
                                : "it does not ask the CPU what it can do"),
      "run it there before a job does, build it for an older CPU, or " + leave_out(subject), who);
}

}  // namespace

std::string how_to_get(const Subject& subject, const std::string& soname) {
  const std::string get = subject.options.catalog->how_to_get(soname, subject.host.os);
  return get.empty() ? "install the package that has " + soname : get;
}

Findings glibc_rule(const Subject& subject) {
  return version_findings(subject,
                          {"glibc ", &LibraryNeeds::glibc, &HostFacts::glibc, "glibc",
                           "build on a machine (or in a container) with glibc {} or older"});
}

Findings libstdcxx_rule(const Subject& subject) {
  const char* fix =
      "build with a compiler whose newest version is {} or older, or put a newer libstdc++ into "
      "the environment";
  Findings all = version_findings(
      subject, {"GLIBCXX_", &LibraryNeeds::glibcxx, &HostFacts::glibcxx, "glibcxx", fix});
  for (Finding& found : version_findings(
           subject, {"CXXABI_", &LibraryNeeds::cxxabi, &HostFacts::cxxabi, "cxxabi", fix})) {
    all.push_back(std::move(found));
  }
  return all;
}

Findings cpu_level_rule(const Subject& subject) {
  const int has = subject.host.cpu_level;
  int highest = 0;
  std::vector<std::string> too_high;
  bool any_built = false;
  for (const Requirements& wheel : subject.wheels) {
    any_built |= is_built(wheel);
    for (const LibraryNeeds& library : wheel.libraries) {
      highest = std::max(highest, library.cpu_level);
      if (library.cpu_level > has)
        too_high.push_back(label(library));
    }
  }
  if (!any_built && highest == 0)
    return {};
  if (highest <= 1)
    return {finding(Severity::ok, "no library states a CPU level above x86-64-v1")};
  if (has == 0) {
    return {finding(Severity::unknown,
                    fmt::format("x86-64-v{} is needed, and what this host's CPU can do is not "
                                "known",
                                highest))};
  }
  if (too_high.empty())
    return {
        finding(Severity::ok, fmt::format("x86-64-v{} is needed, the CPU has v{}", highest, has))};
  return {with_ways(finding(Severity::fail,
                            fmt::format("{} a CPU of level x86-64-v{}, and this host's is v{}",
                                        who_needs(too_high), highest, has),
                            fmt::format("build for x86-64-v{} (--cpu-level {}), or {}", has, has,
                                        leave_out(subject)),
                            too_high.size() == 1 ? too_high.front() : ""),
                    {{"cpu-level", std::to_string(has)}})};
}

Findings instructions_rule(const Subject& subject) {
  Findings all;
  bool any = false;
  for (const Requirements& wheel : subject.wheels) {
    for (const LibraryNeeds& library : wheel.libraries) {
      // The rule machine tells of a host that is of another family.
      const std::string& machine = subject.host.machine;
      if (!library.instructions || (!machine.empty() && library.machine != machine))
        continue;
      any = true;
      if (std::optional<Finding> found = beyond_the_cpu(subject, library))
        all.push_back(std::move(*found));
    }
  }
  if (!any || !all.empty())
    return all;
  return {finding(Severity::ok, "a scan of the code finds no extension that this CPU lacks")};
}

Findings needed_libraries_rule(const Subject& subject) {
  Findings missing;
  bool any_built = false, any_needed = false;
  for (const Requirements& wheel : subject.wheels) {
    any_built |= is_built(wheel);
    const std::set<std::string> own = names_in(wheel);
    for (const LibraryNeeds& library : wheel.libraries) {
      // The rule gpu has told that device code does not run there.
      if (library.gpu.units > 0 && subject.host.gpus.empty())
        continue;
      any_needed |= !library.opens.empty();
      for (const std::string& soname : library.needed) {
        if (is_runtime_library(soname) || own.contains(soname))
          continue;
        any_needed = true;
        if (!host_has_library(soname, subject.host))
          missing.push_back(missing_library(subject, library, soname));
      }
    }
  }
  for (Finding& opened : op_findings(subject, "needed-libraries"))
    missing.push_back(std::move(opened));
  if (!any_built || !missing.empty())
    return missing;
  return {finding(Severity::ok, any_needed ? "all needed libraries are there"
                                           : "only the C and C++ run time is needed")};
}

}  // namespace ds
