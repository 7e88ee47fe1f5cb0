// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "artifact/artifact.h"
#include "base/error.h"
#include "base/sha256.h"
#include "support/toy_library.h"
#include "wheel/wheel.h"

namespace {

ds::Requirements sample() {
  ds::LibraryNeeds adam;
  adam.path = "ds_ops/fused_adam/libfused_adam.so";
  adam.op = "fused_adam";
  adam.machine = "x86_64";
  adam.glibc = "2.34";
  adam.needed = {"libcudart.so.13", "libc.so.6"};
  adam.opens = {"libaio.so.1"};
  adam.gpu.units = 2;
  adam.gpu.sass = {"80", "90"};
  adam.gpu.sass_all_units = {"80"};
  adam.gpu.ptx = adam.gpu.ptx_all_units = {{"90", "9.0"}};
  adam.gpu.compression = {"none", "zstd"};
  ds::Requirements all;
  all.file = "ds_ops-0.1.0-py3-none-linux_x86_64.whl";
  all.kind = "wheel";
  all.sha256 = std::string(64, 'a');
  all.python_tag = "py3-none-linux_x86_64";
  all.requires_python = ">=3.8";
  all.requires_dist = {"numpy", "tabulate; extra == 'x'"};
  all.glibc = "2.34";
  all.glibcxx = "3.4.30";
  all.cxxabi = "1.3.13";
  all.cpu_level = 3;
  all.needed = {"libc.so.6", "libcudart.so.13"};
  all.cuda = "13.0";
  all.installed_bytes = 1234567;
  all.installed_files = 7;
  all.libraries = {adam};
  return all;
}

}  // namespace

TEST_CASE("an inspection as JSON is one line of ds-deploy.inspect/1") {
  ds::Requirements all = sample();
  CHECK(ds::inspect_json(all) ==
        R"({"schema":"ds-deploy.inspect/1","file":"ds_ops-0.1.0-py3-none-linux_x86_64.whl",)"
        R"("kind":"wheel","sha256":")" +
            std::string(64, 'a') +
            R"(","requirements":{"python":"py3-none-linux_x86_64",)"
            R"("packages":["numpy","tabulate; extra == 'x'"],"glibc":"2.34",)"
            R"("glibcxx":"3.4.30","cxxabi":"1.3.13","cpu_level":3,)"
            R"("needed":["libc.so.6","libcudart.so.13"],"torch":"","cuda":"13.0"},)"
            R"("libraries":[{"path":"ds_ops/fused_adam/libfused_adam.so","op":"fused_adam",)"
            R"("machine":"x86_64","python":"","soname":"","glibc":"2.34","glibcxx":"",)"
            R"("cxxabi":"","gcc":"","weak_versions":[],"cpu_level":0,)"
            R"("needed":["libcudart.so.13","libc.so.6"],"opens":["libaio.so.1"],)"
            R"("runpath":"","rpath":"","undefined":0,"cxx_strings":"","torch_abi":"",)"
            R"("cuda":"","cuda_runtime":"","gpu":{"units":2,"sass":["80","90"],)"
            R"("sass_all_units":["80"],"ptx":[{"arch":"90","isa":"9.0"}],"lto":[],)"
            R"("compression":["none","zstd"]}}]})");
  all.libraries[0].gpu = {};
  all.libraries[0].needed.clear();
  const auto json = nlohmann::json::parse(ds::inspect_json(all));
  CHECK(json["libraries"][0]["gpu"].is_null());
  CHECK(json["libraries"][0]["needed"].is_array());
  all.file = "\xff\xfe.whl";
  CHECK_NOTHROW(ds::inspect_json(all));
}

TEST_CASE("an inspection as text") {
  CHECK(ds::inspect_text(sample()) ==
        "ds_ops-0.1.0-py3-none-linux_x86_64.whl\n"
        "  kind       wheel, 7 files, 1.2 MB unpacked\n"
        "  sha256     " +
            std::string(64, 'a') +
            "\n"
            "  python     py3-none-linux_x86_64, >=3.8\n"
            "  packages   numpy, tabulate; extra == 'x'\n"
            "  glibc      2.34\n"
            "  libstdc++  GLIBCXX_3.4.30, CXXABI_1.3.13\n"
            "  cpu        x86-64-v3\n"
            "  cuda       13.0\n"
            "  needs      libc.so.6 libcudart.so.13\n"
            "\n"
            "ds_ops/fused_adam/libfused_adam.so\n"
            "  machine    x86_64\n"
            "  op         fused_adam\n"
            "  glibc      2.34\n"
            "  needs      libcudart.so.13 libc.so.6\n"
            "  opens      libaio.so.1\n"
            "  gpu        sm_80 sm_90, PTX compute_90 (ISA 9.0); 2 units, compression none zstd\n"
            "  some units sm_90\n");
}

