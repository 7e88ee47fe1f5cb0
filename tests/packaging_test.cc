// SPDX-License-Identifier: Apache-2.0
#include "packaging/packaging.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/text.h"
#include "support/shell.h"

using namespace ds;

namespace {

std::string normal(const char* text) {
  const auto version = parse_version(text);
  return version ? version->text() : "none";
}

const MarkerValues linux_values = {{"python_version", "3.11"}, {"python_full_version", "3.11.2"},
                                   {"sys_platform", "linux"},  {"platform_machine", "x86_64"},
                                   {"os_name", "posix"},       {"extra", ""}};

}  // namespace

TEST_CASE("packaging: versions are normalised as PEP 440 says") {
  const std::pair<const char*, const char*> rows[] = {
      {"1.1RC1", "1.1rc1"},
      {"00!0900", "900"},
      {"1.1.a1", "1.1a1"},
      {"1.1-a.1", "1.1a1"},
      {"1.1alpha", "1.1a0"},
      {"1.1preview3", "1.1rc3"},
      {"1.2-post2", "1.2.post2"},
      {"1.0-1", "1.0.post1"},
      {"1.2.rev", "1.2.post0"},
      {"1.2-dev2", "1.2.dev2"},
      {"1.0+Ubuntu-1", "1.0+ubuntu.1"},
      {"v1.0", "1.0"},
      {" 1!2.0 \n", "1!2.0"},
      {"99999999999999999999999.1", "99999999999999999999999.1"},
      {"1.0.*", "none"},
      {"1.0_1", "none"},
      {"french toast", "none"},
      {"", "none"},
      {"1..0", "none"},
      {"1.0+", "none"},
      {"1.0+a+b", "none"}};
  for (const auto& [text, expected] : rows)
    CHECK(normal(text) == expected);
}

TEST_CASE("packaging: the order of PEP 440") {
  const char* ascending[] = {"1.dev0",
                             "1.0.dev456",
                             "1.0a1",
                             "1.0a2.dev456",
                             "1.0a12.dev456",
                             "1.0a12",
                             "1.0b1.dev456",
                             "1.0b2",
                             "1.0b2.post345.dev456",
                             "1.0b2.post345",
                             "1.0rc1.dev456",
                             "1.0rc1",
                             "1.0",
                             "1.0+abc.5",
                             "1.0+abc.7",
                             "1.0+5",
                             "1.0.post456.dev34",
                             "1.0.post456",
                             "1.0.15",
                             "1.1.dev1",
                             "1.10",
                             "99999999999999999999.0",
                             "1!0.1"};
  for (std::size_t i = 0; i < std::size(ascending); ++i) {
    for (std::size_t k = 0; k < std::size(ascending); ++k) {
      const auto order = compare(*parse_version(ascending[i]), *parse_version(ascending[k]));
      CAPTURE(std::string(ascending[i]) + " and " + ascending[k]);
      CHECK((order < 0) == (i < k));
      CHECK((order == 0) == (i == k));
    }
  }
  CHECK(compare(*parse_version("1.0"), *parse_version("1.0.0.0")) == 0);
}

TEST_CASE("packaging: specifiers") {
  struct Row {
    const char *specifiers, *version;
    std::optional<bool> fits;
  };
  const Row rows[] = {{"", "1.0", true},
                      {"~=2.2", "2.9", true},
                      {"~=2.2", "3.0", false},
                      {"~=2.2.post3", "2.2.post3", true},
                      {"~=2.2.post3", "2.2", false},
                      {"~=1.4.5a4", "1.4.9", true},
                      {"~=1.4.5.0", "1.4.6", false},
                      {"~=1", "1.5", std::nullopt},
                      {"==1.1", "1.1.post1", false},
                      {"==1.1.*", "1.1.post1", true},
                      {"==1.1.*", "1.1a1", true},
                      {"==1.1.0.*", "1.1", true},
                      {"!=1.1.*", "1.1.post1", false},
                      {"==1.0", "1.0+cu130", true},
                      {"==1.0+cu130", "1.0", false},
                      {"==1.0+CU-130", "1.0+cu.130", true},
                      {">=2.0.0", "2.11.0+cu130", true},
                      {">=2.0", "2.0rc1", false},
                      {">=2.0", "2.1rc1", true},
                      {"<3", "3.0rc1", false},
                      {"<3", "2.9", true},
                      {"<3.0rc2", "3.0rc1", true},
                      {">1.7", "1.7.0.post1", false},
                      {">1.7", "1.7.1", true},
                      {">1.7.post2", "1.7.post3", true},
                      {">1.7", "1.7+local", false},
                      {">1.7rc1", "1.7.post1", true},
                      {">1.7rc1", "1.7rc1.post1", false},
                      {"<1.7.post1", "1.7.dev1", true},
                      {"<1.7.post1", "1.7.post1.dev1", false},
                      {">=2,<3,!=2.5", "2.5", false},
                      {">= 2 , < 3", "2.4", true},
                      {"===1.0+Local", "1.0+local", true},
                      {"===not-a-version", "NOT-A-VERSION", true},
                      {"1.0", "1.0", std::nullopt},
                      {">=1.0+local", "1.0", std::nullopt},
                      {">=1.*", "1.0", std::nullopt},
                      {"=>1", "1.0", std::nullopt},
                      {">=1 0", "1.0", std::nullopt},
                      {">=1", "unknown", std::nullopt}};
  for (const Row& row : rows) {
    CAPTURE(std::string(row.specifiers) + " of " + row.version);
    CHECK(version_fits(row.specifiers, row.version) == row.fits);
  }
}

