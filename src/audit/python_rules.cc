// SPDX-License-Identifier: Apache-2.0
//
// Rules about the interpreter, the processor family and PyTorch.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "audit/python_tag.h"
#include "audit/rule.h"
#include "base/text.h"
#include "packaging/packaging.h"

namespace ds {
namespace {

/// The platforms of a wheel's tag: "py3-none-manylinux2014_x86_64.linux_x86_64".
std::vector<std::string> platforms_of(const Requirements& wheel) {
  const std::vector<std::string> pieces = split(wheel.python_tag, '-');
  return pieces.size() < 3 ? std::vector<std::string>() : split(pieces[2], '.');
}

bool platform_fits(const std::string& platform, const HostFacts& host) {
  const bool linux_here = platform.starts_with("linux_") || platform.starts_with("manylinux");
  return platform == "any" || (linux_here && platform.ends_with("_" + host.machine));
}

bool library_fits(const LibraryNeeds& library, const PythonFacts& python) {
  if (library.python.empty())
    return true;
  if (library.python == "abi3")
    return !python_tag_of(python).ends_with('t');
  return library.python == python_tag_of(python);
}

Findings wheel_python(const Subject& subject, const Requirements& wheel) {
  const PythonFacts& python = subject.host.python;
  const std::string here = python_tag_of(python);
  const std::string fix = "build for the host's Python, or name another environment (--python)";
  if (!wheel.python_tag.empty() && !tag_fits(wheel.python_tag, python)) {
    return {with_ways(finding(Severity::fail,
                              fmt::format("the wheel is for {}, and this host's Python {} is {}",
                                          wheel.python_tag, python.version, here),
                              fix),
                      {{"python-wheel", here}})};
  }
  const std::optional<bool> fits = version_fits(wheel.requires_python, python.version);
  if (!fits) {
    return {finding(Severity::unknown,
                    fmt::format("whether Python {} satisfies Requires-Python \"{}\" is not known",
                                python.version, clean_line(wheel.requires_python, 100)))};
  }
  if (!*fits) {
    return {finding(Severity::fail,
                    fmt::format("the wheel requires Python {}, and this host's is {}",
                                clean_line(wheel.requires_python, 100), python.version),
                    fix)};
  }
  for (const LibraryNeeds& library : wheel.libraries) {
    if (library_fits(library, python))
      continue;
    return {with_ways(finding(Severity::fail,
                              fmt::format("{} is for {}, and this host's Python {} is {}",
                                          library.path, library.python, python.version, here),
                              fix, label(library)),
                      {{"python-wheel", here}})};
  }
  return {finding(Severity::ok,
                  wheel.python_tag.empty()
                      ? fmt::format("it fits Python {}", python.version)
                      : fmt::format("{} fits Python {}", wheel.python_tag, python.version))};
}

}  // namespace

Findings machine_rule(const Subject& subject) {
  const HostFacts& host = subject.host;
  if (host.machine.empty())
    return {finding(Severity::unknown, "what processor family this host is of is not known")};
  const std::string fix = "build for " + host.machine + ", or " + leave_out(subject);
  for (const Requirements& wheel : subject.wheels) {
    for (const LibraryNeeds& library : wheel.libraries) {
      if (library.machine.empty() || library.machine == host.machine)
        continue;
      return {with_ways(finding(Severity::fail,
                                fmt::format("{} is for {}, and this host is {}", label(library),
                                            library.machine, host.machine),
                                fix, label(library)),
                        {{"machine-wheel", host.machine}})};
    }
    const std::vector<std::string> platforms = platforms_of(wheel);
    const bool fits = platforms.empty() ||
                      std::any_of(platforms.begin(), platforms.end(), [&](const auto& platform) {
                        return platform_fits(platform, host);
                      });
    if (!fits) {
      return {finding(Severity::fail,
                      fmt::format("the wheel is for {}, and this host is Linux on {}",
                                  join(platforms, ", "), host.machine),
                      fix)};
    }
  }
  return {finding(Severity::ok, host.machine)};
}

Findings python_rule(const Subject& subject) {
  if (subject.host.python.executable.empty()) {
    return {finding(Severity::unknown, "which Python the wheel would meet is not known")};
  }
  if (python_tag_of(subject.host.python).empty()) {
    return {finding(Severity::unknown, fmt::format("which version {} has is not known",
                                                   subject.host.python.executable))};
  }
  Findings found;
  for (const Requirements& wheel : subject.wheels) {
    for (Finding& one : wheel_python(subject, wheel))
      found.push_back(std::move(one));
  }
  return found;
}

Findings torch_rule(const Subject& subject) {
  return op_findings(subject, "torch");
}

}  // namespace ds