TEST_CASE("a wheel needs what its libraries need, without each other") {
  const ds::TempDir folder;
  const std::string test = "a wheel needs what its libraries need";
  const auto base = ds::toy_library(folder.path(), "libbase.so",
                                    "#include <string>\nstd::string s(int n) "
                                    "{ return std::to_string(n) + \"x\"; }\n",
                                    "-Wl,-soname,libbase.so", test);
  if (base.empty())
    return;
  const auto user = ds::toy_library(folder.path(), "libuser.so",
                                    "#include <string>\nstd::string s(int);\n"
                                    "unsigned long u() { return s(1).size(); }\n",
                                    "-L. -l:libbase.so", test);
  if (user.empty())
    return;
  ds::WheelSpec spec;
  spec.name = "ds_ops";
  spec.version = "0.1.0";
  spec.tag = "py3-none-linux_x86_64";
  spec.summary = "Toy";
  spec.files = {
      {.path = "ds_ops/__init__.py", .content = "", .source = {}},
      {.path = "ds_ops/user/libuser.so", .content = {}, .source = user, .executable = true},
      {.path = "ds_ops/lib/libbase.so", .content = {}, .source = base, .executable = true}};
  const ds::Requirements found = ds::inspect_file(ds::write_wheel(spec, folder.path() / "dist"));
  CHECK(found.kind == "wheel");
  CHECK(found.sha256 == ds::hex(ds::sha256_file(found.file)));
  CHECK(found.python_tag == "py3-none-linux_x86_64");
  CHECK(found.requires_python == ">=3.8");
  CHECK(found.installed_files == 7);
  CHECK(found.torch.empty());
  CHECK(found.cuda.empty());
  CHECK_FALSE(found.glibcxx.empty());
  REQUIRE(found.libraries.size() == 2);
  CHECK(found.libraries[0].path == "ds_ops/lib/libbase.so");
  CHECK(found.libraries[1].op == "user");
  CHECK(std::count(found.needed.begin(), found.needed.end(), "libbase.so") == 0);
  CHECK(std::count(found.needed.begin(), found.needed.end(), "libstdc++.so.6") == 1);
}

TEST_CASE("what an op opens while it runs comes from the record in the wheel") {
  const ds::TempDir folder;
  const auto library = ds::toy_library(folder.path(), "libaio_op.so", "int f() { return 1; }\n", "",
                                       "what an op opens while it runs");
  if (library.empty())
    return;
  ds::WheelSpec spec;
  spec.name = "ds_ops";
  spec.version = "0.1.0";
  spec.tag = "py3-none-linux_x86_64";
  spec.files = {
      {.path = "ds_ops/aio_op/libaio_op.so", .content = {}, .source = library, .executable = true},
      {.path = "ds_ops/other/libother.so", .content = {}, .source = library, .executable = true}};
  spec.dist_info = {{.path = ds::record_name,
                     .content = R"({"ops":[{"name":"aio_op","host_needs":["libaio.so.1"]}]})",
                     .source = {}}};
  const ds::Requirements found = ds::inspect_file(ds::write_wheel(spec, folder.path() / "dist"));
  REQUIRE(found.libraries.size() == 2);
  CHECK(found.libraries[0].opens == std::vector<std::string>{"libaio.so.1"});
  CHECK(found.libraries[1].opens.empty());
  CHECK(std::count(found.needed.begin(), found.needed.end(), "libaio.so.1") == 1);
}

