// SPDX-License-Identifier: Apache-2.0
//
// Does every symbol that a library takes from PyTorch and Python exist in those of the host: what
// the dynamic loader would look for, in the libraries where it would look, without loading any.
#include <cxxabi.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <set>

#include "audit/rule.h"
#include "base/text.h"

namespace ds {
namespace {

/// Names of PyTorch's C++ and C interfaces. A mangled name begins with _Z, for a table or a type's
/// name two letters more, then N, qualifiers, and the outermost namespace (Itanium C++ ABI).
bool is_of_torch(const std::string& symbol) {
  if (!symbol.starts_with("_Z"))
    return starts_with_any(symbol, {"THP", "aoti_torch_"});
  std::string_view name = std::string_view(symbol).substr(2);
  if (starts_with_any(name, {"TV", "TI", "TS", "TT", "GV"}))
    name.remove_prefix(2);
  if (!name.starts_with('N')) {
    name.remove_prefix(std::min(name.find_first_not_of("0123456789"), name.size()));
    return name.starts_with("THP");
  }
  name.remove_prefix(std::min(name.find_first_not_of("NKVRO"), name.size()));
  return starts_with_any(name, {"2at", "3c10", "5torch", "6caffe2"});
}

bool is_of_python(const std::string& symbol) {
  return symbol.starts_with("Py") || symbol.starts_with("_Py");
}

std::string readable(const std::string& symbol) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(
      abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, &status), &std::free);
  return clean_line(status == 0 && text ? text.get() : symbol, 160);
}

/// The libraries in which the loader looks for a symbol.
struct Scope {
  std::vector<const Exports*> exports;
  bool has_torch = true;    ///< all of PyTorch's that it reaches are known
  bool has_python = false;  ///< the interpreter's too
};

Scope scope_of(const LibraryNeeds& library, const HostFacts& host, const RuntimeExports& known) {
  Scope scope;
  std::set<std::string> seen;
  std::vector<std::string> open = library.needed;
  for (const auto& [name, build_id] : host.runtime) {
    if (name == "python" || name.starts_with("libpython"))
      open.push_back(name);
  }
  while (!open.empty()) {
    const std::string name = open.back();
    open.pop_back();
    if (!seen.insert(name).second)
      continue;
    const auto runtime = host.runtime.find(name);
    const auto found = runtime == host.runtime.end() ? known.end() : known.find(runtime->second);
    if (found == known.end()) {
      scope.has_torch &= !starts_with_any(name, {"libtorch", "libc10"});
      continue;
    }
    scope.has_python |= found->second.has("PyObject_GetAttr");
    scope.exports.push_back(&found->second);
    open.insert(open.end(), found->second.needed().begin(), found->second.needed().end());
  }
  return scope;
}

LookedUp look_up(const LibraryNeeds& library, const Scope& scope) {
  LookedUp all;
  for (const std::string& symbol : library.outside) {
    const bool torch = is_of_torch(symbol);
    // The rest is CUDA's and the driver's, whose libraries the rule needed-libraries looks for, or
    // that of an op which is loaded before.
    if (!torch && !is_of_python(symbol))
      continue;
    const bool there =
        std::any_of(scope.exports.begin(), scope.exports.end(),
                    [&symbol](const Exports* exports) { return exports->has(symbol); });
    if (there)
      ++all.there;
    else if (!(torch ? scope.has_torch : scope.has_python))
      all.unknown.push_back(symbol);
    else
      (torch ? all.of_torch : all.of_python).push_back(symbol);
  }
  return all;
}

/// Libraries that lack something, and all that they lack.
struct Lack {
  std::vector<std::string> libraries;
  std::set<std::string> symbols;

  void add(const std::string& library, const std::vector<std::string>& more) {
    if (!more.empty())
      libraries.push_back(library);
    symbols.insert(more.begin(), more.end());
  }
};

/// Another torch than it was built with has been told of, and lacks symbols as a matter of course.
bool is_told(const LibraryNeeds& library, const HostFacts& host) {
  const std::vector<OpVerdict> verdicts = judge(rules_of(library), host);
  return std::any_of(verdicts.begin(), verdicts.end(), [](const OpVerdict& verdict) {
    return verdict.rule == "torch" && verdict.severity == Severity::fail;
  });
}

/// "cpu_adam needs f(int), and 3 more"
std::string needs_text(const Lack& lack) {
  const std::size_t more = lack.symbols.size() - 1;
  return fmt::format("{} {} {}{}", join(lack.libraries, ", "),
                     lack.libraries.size() == 1 ? "needs" : "need", readable(*lack.symbols.begin()),
                     more == 0 ? "" : fmt::format(", and {} more", more));
}

Finding lacks_torch(const Subject& subject, const Lack& lack) {
  const std::string& version = subject.host.torch.version;
  return with_ways(
      finding(
          Severity::fail,
          fmt::format("{}, which torch {} of this host does not have", needs_text(lack), version),
          fmt::format("build with torch {}, install the torch that it was built with, or {}",
                      version, leave_out(subject)),
          lack.libraries.size() == 1 ? lack.libraries.front() : ""),
      {{"torch-wheel", version}});
}

Finding lacks_python(const Subject& subject, const Lack& lack) {
  const std::string& version = subject.host.python.version;
  return with_ways(finding(Severity::fail,
                           fmt::format("{}, which Python {} of this host does not have",
                                       needs_text(lack), version),
                           fmt::format("build for Python {}, or {}", version, leave_out(subject)),
                           lack.libraries.size() == 1 ? lack.libraries.front() : ""),
                   {{"python-wheel", "Python " + version}});
}

Finding not_known(const Lack& lack) {
  return finding(
      Severity::unknown,
      fmt::format("{} {} {} of PyTorch and Python, and what this host's have is not known",
                  join(lack.libraries, ", "), lack.libraries.size() == 1 ? "needs" : "need",
                  count(lack.symbols.size(), "symbol")),
      "audit it live once: the symbols of the hosts' libraries are asked for then, and kept");
}

}  // namespace

const LookedUp& SymbolLookup::find(const LibraryNeeds& library, const HostFacts& host) {
  auto& of_runtime = found_[host.runtime];
  const auto known = of_runtime.find(&library);
  if (known != of_runtime.end())
    return known->second;
  return of_runtime.emplace(&library, look_up(library, scope_of(library, host, exports_)))
      .first->second;
}

Findings symbols_rule(const Subject& subject) {
  std::size_t there = 0;
  Lack of_torch, of_python, unknown;
  for (const Requirements& wheel : subject.wheels) {
    for (const LibraryNeeds& library : wheel.libraries) {
      if (library.outside.empty() || is_told(library, subject.host))
        continue;
      const LookedUp& found = subject.symbols.find(library, subject.host);
      there += found.there;
      of_torch.add(label(library), found.of_torch);
      of_python.add(label(library), found.of_python);
      unknown.add(label(library), found.unknown);
    }
  }
  Findings found;
  if (!of_torch.symbols.empty())
    found.push_back(lacks_torch(subject, of_torch));
  if (!of_python.symbols.empty())
    found.push_back(lacks_python(subject, of_python));
  if (!unknown.symbols.empty())
    found.push_back(not_known(unknown));
  if (found.empty() && there > 0) {
    return {finding(Severity::ok, fmt::format("{} of PyTorch and Python that the ops need {} there",
                                              count(there, "symbol"), there == 1 ? "is" : "are"))};
  }
  return found;
}

}  // namespace ds
