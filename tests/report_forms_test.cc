// SPDX-License-Identifier: Apache-2.0
//
// The forms of the report beside its text: the matrix, JUnit, GitHub, the page.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "base/sha256.h"
#include "report/markup.h"
#include "report/summary.h"
#include "rollout/rollout.h"
#include "support/audit_fixture.h"

using namespace ds;

namespace {

/// A dry run over hosts that the real audit judges.
struct Fleets : AuditCase {
  Fleets() { fleet.hosts.clear(); }

  HostFacts& add(const std::string& name) {
    fleet.hosts.push_back(good_host(name));
    return fleet.hosts.back();
  }
  void add_v100(const std::string& name) {
    HostFacts& host = add(name);
    host.gpus = {gpu("7.0", "V100")};
    host.gpus_on_bus = 1;
  }
  void add_away(const std::string& name) {
    add(name).state = HostFacts::State::unreachable;
    fleet.hosts.back().problem = "no answer in 15 s";
  }

  Report report() const {
    Report report;
    report.run = "20261123-214501-4711";
    report.command = "audit";
    report.environment = "/opt/venv/bin/python";
    report.dry_run = true;
    report.audit = audit(wheels, fleet, options);
    report.hosts = predict(fleet, report.audit, {}).hosts;
    report.wheels = {{"/d/w.whl", std::string(64, 'a'), 1000, {{"fused_adam", {"80"}}}, {}}};
    return report;
  }
};

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::size_t number_of(const std::string& text, const std::string& part) {
  std::size_t number = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1))
    ++number;
  return number;
}

nlohmann::json page_data(const std::string& page) {
  const std::string open = R"(<script id="data" type="application/json">)";
  const std::size_t begin = page.find(open) + open.size();
  return nlohmann::json::parse(page.substr(begin, page.find("</script>", begin) - begin));
}

}  // namespace

TEST_CASE("report: racks of equal nodes are one name, addresses stay") {
  std::vector<std::string> racks;
  for (int node = 0; node < 4000; ++node)
    racks.push_back(fmt::format("rack{}-node{:02}", node / 16 + 1, node % 16 + 1));
  const auto begin = std::chrono::steady_clock::now();
  CHECK(fold_hosts(racks) == "rack[1-250]-node[01-16]");
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(1));
  racks.pop_back();
  CHECK(fold_hosts(racks) == "rack[1-249]-node[01-16],rack250-node[01-15]");
  CHECK(fold_hosts({"n1.r1.x", "n2.r1.x", "n3.r2.x"}) == "n[1-2].r1.x,n3.r2.x");
  CHECK(fold_hosts({"fe80::1", "fe80::2", "10.0.0.1", "cafe01", "cafe02"}) ==
        "fe80::1,fe80::2,10.0.0.1,cafe[01-02]");
  CHECK(fold_hosts({"n12345678901", "n12345678902"}) == "n12345678901,n12345678902");
  CHECK(fold_hosts({"a1", "a1"}) == "a1");
}

TEST_CASE("report: a long list of names is cut between two of them") {
  std::vector<std::string> odd;
  for (int node = 1; node < 100; node += 2)
    odd.push_back(fmt::format("node{:02}", node));
  CHECK(fold_hosts(odd, 20) == "node[01,03,05,...]");
  CHECK(fold_hosts({"alpha", "beta", "gamma"}, 15) == "alpha,beta,...");
  CHECK(fold_hosts({"alpha", "beta", "gamma"}, 16) == "alpha,beta,gamma");
}

TEST_CASE(
    "report: the matrix has a row for each result, columns that are good everywhere are words") {
  Fleets fleet;
  for (const char* name : {"node1", "node2", "node3"})
    fleet.add(name);
  fleet.add_v100("node4");
  fleet.add_v100("node5");
  fleet.add_away("node6");
  fleet.add("node7").glibc = "";
  CHECK(grid_text(fleet.report(), false) == R"(matrix
                              gpu-image
                              | reachable
                              | | glibc
                              | | | uniformity
  node6          unreachable  - F - -
  node[4-5] (2)  refused      F . . w
  node7          ready        . . ? .
  node[1-3] (3)  ready        . . . .
  F fail   ? unknown   w warn   . ok   - not asked
  ok wherever it was asked: activation, clock, cpu-level, disk, driver, environment,
    externally-managed, gpu, gpu-busy, gpu-health, gpu-mode, jit, libstdc++, lock, machine,
    needed-libraries, noexec, python, same-machine, shared-environment, shared-memory,
    write-permission
)");
}

TEST_CASE("report: hosts that fail alike are one line, though each fix names its host") {
  Fleets fleet;
  for (int node = 1; node <= 4; ++node)
    fleet.add_v100(fmt::format("node{}", node));
  const std::string text = report_text(fleet.report(), false);
  CHECK(number_of(text, "has no code for sm_70") == 2);
  CHECK(has(text, "  node[1-4] (4)  fail gpu-image: "));
  CHECK(has(text, ", or leave these hosts out: --exclude node1@node2@node3@node4\n"));
  CHECK(has(text, "  node[1-4] (4)  refused at audit: "));
}

TEST_CASE("report: what differs on every host does not bury the rest") {
  Fleets fleet;
  for (int node = 1; node <= 100; ++node)
    fleet.add_away(fmt::format("node{:03}", node));
  Report report = fleet.report();
  for (std::size_t at = 0; at < report.hosts.size(); ++at)
    report.hosts[at].message = fmt::format("no route, try {:03}", at);
  const std::string text = report_text(report, false);
  CHECK(has(text, "  node008  unreachable at connect: no route, try 007\n"));
  CHECK(has(text, "  node[009-100] (92)  unreachable: 92 more, which --verbose shows\n"));
  CHECK(number_of(report_text(report, true), "no route, try") == 100);
}

