// SPDX-License-Identifier: Apache-2.0
//
// The Python packages that a wheel requires, against those of the host's environment.
#include <fmt/format.h>

#include <algorithm>

#include "audit/rule.h"
#include "base/text.h"
#include "packaging/packaging.h"

namespace ds {
namespace {

MarkerValues marker_values(const HostFacts& host) {
  const PythonFacts& python = host.python;
  MarkerValues values = {
      {"os_name", "posix"}, {"sys_platform", "linux"}, {"platform_system", "Linux"}, {"extra", ""}};
  const auto tell = [&values](const char* name, const std::string& value) {
    if (!value.empty())
      values[name] = value;
  };
  if (python.version.find('.') != std::string::npos)
    tell("python_version", major_minor(python.version));
  tell("python_full_version", python.version);
  tell("platform_machine", host.machine);
  tell("platform_release", host.kernel);
  if (python.soabi.starts_with("cpython")) {
    tell("implementation_name", "cpython");
    tell("implementation_version", python.version);
    tell("platform_python_implementation", "CPython");
  }
  return values;
}

/// What is there of a package once the wheels are: a wheel that comes along counts, and a torch
/// that no installer knows of.
std::optional<std::string> version_of(const std::string& package, const Subject& subject) {
  for (const Requirements& wheel : subject.wheels) {
    if (package_name(wheel.name) == package)
      return wheel.version;
  }
  std::optional<std::string> version = subject.host.distributions->find(package);
  if (!version && package == "torch" && !subject.host.torch.version.empty())
    version = subject.host.torch.version;
  return version;
}

/// What one wheel lacks on one host.
struct Lacking {
  std::vector<std::string> packages;  ///< as pip takes them: "pydantic>=2.0.0"
  std::vector<std::string> said;      ///< "pydantic>=2.0.0 (1.10.2 is installed)"
  bool torch = false;                 ///< among them, and never installed by us
  std::vector<std::string> unclear;   ///< requirements that cannot be judged, as they stand there
  std::size_t met = 0;
};

/// The rule torch holds ops that link it against the very torch that they were built with.
bool is_judged_as_torch(const std::string& package, const Requirements& wheel) {
  return package == "torch" &&
         std::any_of(wheel.libraries.begin(), wheel.libraries.end(),
                     [](const LibraryNeeds& library) { return library.links_torch; });
}

void look_at(const std::string& text, const Requirements& wheel, const MarkerValues& values,
             const Subject& subject, Lacking& lacking) {
  const std::optional<PackageRequirement> needed = parse_requirement(text);
  if (!needed) {
    lacking.unclear.push_back(text);
    return;
  }
  const std::optional<bool> applies =
      needed->marker.empty() ? true : marker_holds(needed->marker, values);
  if (applies == false || is_judged_as_torch(needed->name, wheel))
    return;
  const std::optional<std::string> version = version_of(needed->name, subject);
  const std::optional<bool> fits =
      version ? version_fits(needed->specifiers, *version) : std::optional<bool>(false);
  if (fits == true) {
    ++lacking.met;
  } else if (!applies || !fits) {
    lacking.unclear.push_back(text);
  } else {
    const std::string plain = needed->text();
    lacking.packages.push_back(plain);
    lacking.said.push_back(version ? fmt::format("{} ({} is installed)", plain, *version) : plain);
    lacking.torch |= needed->name == "torch";
  }
}

std::string pip_command(const Subject& subject, const std::vector<std::string>& packages) {
  std::string command = shell_path(subject.host.python.executable) + " -m pip install";
  for (const std::string& package : packages)
    command += " " + shell_quote(package);
  return command;
}

Finding missing(const Subject& subject, const Requirements& wheel, const Lacking& lacking) {
  const AuditOptions& options = subject.options;
  const std::string because = fmt::format("{} requires {}, which this environment lacks",
                                          wheel.name, join(lacking.said, ", "));
  if (lacking.torch) {
    return finding(Severity::fail, because,
                   "install the torch that is meant for this host: that is never left to a wheel's "
                   "requirements; or " +
                       leave_out(subject));
  }
  if (options.with_requirements && subject.host.python.pip.empty()) {
    return finding(Severity::fail, because + ", and there is no pip to install it with",
                   fmt::format("run {} -m ensurepip there, or install it by other means",
                               shell_path(subject.host.python.executable)));
  }
  if (options.with_requirements) {
    return finding(Severity::warn, because + "; its pip will install it before the wheel is active",
                   "nothing, if that is meant; it is not taken back with the wheel");
  }
  return finding(Severity::fail, because,
                 fmt::format("add --with-requirements, or run there: {}; or {}",
                             pip_command(subject, lacking.packages), leave_out(subject)));
}

Lacking lacking_of(const Subject& subject, const Requirements& wheel) {
  const MarkerValues values = marker_values(subject.host);
  Lacking lacking;
  for (const std::string& text : wheel.requires_dist)
    look_at(text, wheel, values, subject, lacking);
  return lacking;
}

Findings requirements_of(const Subject& subject, const Requirements& wheel) {
  const Lacking lacking = lacking_of(subject, wheel);
  Findings found;
  if (!lacking.packages.empty())
    found.push_back(missing(subject, wheel, lacking));
  if (!lacking.unclear.empty()) {
    found.push_back(finding(Severity::unknown,
                            fmt::format("whether this environment has what {} requires is not "
                                        "known: {}",
                                        wheel.name, join(lacking.unclear, ", ")),
                            "look with python -m pip check once it is deployed"));
  }
  if (found.empty() && lacking.met > 0) {
    found.push_back(
        finding(Severity::ok,
                fmt::format("{} of {} installed", count(lacking.met, "requirement"), wheel.name)));
  }
  return found;
}

}  // namespace

Findings requirements_rule(const Subject& subject) {
  Findings found;
  for (const Requirements& wheel : subject.wheels) {
    if (wheel.requires_dist.empty())
      continue;
    if (!subject.host.distributions) {
      found.push_back(finding(
          Severity::unknown,
          fmt::format("whether this environment has what {} requires is not known", wheel.name),
          "ask the host anew, where these are saved facts of an older ds-deploy"));
      continue;
    }
    for (Finding& one : requirements_of(subject, wheel))
      found.push_back(std::move(one));
  }
  return found;
}

std::vector<std::string> packages_to_install(const Subject& subject) {
  std::vector<std::string> packages;
  if (!subject.options.with_requirements || !subject.host.distributions)
    return packages;
  for (const Requirements& wheel : subject.wheels) {
    for (const std::string& package : lacking_of(subject, wheel).packages) {
      if (std::find(packages.begin(), packages.end(), package) == packages.end())
        packages.push_back(package);
    }
  }
  return packages;
}

}  // namespace ds
