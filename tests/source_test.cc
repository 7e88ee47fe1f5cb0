// SPDX-License-Identifier: Apache-2.0
#include "source/source.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "source/answer.h"
#include "source/includes.h"

using namespace ds;

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

json sample() {
  return json::parse(read_file(fs::path(DS_TESTS_DIR) / "data/source/answer.json"));
}

SourceTree parse(const json& answer) {
  return parse_source_answer(answer.dump(), "tree", "python3");
}

/// What the Error says about an answer, or "" if it is used.
std::string complaint(const json& answer) {
  try {
    parse(answer);
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// An interpreter that is a shell script.
struct FakePython {
  TempDir folder;
  SourceOptions options;
  FakePython() { options.cache = folder.path() / "cache"; }
  Error error_of(const std::string& body, const fs::path& source) {
    write_file(folder.path() / "python", "#!/bin/sh\n" + body + "\n", 0755);
    try {
      read_source(source, (folder.path() / "python").string(), options);
    } catch (const Error& error) {
      return error;
    }
    return Error("nothing was wrong");
  }
};

}  // namespace

TEST_CASE("source: an answer becomes values") {
  const SourceTree tree = parse(sample());
  CHECK(tree.kind == SourceTree::Kind::deepspeed);
  CHECK(tree.version == "9.9.1");
  CHECK(tree.build_string == std::nullopt);
  CHECK(tree.dirty);
  CHECK(tree.torch.cpp.libraries == std::vector<std::string>{"c10", "torch"});
  CHECK(tree.torch.cuda_extension.problem == "OSError: no toolkit");
  CHECK(tree.torch.abi.at("_GLIBCXX_USE_CXX11_ABI") == "True");
  REQUIRE(tree.ops.size() == 3);
  const SourceOp& store = tree.ops[0];
  CHECK(store.module == "pkg.ops.store_op");
  CHECK(store.cxx_flags == std::vector<std::string>{"-O3", "-march=native", "-DNAME=\"a b\""});
  CHECK(store.defines == std::vector<std::string>{"FAST=1"});
  CHECK(store.needs == std::vector<std::string>{"pinned"});
  CHECK(store.links_cuda);
  CHECK_FALSE(store.cuda);
  CHECK(tree.ops[1].minimum_compute_capability == "7.0");
  CHECK_FALSE(has(tree.ops[1].warnings.at(0), "\x1b"));
  CHECK_FALSE(tree.ops[2].compatible);
  CHECK(tree.ops[2].because == "its builder ended with status 3");
  CHECK(tree.ops[2].sources.empty());
}

TEST_CASE("source: answers that are not used") {
  struct Case {
    const char* place;
    json value;
    const char* complaint;
  };
  const Case cases[] = {
      {"/ops/0/sources/0", "../../etc/passwd", "outside of the tree"},
      {"/ops/0/sources/0", "/etc/passwd", "outside of the tree"},
      {"/ops/0/sources", json::array(), "has no sources"},
      {"/ops/0/sources", "csrc/store.cpp", "ops[0].sources is no list"},
      {"/ops/0/module", "pkg/../../x", "has the module"},
      {"/ops/0/module", "", "has the module"},
      {"/ops/0/name", "../store", "has the name"},
      {"/ops/0/name", "pinned", "has 'pinned' twice"},
      {"/ops/0/module", "pkg.ops.pinned_op", "has the module 'pkg.ops.pinned_op' twice"},
      {"/ops/0/build_variable", "A B", "has the name"},
      {"/ops/0/needs/0", "nobody", "which is no op"},
      {"/ops/0/cxx_flags/1", "-DX=1\n-fplugin=x", "control characters"},
      {"/ops/0/cxx_flags/1", "\x1b[2J", "control characters"},
      {"/ops/0/cxx_flags/1", 7, "is no text"},
      {"/ops/0/cuda", "yes", "neither true nor false"},
      {"/ops/2/compatible", true, "ops[2].module is missing"},
      {"/ops/1/minimum", nullptr, "is no text"},
      {"/ops", json::object(), "it.ops is no list"},
      {"/kind", "conan", "is 'conan'"},
      {"/torch", nullptr, "it.torch is no object"},
      {"/torch/adds/cpp/libraries", 3, "is no list"},
  };
  for (const Case& one : cases) {
    json answer = sample();
    answer[json::json_pointer(one.place)] = one.value;
    const std::string said = complaint(answer);
    CAPTURE(one.place);
    CAPTURE(said);
    CHECK(has(said, one.complaint));
  }
  json missing = sample();
  missing.erase("version");
  CHECK(has(complaint(missing), "it.version is missing"));
  CHECK(has(complaint(json::array()), "it is no object"));
  CHECK_THROWS_AS(parse_source_answer("{\"ops\": [", "tree", "python3"), Error);
  CHECK_THROWS_AS(parse_source_answer("\xff\xfe", "tree", "python3"), Error);
}

TEST_CASE("source: a refusal says what to do") {
  const auto refusal = [](const char* kind) {
    try {
      parse({{"refused", kind}, {"because", "of\x1b that"}});
    } catch (const Error& error) {
      return error;
    }
    return Error("nothing");
  };
  CHECK(refusal("no-source").status() == ExitStatus::usage);
  CHECK(has(refusal("no-source").what(), "tree is no source of ops: of\\x1b that"));
  CHECK(has(refusal("no-torch").fix(), "python3 -m pip install torch"));
  CHECK(has(refusal("no-setuptools").fix(), "python3 -m pip install setuptools"));
  CHECK(refusal("no-torch").status() == ExitStatus::build_failed);
  CHECK(has(refusal("broken-torch").what(), "python3 cannot ask the op builders of tree"));
  CHECK(has(refusal("broken-tree").what(), "its ops cannot be read"));
}

TEST_CASE("source: an interpreter that does not answer") {
  FakePython python;
  const fs::path tree = python.folder.path();
  CHECK(has(python.error_of("echo noise; echo no module >&2; exit 4", tree).what(),
            "it ended with status 4: no module"));
  CHECK(has(python.error_of("kill -9 $$", tree).what(), "it ended by signal 9"));
  CHECK(has(python.error_of("echo NONCE '{}'", tree).what(), "gave no answer"));
  // Its fifth word is the nonce; what comes before is noise of whoever starts first.
  CHECK(
      has(python.error_of("echo \"motd {}\"; echo \"$4 {}\"", tree).what(), "it.kind is missing"));
  CHECK(python.error_of("exit 0", tree / "absent").status() == ExitStatus::usage);
  CHECK(has(python.error_of("exit 0", "/dev/zero").what(), "neither a folder nor a file"));
  write_file(tree / "text.tar.gz", "no archive");
  CHECK(has(python.error_of("exit 0", tree / "text.tar.gz").what(), "it is no archive"));
}

TEST_CASE("source: which units include torch's header, by their text") {
  const TempDir folder;
  const auto write = [&folder](const std::string& name, const std::string& text) {
    fs::create_directories((folder.path() / name).parent_path());
    write_file(folder.path() / name, text);
  };
  write("csrc/direct.cpp", "  #  include <torch/extension.h>  // all\n");
  write("csrc/far.cpp", "#include \"far.h\"\n");
  write("csrc/includes/far.h", "#include <vector>\n#include \"../near.h\"\n");
  write("csrc/near.h", "#include \"includes/far.h\"\n#include <torch/extension.h>\n");
  write("csrc/plain.cpp", "// #include <torch/extension.h>\n#include \"nowhere.h\"\n#include\n");
  write("csrc/other.cpp", "#include <torch/types.h>\n#include \"/etc/passwd\"\n");
  SourceTree tree;
  tree.root = folder.path();
  SourceOp op;
  op.compatible = true;
  op.sources = {"csrc/direct.cpp", "csrc/far.cpp", "csrc/plain.cpp", "csrc/other.cpp"};
  op.include = {"csrc/includes", "/usr/include"};
  tree.ops = {op};
  find_torch_units(tree);
  CHECK(tree.ops[0].torch_units == std::vector<std::string>{"csrc/direct.cpp", "csrc/far.cpp"});
}