TEST_CASE("packaging: requirements of PEP 508") {
  const auto read = [](const char* text) {
    const auto requirement = parse_requirement(text);
    return requirement ? requirement->text() + ";" + requirement->marker : std::string("none");
  };
  CHECK(read("A") == "a;");
  CHECK(read("A.B-C_D") == "a-b-c-d;");
  CHECK(read("name<=1") == "name<=1;");
  CHECK(read("name>=3,<2") == "name>=3,<2;");
  CHECK(read("name (>=3, < 2)") == "name>=3,<2;");
  CHECK(read("name [fred,Bar_x] @ http://foo.com ; python_version=='2.7'") ==
        "name[fred,bar-x] @ http://foo.com;python_version=='2.7'");
  CHECK(read("name[quux, strange];python_version<'2.7' and platform_version=='2'") ==
        "name[quux,strange];python_version<'2.7' and platform_version=='2'");
  CHECK(read("name; os_name=='a' or os_name=='b'") == "name;os_name=='a' or os_name=='b'");
  CHECK(read("pip @ https://x/pip.zip#sha1=da9") == "pip @ https://x/pip.zip#sha1=da9;");
  for (const char* bad : {"", "-a", "a-", "a b", "a[", "a[x", "a[x;y]", "a>=", "a>=1,", "a;", "a;x",
                          "a; python_version", "a; python_version >", "a; (os_name=='a'",
                          "a; os_name=='a' os_name=='b'", "a; planet=='earth'", "a @", "a==1 0"})
    CHECK_MESSAGE(read(bad) == "none", bad);
  // As deep as the stack is what a stranger would like to see.
  CHECK_FALSE(parse_requirement("a; " + std::string(5000, '(') + "os_name=='a'"));
}

TEST_CASE("packaging: markers") {
  const std::pair<const char*, std::optional<bool>> rows[] = {
      {"python_version < '3.9'", false},
      {"python_version >= \"3.9\"", true},
      {"'3.9' <= python_version", true},
      {"python_full_version ~= '3.11.0'", true},
      {"python_version in '3.10,3.11'", true},
      {"python_version not in '3.10,3.11'", false},
      {"sys_platform == 'linux' and platform_machine != 'aarch64'", true},
      {"sys_platform == 'win32' or os_name == 'posix' and platform_machine == 'x86_64'", true},
      {"(sys_platform == 'win32' or os_name == 'posix') and platform_machine == 'arm64'", false},
      {"extra == 'dev'", false},
      {"extra == 'dev' or python_version > '3'", true},
      {"sys_platform > 'a'", std::nullopt},
      {"platform_release == '6.1'", std::nullopt},
      {"platform_release == '6.1' and extra == 'dev'", false},
      {"platform_release == '6.1' or os_name == 'posix'", true},
      {"no marker", std::nullopt}};
  for (const auto& [marker, holds] : rows) {
    CAPTURE(std::string(marker));
    CHECK(marker_holds(marker, linux_values) == holds);
  }
  CHECK(marker_holds("extra == 'Dev_x'", {{"extra", "dev-x"}}) == true);
}

namespace {

/// Versions that are near one another, so that their parts meet.
class Versions {
 public:
  explicit Versions(unsigned seed) : random_(seed) {}

