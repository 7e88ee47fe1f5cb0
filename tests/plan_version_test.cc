// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "base/error.h"
#include "plan/plan.h"

using namespace ds;

namespace {

const VersionedSource checkout{.version = "0.19.8",
                               .commit = "1A2B3C4D5E6F",
                               .digest = "0123456789abcdef",
                               .dirty = false,
                               .build_string = {}};
const BuiltFor built_for{
    .cuda = "13.0", .archs = {"80", "90a"}, .cpu_level = 3, .torch = "2.11.0+cu130"};

std::string version(const VersionedSource& source, const std::string& build_string = "",
                    const BuiltFor& built = {}) {
  return source_wheel_version(source, {{"DS_BUILD_STRING", build_string}}, built);
}

}  // namespace

TEST_CASE("version of a source's wheel: what was built, of what, for what") {
  CHECK(version(checkout, "", built_for) == "0.19.8+g1a2b3c4d5.cu130.sm80.sm90a.v3.torch2.11");
  CHECK(version(checkout) == "0.19.8+g1a2b3c4d5.cpu");
  BuiltFor chosen = built_for;
  chosen.ops = {"fused_adam", "cpu_adam"};
  const std::string two = version(checkout, "", chosen);
  CHECK(two.starts_with("0.19.8+g1a2b3c4d5.cu130.sm80.sm90a.v3.torch2.11.o"));
  chosen.ops = {"cpu_adam", "fused_adam"};
  CHECK(version(checkout, "", chosen) == two);
  chosen.ops = {"cpu_adam"};
  CHECK(version(checkout, "", chosen) != two);
  VersionedSource sdist = checkout;
  sdist.commit.clear();
  sdist.build_string = " ";
  CHECK(version(sdist) == "0.19.8+s012345678.cpu");
  sdist.build_string = ".dev7\n";
  CHECK(version(sdist) == "0.19.8.dev7+cpu");
  VersionedSource dirty = checkout;
  dirty.dirty = true;
  CHECK(version(dirty) == "0.19.8+g1a2b3c4d5.d01234567.cpu");
}

TEST_CASE("version of a source's wheel: DS_BUILD_STRING follows the version, as in setup.py") {
  CHECK(version(checkout, ".dev20201022", built_for) ==
        "0.19.8.dev20201022+cu130.sm80.sm90a.v3.torch2.11");
  CHECK(version(checkout, "+Site-007") == "0.19.8+site.7.cpu");
  CHECK(version(checkout, ".post1+site") == "0.19.8.post1+site.cpu");
  CHECK(version(checkout, " ") == "0.19.8+cpu");
  VersionedSource sdist = checkout;
  sdist.build_string = ".dev7";
  CHECK(version(sdist, "rc1") == "0.19.8rc1+cpu");
  VersionedSource local = checkout;
  local.version = "2.1+cu12";
  CHECK(version(local) == "2.1+cu12.g1a2b3c4d5.cpu");
  CHECK_THROWS_AS(version(checkout, ".snapshot"), UsageError);
  CHECK_THROWS_AS(version(checkout, "+a/b"), UsageError);
  local.version = "1.0-SNAPSHOT";
  CHECK_THROWS_AS(version(local), UsageError);
  local.version.clear();
  CHECK_THROWS_AS(version(local), UsageError);
}
