// SPDX-License-Identifier: Apache-2.0
#include "cli/pack_wheel.h"

#include <doctest/doctest.h>

#include "artifact/artifact.h"
#include "base/file.h"

using namespace ds;

namespace {

/// What a wheel of `name` with these ops in its record is confirmed by.
Parcel parcel_with(const std::string& name, const std::string& ops) {
  const TempDir folder;
  WheelSpec spec;
  spec.name = name;
  spec.version = "1.0";
  spec.tag = "py3-none-linux_x86_64";
  spec.files = {{name + "/__init__.py", "", {}, false}};
  spec.dist_info = {{record_name, R"({"ops":[)" + ops + "]}", {}, false}};
  const Wheel wheel = open_wheel(write_wheel(spec, folder.path()));
  Parcel parcel = parcel_of(wheel);
  CHECK(parcel.wheel == &wheel);
  return parcel;
}

}  // namespace

TEST_CASE("ops of ours are imported from their package and have self-tests") {
  const Parcel parcel =
      parcel_with("ds_ops", R"({"name":"utils","self_test":"ds_ops.utils:self_test"})");
  CHECK(parcel.imports == std::vector<std::string>{"ds_ops", "ds_ops.utils"});
  CHECK(parcel.self_tests.at("utils") == "ds_ops.utils:self_test");
  CHECK(parcel.deepspeed.empty());
}

TEST_CASE("ops of a DeepSpeed wheel are for its own builders, nothing is imported before") {
  const Parcel parcel = parcel_with(
      "deepspeed",
      R"({"name":"cpu_adam","module":"deepspeed.ops.adam.cpu_adam_op","builder":"CPUAdamBuilder",)"
      R"("links_torch":true})");
  CHECK(parcel.imports.empty());
  REQUIRE(parcel.deepspeed.size() == 1);
  CHECK(parcel.deepspeed[0].name == "cpu_adam");
  CHECK(parcel.deepspeed[0].builder == "CPUAdamBuilder");
  CHECK(parcel.deepspeed[0].module == "deepspeed.ops.adam.cpu_adam_op");
}

TEST_CASE("extensions of another project are imported, after torch where they link it") {
  const Parcel parcel =
      parcel_with("apex", R"({"name":"amp_C","module":"amp_C","links_torch":true},)"
                          R"({"name":"fast","module":"apex.fast","links_torch":true})");
  CHECK(parcel.imports == std::vector<std::string>{"torch", "amp_C", "apex.fast"});
  CHECK(parcel.deepspeed.empty());
  CHECK(parcel_with("plain", R"({"name":"plain","module":"plain.op"})").imports ==
        std::vector<std::string>{"plain.op"});
}

TEST_CASE("a wheel without ops is imported by its name") {
  CHECK(parcel_with("demo", "").imports == std::vector<std::string>{"demo"});
}