  std::string version() { return with_suffix(release()); }
  /// A clause of an operator that allows what follows it.
  std::string clause() {
    const char* name = pick({"==", "!=", "<=", ">=", "<", ">", "~="});
    const std::string text = name;
    if (text == "~=")
      return text + release(2);
    const bool equality = text == "==" || text == "!=";
    return equality && roll(3) == 0 ? text + release() + ".*" : text + without_local(version());
  }

 private:
  unsigned roll(unsigned sides) { return static_cast<unsigned>(random_() % sides); }
  const char* pick(std::initializer_list<const char*> words) {
    return *(words.begin() + roll(static_cast<unsigned>(words.size())));
  }
  std::string release(unsigned least = 1) {
    std::string text = roll(8) == 0 ? "1!" : "";
    for (unsigned i = 0, pieces = least + roll(3); i < pieces; ++i)
      text += (i == 0 ? "" : ".") + std::to_string(i == 0 ? 1 + roll(2) : roll(3));
    return text;
  }
  std::string with_suffix(std::string text) {
    if (roll(3) == 0)
      text += pick({"a1", "b2", "rc1", "rc2"});
    if (roll(4) == 0)
      text += pick({".post1", ".post2", "-1"});
    if (roll(4) == 0)
      text += pick({".dev1", ".dev2"});
    if (roll(4) == 0)
      text += pick({"+cu130", "+5", "+cu130.1", "+abc"});
    return text;
  }
  static std::string without_local(const std::string& text) {
    return text.substr(0, text.find('+'));
  }

  std::minstd_rand random_;
};

/// Where releases of packaging differ: the old ones take neither "1.0rc1" for one of "1.0.0.*", nor
/// "1!1rc1" of "1!1.*", and not "1.0.post1" for newer than "1.0rc1".
bool is_disputed(const std::string& clause, const std::string& version) {
  if ((clause.front() == '<' || clause.front() == '>') && clause[1] != '=')
    return clause.find_first_not_of("<>0123456789.!") != std::string::npos;
  const std::size_t end = version.find_first_not_of("0123456789.!");
  if (!clause.ends_with(".*") || end == std::string::npos)
    return false;
  const auto pieces = [](const std::string& text) { return split(text, '.').size(); };
  const std::string release = version.substr(0, version[end - 1] == '.' ? end - 1 : end);
  return version.find('!') != std::string::npos || pieces(clause) - 1 > pieces(release);
}

constexpr const char* asked_of_pip = R"(
import sys
from pip._vendor.packaging.specifiers import SpecifierSet
from pip._vendor.packaging.version import Version
for line in open(sys.argv[1]):
    left, right, clause = line.rstrip('\n').split(' ')
    left, right = Version(left), Version(right)
    print((left > right) - (left < right), int(SpecifierSet(clause).contains(left, prereleases=True)))
)";

}  // namespace

TEST_CASE("packaging: versions and specifiers are judged as pip judges them") {
  const TempDir folder;
  write_file(folder.path() / "ask.py", asked_of_pip);
  Versions versions(20261126);
  std::vector<std::array<std::string, 3>> asked;
  std::string text;
  while (asked.size() < 3000) {
    const std::array<std::string, 3> row = {versions.version(), versions.version(),
                                            versions.clause()};
    if (is_disputed(row[2], row[0]))
      continue;
    text += fmt::format("{} {} {}\n", row[0], row[1], row[2]);
    asked.push_back(row);
  }
  write_file(folder.path() / "asked", text);
  if (!needs("python3 -c 'import pip._vendor.packaging.specifiers'",
             "packaging: versions and specifiers are judged as pip judges them",
             "python3 has no pip"))
    return;
  const ShellResult said = shell("cd " + folder.path().string() + " && python3 ask.py asked");
  REQUIRE_MESSAGE(said.status == 0, said.output);
  const std::vector<std::string> answers = lines(said.output);
  REQUIRE(answers.size() == asked.size());
  int held = 0;
  for (std::size_t i = 0; i < asked.size(); ++i) {
    const auto& [left, right, clause] = asked[i];
    const auto order = compare(*parse_version(left), *parse_version(right));
    const std::optional<bool> fits = version_fits(clause, left);
    CAPTURE(left + " and " + right + ", " + clause);
    REQUIRE(fits.has_value());
    CHECK(fmt::format("{} {}", (order > 0) - (order < 0), int{*fits}) == answers[i]);
    held += *fits;
  }
  CHECK(held > 500);
}
