// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <initializer_list>
#include <string>
#include <utility>

#include "audit/audit.h"
#include "support/audit_fixture.h"

using namespace ds;

namespace {

using enum Severity;
using Texts = std::vector<std::string>;

/// The good host with pip and packages, and a wheel that requires some.
struct PackagesCase : AuditCase {
  explicit PackagesCase(Texts requires_dist) {
    wheel().name = "deepspeed";
    wheel().version = "0.19.6+g1";
    wheel().requires_dist = std::move(requires_dist);
    host().python.pip = "23.2.1";
    holds(
        {{"torch", "2.6.0+cu124"}, {"pydantic", "1.10.2"}, {"numpy", "2.1.0"}, {"pip", "23.2.1"}});
  }
  void holds(std::initializer_list<std::pair<const char*, const char*>> packages) {
    host().distributions.emplace();
    for (const auto& [name, version] : packages)
      host().distributions->add(name, version);
  }
  Finding said() const { return worst("requirements"); }
};

}  // namespace

TEST_CASE("audit: requirements that are met are counted, others do not apply") {
  PackagesCase good({"numpy", "torch>=2.0.0", "Pydantic<2", "tabulate; extra == 'autotuning'",
                     "tomli; python_version < '3.11'", "pywin32; sys_platform == 'win32'"});
  CHECK(good.said().severity == ok);
  CHECK(good.said().because == "3 requirements of deepspeed installed");
  CHECK(good.run().to_install.empty());

  PackagesCase none({});
  CHECK(none.findings("requirements").empty());
}

TEST_CASE("audit: a requirement that is missing refuses the host and tells how to get it") {
  PackagesCase lacks({"hjson", "numpy", "pydantic>=2.0.0", "ninja[x]>=1; python_version > '3'"});
  const Finding found = lacks.said();
  CHECK(found.severity == fail);
  CHECK(found.because ==
        "deepspeed requires hjson, pydantic>=2.0.0 (1.10.2 is installed), ninja[x]>=1, which this "
        "environment lacks");
  CHECK(found.fix ==
        "add --with-requirements, or run there: /opt/venv/bin/python -m pip install hjson "
        "'pydantic>=2.0.0' 'ninja[x]>=1'; or leave the host out: --exclude node1");
  CHECK(lacks.run().verdict == Verdict::refused);
  CHECK(lacks.run().to_install.empty());
}

TEST_CASE("audit: what pip will install is a warning, and the list for it") {
  PackagesCase lacks({"hjson", "numpy", "pydantic>=2.0.0"});
  lacks.options.with_requirements = true;
  CHECK(lacks.said().severity == warn);
  CHECK(lacks.said().because.find("will install it") != std::string::npos);
  CHECK(lacks.run().verdict == Verdict::ready);
  CHECK(lacks.run().to_install == Texts{"hjson", "pydantic>=2.0.0"});

  lacks.host().python.pip.clear();
  CHECK(lacks.said().severity == fail);
  CHECK(lacks.said().fix.find("ensurepip") != std::string::npos);
}

TEST_CASE("audit: torch is judged by its own rule where ops link it, and is never installed") {
  PackagesCase other({"torch>=2.7", "numpy"});
  other.options.with_requirements = true;
  CHECK(other.said().severity == fail);
  CHECK(other.said().fix.find("never left to") != std::string::npos);

  other.cpu().links_torch = true;
  CHECK(other.said().because == "1 requirement of deepspeed installed");

  PackagesCase unlisted({"torch>=2.0"});
  unlisted.holds({{"numpy", "2.1.0"}});
  CHECK(unlisted.said().severity == ok);
  unlisted.host().torch = {};
  CHECK(unlisted.said().severity == fail);
}

TEST_CASE("audit: what cannot be judged is unknown") {
  PackagesCase old_facts({"numpy"});
  old_facts.host().distributions.reset();
  CHECK(old_facts.said().severity == unknown);
  CHECK(old_facts.said().because.find("deepspeed requires is not known") != std::string::npos);

  PackagesCase unclear({"numpy", "odd >< 1", "x; platform_version == '1'"});
  CHECK(unclear.said().severity == unknown);
  CHECK(unclear.said().because.ends_with("not known: odd >< 1, x; platform_version == '1'"));
  unclear.options.strict = true;
  CHECK(unclear.run().verdict == Verdict::refused);

  PackagesCase odd_version({"numpy>1"});
  odd_version.holds({{"numpy", "unknown"}});
  CHECK(odd_version.said().severity == unknown);
}

TEST_CASE("audit: a wheel that comes along meets the requirement of another") {
  PackagesCase both({"hjson>=3"});
  Requirements hjson = AuditCase::good_wheel();
  hjson.name = "HJson";
  hjson.version = "3.1";
  both.wheels.push_back(hjson);
  CHECK(both.said().severity == ok);
  both.wheels.back().version = "2.9";
  CHECK(both.said().severity == fail);
}