TEST_CASE("report: JUnit has a suite for each host and tells warnings from what was not learnt") {
  Fleets fleet;
  fleet.add("node1.example").glibc = "";
  fleet.add_v100("node2");
  Report report = fleet.report();
  report.hosts[0].self_tests = {"cpu_adam: passed", "fused_adam: cannot run here: no GPU"};
  const std::string xml = report_junit(report);
  CHECK(xml.starts_with(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"ds-deploy audit\""));
  CHECK(has(xml, "name=\"node1.example\" hostname=\"node1.example\""));
  CHECK(has(xml, "timestamp=\"2026-11-23T21:45:01\""));
  CHECK(has(xml, "classname=\"ds-deploy.node1_example\" name=\"glibc\""));
  CHECK(has(xml, "<skipped type=\"glibc\" message=\""));
  CHECK(has(xml, "name=\"gpu-image: fused_adam\""));
  CHECK(has(xml, "<failure type=\"gpu-image\" message=\""));
  CHECK(has(xml, "<failure type=\"refused\" message=\"refused at audit: "));
  CHECK(has(xml, "<skipped type=\"self-test\" message=\"cannot run here: no GPU\"/>"));
}

TEST_CASE("report: hostile text is harmless in every form") {
  const std::string hostile =
      "\x1b[2J]]></script><!-- @DATA@ & \"'<img src=x onerror=alert(1)> \xE2\x80\xA8 \xEF\xBF\xBF "
      "\xff "
      "| [a](javascript:b) `c` %0A ::error::d";
  CHECK(markup_text(hostile).find_first_of("<>\"'@\x1b") == std::string::npos);
  CHECK(has(markup_text(hostile),
            "\\x1b[2J]]&gt;&lt;/script&gt;&lt;!-- &#64;DATA&#64; &amp; &quot;&#39;"));
  CHECK_FALSE(has(markup_text(hostile), "\xEF\xBF\xBF"));
  CHECK(has(markdown_text("<b>|`*_[x](y)"), "&lt;b\\>\\|\\`\\*\\_\\[x\\]\\(y\\)"));
  CHECK(command_data("100%\na:b,c") == "100%25%0Aa:b,c");
  CHECK(command_property("100%\na:b,c") == "100%25%0Aa%3Ab%2Cc");

  Fleets fleet;
  fleet.add_away("a");
  Report report = fleet.report();
  report.hosts[0].message = report.audit.hosts[0].findings[0].because = hostile;
  report.notes = {hostile};
  const std::string page = report_html(report);
  CHECK(number_of(page, "<script") == 2);
  CHECK(number_of(page, "</script>") == 2);
  CHECK_FALSE(has(page, "<img"));
  CHECK_FALSE(has(page, "<!--"));
  CHECK_FALSE(has(page, "\x1b"));
  const std::string said = page_data(page)["hosts"][0]["message"];
  CHECK(said.starts_with("\\x1b[2J]]></script><!-- @DATA@ &"));
  CHECK_FALSE(has(report_text(report, true), "\x1b"));
  CHECK_FALSE(has(report_markdown(report), "<img"));
}

TEST_CASE("report: commands for GitHub are the program's own, and few") {
  Fleets fleet;
  for (int node = 1; node <= 30; ++node) {
    fleet.add_away(fmt::format("node{}", node));
    fleet.fleet.hosts.back().problem = fmt::format("50% lost\n::error::by {}", node);
  }
  const std::string said = report_github(fleet.report(), false);
  const std::string stop = "::stop-commands::";
  REQUIRE(said.starts_with(stop));
  const std::string token = said.substr(stop.size(), 64);
  const std::size_t resumed = said.find("\n::" + token + "::\n");
  REQUIRE(resumed != std::string::npos);
  CHECK(number_of(said, token) == 2);
  const std::string commands = said.substr(resumed + 1 + 2 + 64 + 2);
  CHECK(number_of(commands, "\n::error title=ds-deploy") == 10);
  CHECK(number_of(commands, "\n::error::") == 0);
  CHECK(has(commands, "50%25 lost"));
  CHECK(has(commands, " more in the log and in the summary\n"));
}

TEST_CASE("report: the page allows its own script and style alone") {
  Fleets fleet;
  fleet.add("node1");
  fleet.add_v100("node2");
  const std::string page = report_html(fleet.report());
  const std::size_t begin = page.rfind("<script>") + 8;
  const std::string script = page.substr(begin, page.rfind("</script>") - begin);
  std::string hash = base64url(sha256(script));
  for (char& c : hash)
    c = c == '-' ? '+' : c == '_' ? '/' : c;
  CHECK(has(page, "default-src 'none'; script-src 'sha256-" + hash + "='"));
  CHECK(has(page, "<h1>ds-deploy audit: 1 of 2 hosts is not ready</h1>"));
  CHECK_FALSE(has(script, "innerHTML"));
  const nlohmann::json data = page_data(page);
  CHECK(data["exit"] == 3);
  CHECK(data["states"][0]["state"] == "refused");
  CHECK(data["grids"]["ops"]["columns"][0] == "fused_adam");
  CHECK(data["grids"]["rules"]["rows"][0]["members"] == nlohmann::json({1}));
}
