// SPDX-License-Identifier: Apache-2.0
#include "config/config.h"

#include <doctest/doctest.h>

#include <functional>

#include "base/error.h"
#include "base/file.h"

namespace {

namespace fs = std::filesystem;

const fs::path data = DS_TESTS_DIR "/data/config";

/// The message of what is refused, without the folder of the test data.
std::string refusal(const std::function<void()>& work) {
  std::string text = "no error";
  try {
    work();
  } catch (const ds::Error& error) {
    text = error.what();
    CHECK(error.status() == ds::ExitStatus::usage);
  }
  const std::string prefix = data.string() + "/";
  for (std::size_t at = 0; (at = text.find(prefix, at)) != std::string::npos;) {
    text.erase(at, prefix.size());
  }
  return text;
}

std::string parse_refusal(const std::string& text) {
  return refusal([&] { ds::parse_op(text, data / "good/adam/op.yaml"); });
}

void copy_good(const fs::path& to) {
  fs::copy(data / "good", to, fs::copy_options::recursive);
}

}  // namespace

TEST_CASE("op manifest: every field") {
  const ds::OpLibrary library = ds::load_ops(data / "good");
  CHECK(library.version == "0.1.0");
  REQUIRE(library.ops.size() == 1);
  const ds::Op& op = library.ops.front();
  CHECK(op.name == "adam");
  CHECK(op.summary == "Adam on the CPU");
  CHECK(op.kind == ds::Op::Kind::cpu);
  CHECK(op.build_variable == "DS_BUILD_ADAM");
  CHECK(op.sources == std::vector<std::string>{"adam.cc"});
  CHECK(op.flags == std::vector<std::string>{"-O3", "-fopenmp"});
  CHECK(op.host_needs == std::vector<std::string>{"libm.so.6"});
  CHECK(op.self_test == "ds_ops.adam:self_test");
  CHECK(op.folder.is_absolute());
  CHECK(library.files == std::vector<fs::path>{"VERSION", "adam/adam.cc", "adam/op.yaml",
                                               "adam/python/__init__.py",
                                               "common/python/__init__.py", "empty/README"});
}

TEST_CASE("op manifest: golden messages of all manifests at once") {
  CHECK(refusal([] { ds::load_ops(data / "bad"); }) + "\n" == ds::read_file(data / "bad.errors"));
  CHECK(refusal([] { ds::load_ops(data / "clash"); }) ==
        "clash/b/op.yaml: DS_BUILD_X is the build variable of op a too; give each op its own");
}

TEST_CASE("op manifest: an unquoted number is text") {
  const std::string text =
      "name: adam\nsummary: x\nkind: cuda\nbuild_variable: DS_BUILD_A\nsources: [adam.cc]\n"
      "minimum_compute_capability: 7.0\nself_test: m:f\nself_test_gpu_memory: 600\n";
  const ds::Op op = ds::parse_op(text, data / "good/adam/op.yaml");
  CHECK(op.minimum_compute_capability == "7.0");
  CHECK(op.self_test_gpu_memory == 600);
}

TEST_CASE("op manifest: text that is no YAML map") {
  CHECK(parse_refusal("name: [adam\n").starts_with("good/adam/op.yaml:2:1: this is no YAML: "));
  CHECK(parse_refusal("").find("begin with 'name: adam'") != std::string::npos);
  CHECK(parse_refusal("- a\n").find("keys and values") != std::string::npos);
  CHECK(parse_refusal("a: 1\n---\nb: 1\n").find("a second YAML document") != std::string::npos);
  // yaml-cpp 0.7 finds documents without end in these.
  for (const char* stray : {",", "[a]\n,\n", "a\n...\n,"})
    CHECK(parse_refusal(stray).find("belongs to nothing before it") != std::string::npos);
  CHECK(parse_refusal(std::string(100000, '[')) != "no error");
  CHECK(parse_refusal("\xFF\xFE{").starts_with("good/adam/op.yaml"));
}

TEST_CASE("op manifest: aliases cannot unfold without bounds") {
  std::string text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int level = 1; level < 12; ++level) {
    const std::string below = "*a" + std::to_string(level - 1);
    text += "a" + std::to_string(level) + ": &a" + std::to_string(level) + " [" + below;
    for (int copy = 0; copy < 9; ++copy)
      text += ", " + below;
    text += "]\n";
  }
  CHECK(parse_refusal(text).find("too many or too deeply nested") != std::string::npos);
}

TEST_CASE("op manifest: hostile texts stay harmless") {
  const std::string text = parse_refusal("\"na\\e[31mme\": adam\n");
  CHECK(text.find('\x1b') == std::string::npos);
  CHECK(text.find("unknown key") != std::string::npos);
}

TEST_CASE("op library: no folder, no op, no VERSION") {
  const ds::TempDir folder;
  const auto load = [&] { ds::load_ops(folder.path() / "ops"); };
  CHECK(refusal(load).find("there is no op library at") == 0);
  fs::create_directories(folder.path() / "ops/common");
  CHECK(refusal(load).find("holds an op.yaml") != std::string::npos);
  fs::remove_all(folder.path() / "ops");
  copy_good(folder.path() / "ops");
  fs::remove(folder.path() / "ops/VERSION");
  CHECK(refusal(load).find("VERSION") != std::string::npos);
  ds::write_file(folder.path() / "ops/VERSION", "one\n");
  CHECK(refusal(load).find("'one' is no version") != std::string::npos);
}

TEST_CASE("op library: the digest covers names and contents, not tests or caches") {
  const ds::TempDir folder;
  const fs::path root = folder.path() / "ops";
  copy_good(root);
  const std::string digest = ds::load_ops(root).source_digest;
  CHECK(digest.size() == 64);
  CHECK(digest == ds::load_ops(data / "good").source_digest);
  ds::write_file(root / "adam/tests/more", "x");
  ds::write_file(root / "adam/.hidden", "x");
  fs::create_directories(root / "adam/python/__pycache__");
  ds::write_file(root / "adam/python/__pycache__/x.pyc", "x");
  CHECK(ds::load_ops(root).source_digest == digest);
  ds::write_file(root / "adam/adam.cc", "int adam() { return 1; }\n");
  const std::string edited = ds::load_ops(root).source_digest;
  CHECK(edited != digest);
  fs::rename(root / "empty/README", root / "empty/README2");
  CHECK(ds::load_ops(root).source_digest != edited);
}

TEST_CASE("op library: links are followed, a ring of them is refused") {
  const ds::TempDir folder;
  const fs::path root = folder.path() / "ops";
  copy_good(root);
  fs::create_directory_symlink(root, root / "adam/ring");
  CHECK(refusal([&] { ds::load_ops(root); }).find("leads back to a folder above") !=
        std::string::npos);
  fs::remove(root / "adam/ring");
  fs::rename(root / "adam", folder.path() / "adam");
  fs::create_directory_symlink(folder.path() / "adam", root / "adam");
  CHECK(ds::load_ops(root).source_digest == ds::load_ops(data / "good").source_digest);
}
