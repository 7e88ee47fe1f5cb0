// SPDX-License-Identifier: Apache-2.0
//
// JUnit as Jenkins' schema junit-10 has it, which GitLab reads too. GitLab compares two runs by
// class and name of a case, so neither holds anything that changes.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/text.h"
#include "report/markup.h"
#include "report/summary.h"

namespace ds {
namespace {

enum class Result { passed, skipped, failed };

struct TestCase {
  std::string name, type;
  Result result = Result::passed;
  std::vector<std::string> said;  ///< the reason first
};

struct Suite {
  std::string host;
  double seconds = 0;
  std::vector<TestCase> cases;

  std::size_t number_of(Result result) const {
    return static_cast<std::size_t>(std::count_if(
        cases.begin(), cases.end(), [&](const TestCase& test) { return test.result == result; }));
  }
};

Result result_of(Severity severity) {
  return severity == Severity::fail      ? Result::failed
         : severity == Severity::unknown ? Result::skipped
                                         : Result::passed;
}

/// All that one rule says of one op is one case, which ends as its worst finding, the first one.
void add_findings(Suite& suite, const HostAudit& audit) {
  std::map<std::pair<std::string, std::string>, std::size_t> at;
  for (const Finding& finding : audit.findings) {
    const auto [place, fresh] = at.emplace(std::pair(finding.rule, finding.op), suite.cases.size());
    if (fresh) {
      suite.cases.push_back({finding.rule + (finding.op.empty() ? "" : ": " + finding.op),
                             finding.rule,
                             result_of(finding.severity),
                             {}});
    }
    TestCase& test = suite.cases[place->second];
    const std::string said = finding.because + (finding.fix.empty() ? "" : "; " + finding.fix);
    test.said.push_back(test.said.empty() && finding.severity != Severity::warn
                            ? said
                            : to_string(finding.severity) + ": " + said);
  }
}

void add_self_tests(Suite& suite, const HostOutcome& host) {
  for (const std::string& line : host.self_tests) {
    const std::size_t colon = line.find(": ");
    const std::string said = colon == std::string::npos ? "" : line.substr(colon + 2);
    const Result result = said.starts_with("passed")   ? Result::passed
                          : said.starts_with("failed") ? Result::failed
                                                       : Result::skipped;
    suite.cases.push_back({"self-test: " + line.substr(0, colon), "self-test", result, {said}});
  }
}

Suite suite_of(const HostOutcome& host, const HostAudit* audit, const Report& report) {
  Suite suite{host.host, total(host.seconds), {}};
  FoldedOutcome outcome;
  outcome.state = host.state;
  outcome.step = host.step;
  outcome.message = host.message;
  outcome.left_out = host.left_out;
  const Result result = is_goal(host.state, report) ? Result::passed
                        : host.left_out             ? Result::skipped
                                                    : Result::failed;
  suite.cases.push_back({report.dry_run ? "can be deployed to" : "is deployed to",
                         to_string(host.state),
                         result,
                         {outcome.line()}});
  if (audit != nullptr)
    add_findings(suite, *audit);
  add_self_tests(suite, host);
  std::stable_sort(
      suite.cases.begin() + 1, suite.cases.end(),
      [](const TestCase& left, const TestCase& right) { return left.name < right.name; });
  return suite;
}

/// Jenkins takes what stands before the last dot for a package.
std::string class_name(const std::string& host) {
  std::string name = host;
  std::replace(name.begin(), name.end(), '.', '_');
  return "ds-deploy." + name;
}

std::string case_xml(const TestCase& test, const std::string& host) {
  std::string xml = fmt::format("    <testcase classname=\"{}\" name=\"{}\" time=\"0\"",
                                markup_text(class_name(host)), markup_text(test.name));
  const std::string all = markup_text(join(test.said, "\n"));
  switch (test.result) {
    case Result::failed:
      return xml + fmt::format(
                       ">\n      <failure type=\"{}\" message=\"{}\">{}</failure>\n"
                       "    </testcase>\n",
                       markup_text(test.type), markup_text(test.said.front()), all);
    case Result::skipped:
      return xml + fmt::format(">\n      <skipped type=\"{}\" message=\"{}\"/>\n    </testcase>\n",
                               markup_text(test.type), markup_text(test.said.front()));
    case Result::passed:
      break;
  }
  return xml + fmt::format(">\n      <system-out>{}</system-out>\n    </testcase>\n", all);
}

/// "20261123-214501-4711" as the time that it holds, for ISO 8601; empty for another name.
std::string time_of(const std::string& run) {
  const bool timed = run.size() > 15 && run[8] == '-' && run.find_first_not_of("0123456789") == 8 &&
                     run.find_first_not_of("0123456789", 9) == 15;
  if (!timed)
    return {};
  return fmt::format("{}-{}-{}T{}:{}:{}", run.substr(0, 4), run.substr(4, 2), run.substr(6, 2),
                     run.substr(9, 2), run.substr(11, 2), run.substr(13, 2));
}

std::string suite_xml(const Suite& suite, std::size_t id, const Report& report) {
  const std::string name = markup_text(suite.host);
  const std::string time = time_of(report.run);
  std::string xml = fmt::format(
      "  <testsuite id=\"{}\" name=\"{}\" hostname=\"{}\" tests=\"{}\" failures=\"{}\" "
      "errors=\"0\" "
      "skipped=\"{}\" time=\"{:.3f}\"{}>\n",
      id, name, name, suite.cases.size(), suite.number_of(Result::failed),
      suite.number_of(Result::skipped), suite.seconds,
      time.empty() ? "" : " timestamp=\"" + time + "\"");
  for (const TestCase& test : suite.cases)
    xml += case_xml(test, suite.host);
  return xml + "  </testsuite>\n";
}

}  // namespace

std::string report_junit(const Report& report) {
  const auto audits = audits_by_host(report);
  std::string suites;
  std::size_t tests = 0, failures = 0;
  for (std::size_t id = 0; id < report.hosts.size(); ++id) {
    const HostOutcome& host = report.hosts[id];
    const auto audit = audits.find(host.host);
    const Suite suite = suite_of(host, audit == audits.end() ? nullptr : audit->second, report);
    tests += suite.cases.size();
    failures += suite.number_of(Result::failed);
    suites += suite_xml(suite, id, report);
  }
  return fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"{}\" tests=\"{}\" "
      "failures=\"{}\" errors=\"0\" time=\"{:.3f}\">\n{}</testsuites>\n",
      markup_text("ds-deploy " + report.command), tests, failures, total(report.seconds), suites);
}

}  // namespace ds
