// SPDX-License-Identifier: Apache-2.0
//
// Every rule where all is well, where something is wrong, and where its fact is missing. What it
// says then stands in data/audit-rules.txt; ACCEPT=1 writes that file anew.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "support/audit_fixture.h"

using namespace ds;

namespace {

using Change = std::function<void(AuditCase&)>;

struct Rule {
  const char* id;
  Change well, wrong, missing;
  const char* always_known = nullptr;  ///< why there is no third case
  const char* silent = nullptr;        ///< why it says nothing in the first
};

void as_it_is(AuditCase&) {}

Change host(const std::function<void(HostFacts&)>& change) {
  return [change](AuditCase& c) { change(c.host()); };
}

void two_hosts(AuditCase& c) {
  c.fleet.hosts.push_back(AuditCase::good_host("node2"));
}

/// An op that takes a symbol from PyTorch, on a host whose libraries give `symbol`.
Change symbols(const std::string& symbol) {
  return [symbol](AuditCase& c) {
    static std::map<std::string, RuntimeExports> given;
    RuntimeExports& exports = given[symbol];
    exports.try_emplace("aa01", "libc.so.6\nPyErr_Clear\n");
    exports.try_emplace("aa02", "libc.so.6\n" + symbol + "\n");
    c.host().runtime = {{"python", "aa01"}, {"libtorch.so", "aa02"}};
    c.cpu().links_torch = true;
    c.cpu().needed = {"libtorch.so"};
    c.cpu().outside = {"_ZN2at5emptyEv"};
    c.options.exports = &exports;
  };
}

Change torch_op(const std::function<void(AuditCase&)>& change) {
  return [change](AuditCase& c) {
    c.cpu().links_torch = true;
    c.cpu().torch = "2.6.0+cu124";
    c.cpu().cxx_strings = "cxx11";
    c.host().torch.cxx11_abi = true;
    c.wheel().deepspeed = InstallRecord{"0.19.8", "cuda", "2.6", "12.4", {"cpu_adam"}};
    change(c);
  };
}

Change packages(const std::function<void(AuditCase&)>& change) {
  return [change](AuditCase& c) {
    c.wheel().name = "deepspeed";
    c.wheel().requires_dist = {"hjson>=3"};
    c.host().distributions.emplace();
    c.host().distributions->add("hjson", "3.1.0");
    change(c);
  };
}

Change installed(std::optional<std::vector<CheckedRelease>> checked) {
  return [checked](AuditCase& c) {
    c.options.installed = true;
    c.host().installed.checked = checked;
    c.host().installed.hook = true;
  };
}

Change code(std::vector<InstructionSet> sets, bool known = true) {
  return [sets, known](AuditCase& c) {
    c.cpu().instructions = Instructions{true, sets};
    c.host().cpu_flags =
        known ? std::vector<std::string>{"avx", "avx2"} : std::vector<std::string>();
  };
}

Change slots(int number) {
  return [number](AuditCase& c) { c.options.slots["node1"] = number; };
}

Change minimum(const std::string& capability, const std::string& has = "8.0") {
  return [=](AuditCase& c) {
    c.cuda().minimum_capability = capability;
    for (Gpu& gpu : c.host().gpus)
      gpu.compute_capability = has;
  };
}

Change modules(std::optional<std::map<std::string, std::string>> earlier) {
  return [earlier](AuditCase& c) {
    c.wheel().files = {{"ds_ops/__init__.py", ""}};
    c.host().earlier_modules = earlier;
  };
}

Change login(std::optional<std::vector<std::string>> differs) {
  return host([differs](HostFacts& h) { h.login = {true, differs}; });
}

std::vector<Rule> every_rule() {
  return {
      {"reachable", as_it_is, host([](HostFacts& h) {
         h.state = HostFacts::State::unreachable;
         h.problem = "no route to host";
       }),
       nullptr, "a host that does not answer is the finding"},
      {"environment", as_it_is, host([](HostFacts& h) { h.python.executable.clear(); }),
       [](AuditCase& c) {
         c.options.needs_environment = false;
         c.host().python.executable = c.host().python.asked = "";
       }},
      {"env-script", as_it_is,
       host([](HostFacts& h) { h.env_script_problem = "env-script /opt/env.sh: not found"; }),
       nullptr, "a script that cannot be tried is the finding", "a script is not the rule"},
      {"externally-managed", as_it_is,
       host([](HostFacts& h) { h.python.externally_managed = true; }), nullptr,
       "an interpreter that answers tells; of none the rule environment tells"},
      {"installed", installed(std::vector<CheckedRelease>{{std::string(64, 'a'), "x.whl", ""}}),
       installed(std::vector<CheckedRelease>{
           {std::string(64, 'a'), "x.whl", "ds_ops/__init__.py was changed"}}),
       installed(std::nullopt)},
      {"activation", as_it_is, host([](HostFacts& h) {
         h.installed.activations.trial = {.id = "20261124-010203-99.1",
                                          .releases = {std::string(64, 'b')},
                                          .previous = {std::string(64, 'a')},
                                          .seconds_left = 17};
       }),
       host([](HostFacts& h) { h.installed.root.clear(); })},
      {"lock", as_it_is, host([](HostFacts& h) {
         h.installed.lock = {.run = "20261124-010203-99",
                             .who = "ada",
                             .from = "c1",
                             .since = "2026-11-24T01:02:03Z",
                             .holder = "runs"};
       }),
       host([](HostFacts& h) { h.installed.root.clear(); })},
      {"machine", as_it_is, host([](HostFacts& h) { h.machine = "aarch64"; }),
       host([](HostFacts& h) { h.machine.clear(); })},
      {"python", as_it_is, host([](HostFacts& h) { h.python.version = "3.7.9"; }),
       host([](HostFacts& h) { h.python.version.clear(); })},
      {"glibc", as_it_is, host([](HostFacts& h) { h.glibc = "2.28"; }),
       host([](HostFacts& h) { h.glibc.clear(); })},
      {"libstdc++", as_it_is, host([](HostFacts& h) { h.glibcxx = "3.4.25"; }),
       host([](HostFacts& h) { h.glibcxx = h.cxxabi = ""; })},
      {"cpu-level", [](AuditCase& c) { c.cpu().cpu_level = 3; },
       [](AuditCase& c) { c.cpu().cpu_level = 4; },
       [](AuditCase& c) {
         c.cpu().cpu_level = 3;
         c.host().cpu_level = 0;
       }},
      {"instructions", code({{"avx2", 3, 7, "scale+0x1c"}}),
       code({{"avx512f", 4, 7, "scale+0x1c"}}), code({{"avx2", 3, 7, "scale+0x1c"}}, false)},
      {"needed-libraries", as_it_is,
       [](AuditCase& c) { c.cpu().needed.emplace_back("libaio.so.1"); },
       [](AuditCase& c) {
         c.cpu().needed.emplace_back("libaio.so.1");
         c.host().libraries.clear();
       }},
      {"run-path", as_it_is, [](AuditCase& c) { c.cpu().runpath = "/home/ci/lib"; }, nullptr,
       "it is about the wheel alone", "most libraries have none"},
      {"symbols", symbols("_ZN2at5emptyEv"), symbols("_ZN2at4onesEv"),
       [](AuditCase& c) {
         symbols("_ZN2at5emptyEv")(c);
         c.options.exports = &AuditOptions::no_exports();
       }},
      {"torch", torch_op(as_it_is), torch_op([](AuditCase& c) { c.cpu().torch = "2.7.0+cu126"; }),
       torch_op(host([](HostFacts& h) { h.python.executable.clear(); }))},
      {"c++-abi", torch_op(as_it_is), torch_op([](AuditCase& c) { c.cpu().cxx_strings = "old"; }),
       torch_op(host([](HostFacts& h) { h.torch.cxx11_abi.reset(); }))},
      {"deepspeed-record", torch_op(as_it_is),
       torch_op([](AuditCase& c) { c.wheel().deepspeed->accelerator = "xpu"; }),
       torch_op(host([](HostFacts& h) { h.torch = {}; }))},
      {"requirements", packages(as_it_is),
       packages([](AuditCase& c) { c.wheel().requires_dist = {"hjson>=4"}; }),
       packages(host([](HostFacts& h) { h.distributions.reset(); }))},
      {"gpu", as_it_is, host([](HostFacts& h) {
         h.gpus.clear();
         h.driver.clear();
       }),
       host([](HostFacts& h) { h.gpus.clear(); })},
      {"minimum-capability", minimum("8.0"), minimum("9.0"), nullptr,
       "the rule gpu-image tells of a compute capability that is not known",
       "the rule gpu-image tells of the GPUs that the op is for"},
      {"gpu-image", as_it_is, minimum("", "7.0"), minimum("", "")},
      {"driver", as_it_is, host([](HostFacts& h) { h.driver = "470.82.01"; }),
       host([](HostFacts& h) { h.driver.clear(); })},
      {"gpu-health", as_it_is, host([](HostFacts& h) { h.gpus[1].remapping = "failed"; }),
       host([](HostFacts& h) {
         h.xids.reset();
         for (Gpu& gpu : h.gpus) {
           gpu.remapping.clear();
           gpu.processes.reset();
         }
       })},
      {"gpu-busy", as_it_is,
       host([](HostFacts& h) { h.gpus[0].processes = {{"python3 of train (4711)"}}; }),
       host([](HostFacts& h) { h.gpus[0].processes.reset(); })},
      {"gpu-mode", as_it_is, host([](HostFacts& h) { h.gpus[0].mig = "Enabled"; }),
       host([](HostFacts& h) { h.gpus[0].mig.clear(); })},
      {"slots", slots(2), slots(8), nullptr, "the rule gpu tells of GPUs that are not known"},
      {"uniformity", two_hosts,
       [](AuditCase& c) {
         two_hosts(c);
         c.host().torch.version = "2.7.0";
       },
       [](AuditCase& c) {
         two_hosts(c);
         c.host().gpus.clear();
         c.host().driver.clear();
         c.host().torch = {};
         c.host().python = {};
       }},
      {"shadowed", modules(std::map<std::string, std::string>{}),
       modules(std::map<std::string, std::string>{{"ds_ops", "/home/ops/src"}}),
       modules(std::nullopt)},
      {"login-shell", login(std::vector<std::string>{}),
       login(std::vector<std::string>{"LD_LIBRARY_PATH"}), login(std::nullopt)},
      {"jit", as_it_is, host([](HostFacts& h) { h.jit.locks = {"py311_cu124/cpu_adam"}; }),
       host([](HostFacts& h) { h.jit = {}; })},
      {"shared-memory", as_it_is, host([](HostFacts& h) {
         h.shared_memory = {64 << 20, 64 << 20};
       }),
       host([](HostFacts& h) {
         h.shared_memory = {-1, -1};
       })},
      {"clock", as_it_is, host([](HostFacts& h) { h.clock_ahead = -900; }),
       host([](HostFacts& h) { h.clock_ahead.reset(); })},
      {"disk", as_it_is, host([](HostFacts& h) { h.disk.free_bytes = 1'000'000; }),
       host([](HostFacts& h) { h.disk.free_bytes = -1; })},
      {"noexec", as_it_is, host([](HostFacts& h) { h.disk.noexec = true; }),
       host([](HostFacts& h) { h.disk.noexec.reset(); })},
      {"shared-environment", as_it_is,
       [](AuditCase& c) {
         two_hosts(c);
         for (HostFacts& h : c.fleet.hosts) {
           h.disk.filesystem = "nfs4";
           h.disk.source = "nas:/envs";
         }
         c.host(1).python.prefix = "/mnt/venv";
       },
       host([](HostFacts& h) { h.disk.filesystem.clear(); })},
      {"write-permission", as_it_is, host([](HostFacts& h) { h.installed.root_writable = false; }),
       host([](HostFacts& h) { h.installed.root.clear(); })},
      {"same-machine", two_hosts,
       [](AuditCase& c) {
         HostFacts same = c.host();
         same.host = "node0";
         c.fleet.hosts.insert(c.fleet.hosts.begin(), same);
       },
       [](AuditCase& c) {
         two_hosts(c);
         c.host().machine_id.clear();
         c.host().boot_id.clear();
       }},
  };
}

/// All that the rule says of node1, worst first.
std::vector<Finding> said(const Rule& rule, const Change& change) {
  AuditCase audited;
  change(audited);
  for (std::size_t at = 0; at < audited.fleet.hosts.size(); ++at) {
    if (audited.host(at).host == "node1")
      return audited.findings(rule.id, at);
  }
  return {};
}

std::string text_of(const char* name, const std::vector<Finding>& findings) {
  std::string text;
  for (const Finding& found : findings) {
    text += fmt::format("  {:<9}{}: {}\n", name, to_string(found.severity), found.because);
    if (!found.fix.empty())
      text += fmt::format("           fix: {}\n", found.fix);
  }
  return text;
}

/// The ids in the table of the audit, as it tells them to whoever names another.
std::set<std::string> known_rules() {
  try {
    parse_ignored("there-is-no-such-rule-at-all");
  } catch (const UsageError& error) {
    std::set<std::string> names = {"reachable"};
    const std::string begin = "the rules are ";
    const std::string list = error.fix().substr(begin.size());
    for (const std::string& name : split(list, ','))
      names.emplace(trim(name));
    return names;
  }
  return {};
}

}  // namespace