TEST_CASE("a record names the libraries of ops that are imported as modules") {
  const ds::TempDir folder;
  const auto library = ds::toy_library(folder.path(), "op.so", "int f() { return 1; }\n", "",
                                       "a record names the libraries of ops");
  if (library.empty())
    return;
  ds::WheelSpec spec;
  spec.name = "deepspeed";
  spec.version = "0.1.0";
  spec.tag = "cp311-cp311-linux_x86_64";
  spec.files = {
      {.path = "deepspeed/a_op.so", .content = {}, .source = library, .executable = true},
      {.path = "deepspeed/b_op.so", .content = {}, .source = library, .executable = true}};
  spec.dist_info = {{.path = ds::record_name,
                     .content = R"({"ops":[{"name":"a","library":"deepspeed/a_op.so",)"
                                R"("module":"deepspeed.a_op","torch":"2.11.0",)"
                                R"("builder":"ABuilder"},)"
                                R"({"name":"b","library":"../b_op.so","module":"a;b",)"
                                R"("builder":"a.b"}]})",
                     .source = {}}};
  const ds::Requirements found = ds::inspect_file(ds::write_wheel(spec, folder.path() / "dist"));
  REQUIRE(found.libraries.size() == 2);
  CHECK(found.libraries[0].op == "a");
  CHECK(found.libraries[0].torch == "2.11.0");
  CHECK(found.libraries[1].op.empty());
  const auto records = ds::read_op_records(spec.dist_info.front().content).value();
  CHECK(records.at(0).module == "deepspeed.a_op");
  CHECK(records.at(0).builder == "ABuilder");
  CHECK(records.at(1).module.empty());
  CHECK(records.at(1).builder.empty());
}

TEST_CASE("a record that somebody else wrote says what it can and breaks nothing") {
  using Records = std::vector<ds::OpRecord>;
  for (const char* text : {"", "{", "[]", "7", "{}", R"({"ops":"all"})", R"({"ops":{"name":"x"}})"})
    CHECK_FALSE(ds::read_op_records(text));
  CHECK(ds::read_op_records(R"({"ops":[]})") == Records{});
  CHECK(ds::read_op_records(
            R"({"ops":[7,null,[],{},{"name":7},{"name":"a b"},{"name":"../x"}]})") == Records{});
  CHECK(ds::read_op_records(R"({"ops":[{"name":"x","self_test":[1],"host_needs":"libc.so.6"}]})") ==
        Records{{"x", "", {}}});
  CHECK(
      ds::read_op_records(
          R"({"ops":[{"name":"x","self_test":"a.b:c","host_needs":["libx.so.1",7,"-l.so","x y.so",""]},)"
          R"({"name":"y","self_test":"os; evil:c"}]})") ==
      Records{{"x", "a.b:c", {"libx.so.1"}}, {"y", "", {}}});
}

TEST_CASE("a record says what an op was built with, and only what has its form counts") {
  ds::OpRecord torch{"x", "", {}};
  torch.minimum_capability = "7.0";
  torch.links_torch = torch.cuda_check_skipped = true;
  torch.torch = "2.9.0+cu128";
  torch.torch_cxx11_abi = false;
  torch.cuda = "13.0";
  CHECK(ds::read_op_records(
            R"({"ops":[{"name":"x","minimum_compute_capability":"7.0","links_torch":true,)"
            R"("torch":"2.9.0+cu128","torch_cxx11_abi":false,"cuda":"13.0",)"
            R"("cuda_check_skipped":true}]})") == std::vector<ds::OpRecord>{torch});
  CHECK(
      ds::read_op_records(R"({"ops":[{"name":"x","minimum_compute_capability":"7","links_torch":1,)"
                          R"("torch":"2.9 \u001b[31m","torch_cxx11_abi":"no","cuda":"13.0; rm",)"
                          R"("cuda_check_skipped":"true"}]})") ==
      std::vector<ds::OpRecord>{ds::OpRecord{"x", "", {}}});
}

TEST_CASE("files that are neither wheel nor library are named") {
  const ds::TempDir folder;
  ds::write_file(folder.path() / "notes.txt", "hello");
  for (const char* name : {"notes.txt", "absent.so", "absent-1-py3-none-any.whl"}) {
    try {
      ds::inspect_file(folder.path() / name);
      FAIL_CHECK("was inspected");
    } catch (const ds::Error& error) {
      CHECK(error.what().find(name) != std::string::npos);
      CHECK(error.status() == ds::ExitStatus::usage);
    }
  }
}

TEST_CASE("a broken library inside a wheel is named with both paths") {
  const ds::TempDir folder;
  ds::WheelSpec spec;
  spec.name = "toy";
  spec.version = "1.0";
  spec.tag = "py3-none-any";
  spec.files = {{.path = "toy/bad.so", .content = "INPUT(libc.so.6)\n", .source = {}}};
  const auto wheel = ds::write_wheel(spec, folder.path());
  try {
    ds::inspect_file(wheel);
    FAIL_CHECK("was inspected");
  } catch (const ds::Error& error) {
    CHECK(error.what() == wheel.string() + ": toy/bad.so: it is no ELF file");
  }
}