TEST_CASE("audit: every rule where all is well, where not, and where nobody knows") {
  std::set<std::string> tried;
  std::string text;
  for (const Rule& rule : every_rule()) {
    CAPTURE(std::string(rule.id));
    tried.insert(rule.id);
    text += std::string(rule.id) + "\n";

    const std::vector<Finding> well = said(rule, rule.well);
    CHECK(well.empty() == (rule.silent != nullptr));
    for (const Finding& found : well)
      CHECK(to_string(found.severity) == "ok");
    text += rule.silent == nullptr ? text_of("well", well)
                                   : fmt::format("  well     says nothing: {}\n", rule.silent);

    const std::vector<Finding> wrong = said(rule, rule.wrong);
    REQUIRE_FALSE(wrong.empty());
    CHECK((wrong.front().severity == Severity::fail || wrong.front().severity == Severity::warn));
    CHECK_FALSE(wrong.front().fix.empty());
    text += text_of("wrong", wrong);

    if (rule.always_known != nullptr) {
      text += fmt::format("  missing  cannot be: {}\n", rule.always_known);
      continue;
    }
    const std::vector<Finding> missing = said(rule, rule.missing);
    REQUIRE_FALSE(missing.empty());
    CHECK(to_string(missing.front().severity) == "unknown");
    text += text_of("missing", missing);
  }
  CHECK(tried == known_rules());

  const std::filesystem::path golden = std::filesystem::path(DS_TESTS_DIR) / "data/audit-rules.txt";
  if (std::getenv("ACCEPT") != nullptr)
    write_file(golden, text);
  CHECK(text == read_file(golden));
}
