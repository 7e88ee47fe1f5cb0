// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "base/in_use.h"
#include "base/text.h"
#include "source/package_folder.h"
#include "source/source.h"

using namespace ds;

namespace {

namespace fs = std::filesystem;

constexpr const char* metadata =
    "Metadata-Version: 2.1\nName: deepspeed\nVersion: 9.9.1\nRequires-Dist: hjson\n\nName: prose\n";
constexpr const char* record =
    R"({"version": "9.9.1", "git_hash": "x", "installed_ops": {"old": true, "adam": false},)"
    R"( "accelerator_name": "xpu", "torch_info": {"version": "0.0", "bf16_support": false,)"
    R"( "cuda_version": "0.0", "nccl_version": "2.28"}, "extra": [1]})";

void write(const fs::path& file, std::string_view text, int mode = 0644) {
  make_folders(file.parent_path());
  write_file(file, text, mode);
}

/// An unpacked wheel, and what is said when it cannot be used.
struct Folder {
  TempDir temporary;
  const fs::path root = temporary.path() / "files";

  Folder() {
    write(root / "deepspeed/__init__.py", "x = 1\n");
    write(root / "deepspeed/run.sh", "#!/bin/sh\n", 0755);
    write(root / "deepspeed-9.9.1.dist-info/METADATA", metadata);
    write(root / "deepspeed-9.9.1.dist-info/WHEEL", "Wheel-Version: 1.0\n");
    write(root / "deepspeed-9.9.1.dist-info/RECORD", "");
    write(root / "deepspeed-9.9.1.dist-info/entry_points.txt", "[x]\n");
    write(root / "deepspeed-9.9.1.data/scripts/ds", "#!python\n", 0755);
  }
  std::string complaint() const {
    try {
      package_in(root);
    } catch (const Error& error) {
      CHECK(error.status() == ExitStatus::build_failed);
      return error.what();
    }
    return {};
  }
};

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::vector<std::string> paths(const std::vector<PackageFile>& files) {
  std::vector<std::string> all;
  for (const PackageFile& file : files)
    all.push_back(file.path + (file.executable ? "*" : ""));
  return all;
}

/// An interpreter that is a shell script: `files` is the folder that it is to fill.
struct FakePython {
  TempDir folder;
  SourceTree tree;
  PackageOptions options;
  const std::string python = (folder.path() / "python").string();

  FakePython() {
    tree.root = folder.path() / "tree";
    write(tree.root / "version.txt", "1\n");
    options.cache = folder.path() / "cache";
  }
  void does(const std::string& body) {
    write_file(python,
               "#!/bin/sh\necho run >> " + (folder.path() / "runs").string() +
                   "\nfiles=$(echo \"$5\" | sed 's/.*\"out\":\"\\([^\"]*\\)\".*/\\1/')\n" + body +
                   "\n",
               0755);
  }
  void makes_package() {
    does(
        "mkdir -p $files/p $files/p-1.dist-info; echo 1 > $files/p/a.py\n"
        "printf 'Metadata-Version: 2.1\\nName: p\\nVersion: 1\\n' > $files/p-1.dist-info/METADATA\n"
        "echo noise; echo \"$4 {\\\"installed\\\": {\\\"version\\\": \\\"1\\\"}}\"");
  }
  std::size_t runs() const { return lines(read_file(folder.path() / "runs")).size(); }
  SourcePackage read() const { return read_package(tree, python, options); }
  Error error() const {
    try {
      read();
    } catch (const Error& error) {
      return error;
    }
    return Error("nothing was wrong");
  }
  fs::path place() const {
    std::vector<fs::path> all(fs::directory_iterator(options.cache / "packages"), {});
    REQUIRE(all.size() == 1);
    return all.front();
  }
};

}  // namespace

TEST_CASE("package: an unpacked wheel is sorted into its parts") {
  const Folder folder;
  const SourcePackage package = package_in(folder.root);
  CHECK(package.name == "deepspeed");
  CHECK(package.version == "9.9.1");
  CHECK(package.metadata == metadata);
  CHECK(paths(package.files) ==
        std::vector<std::string>{"deepspeed/__init__.py", "deepspeed/run.sh*"});
  CHECK(paths(package.data) == std::vector<std::string>{"scripts/ds*"});
  CHECK(paths(package.dist_info) == std::vector<std::string>{"entry_points.txt"});
  CHECK(package.files.front().source == folder.root / "deepspeed/__init__.py");
}

TEST_CASE("package: folders that are no wheel") {
  struct Case {
    const char* name;
    void (*spoil)(const fs::path&);
    const char* says;
  };
  const Case cases[] = {
      {"link", [](const fs::path& root) { fs::create_symlink("/etc/passwd", root / "x"); },
       "'x' is no file"},
      {"link to a folder",
       [](const fs::path& root) { fs::create_directory_symlink("/etc", root / "etc"); },
       "'etc' is no file"},
      {"pipe", [](const fs::path& root) { ::mkfifo((root / "pipe").c_str(), 0600); },
       "'pipe' is no file"},
      {"escape", [](const fs::path& root) { write(root / "a\x1b[2J", ""); }, "has characters"},
      {"line", [](const fs::path& root) { write(root / "a\nb", ""); }, "has characters"},
      {"backslash", [](const fs::path& root) { write(root / "..\\x", ""); }, "has characters"},
      {"two infos", [](const fs::path& root) { write(root / "y-1.dist-info/METADATA", metadata); },
       "it has 2 folders *.dist-info"},
      {"no info", [](const fs::path& root) { fs::remove_all(root / "deepspeed-9.9.1.dist-info"); },
       "it has 0 folders *.dist-info"},
      {"other data", [](const fs::path& root) { write(root / "y-1.data/scripts/x", ""); },
       "is no folder of deepspeed-9.9.1"},
      {"no metadata",
       [](const fs::path& root) { fs::remove(root / "deepspeed-9.9.1.dist-info/METADATA"); },
       "it has no METADATA"},
      {"no version",
       [](const fs::path& root) {
         write(root / "deepspeed-9.9.1.dist-info/METADATA", "Name: x\n\nVersion: 1\n");
       },
       "its METADATA has no Version"},
      {"two names",
       [](const fs::path& root) {
         write(root / "deepspeed-9.9.1.dist-info/METADATA", "Name: x\nname: y\nVersion: 1\n");
       },
       "its METADATA has no Name, or more than one"},
      {"nothing", [](const fs::path& root) { fs::remove_all(root / "deepspeed"); },
       "there is nothing in it"},
      {"gone", [](const fs::path& root) { fs::remove_all(root); }, "cannot be read"},
  };
  for (const Case& one : cases) {
    const Folder folder;
    one.spoil(folder.root);
    const std::string said = folder.complaint();
    CAPTURE(one.name);
    CAPTURE(said);
    CHECK(has(said, one.says));
    CHECK_FALSE(has(said, "\x1b"));
  }
}

TEST_CASE("package: made once for a tree, and again when it changed or was damaged") {
  FakePython python;
  python.makes_package();
  const SourcePackage first = python.read();
  CHECK(first.name == "p");
  CHECK(first.record == R"({"version":"1"})");
  CHECK(paths(first.files) == std::vector<std::string>{"p/a.py"});
  CHECK(python.read().files == first.files);
  CHECK(python.runs() == 1);
  write_file(python.place() / "files/p/a.py", "2\n");
  python.read();
  CHECK(python.runs() == 2);
  CHECK(read_file(python.place() / "files/p/a.py") == "1\n");
  write_file(python.place() / "seal.json", "{}");
  python.read();
  CHECK(python.runs() == 3);
  write(python.tree.root / "new", "");
  python.read();
  CHECK(python.runs() == 4);
  python.tree.torch.version = "2.12.0";
  python.read();
  CHECK(python.runs() == 5);
  python.options.accelerator = "cpu";
  python.read();
  CHECK(python.runs() == 6);
}

TEST_CASE("package: what setup.py could not make") {
  FakePython python;
  const auto answers = [&python](const std::string& json) {
    python.does("printf '%s %s\\n' \"$4\" '" + json + "'");
    return python.error();
  };
  const Error none = answers(R"({"refused": "no-setuptools", "because": "there is no module s"})");
  CHECK(has(none.what(), "cannot make the package of"));
  CHECK(has(none.fix(), "-m pip install setuptools wheel"));
  CHECK(none.status() == ExitStatus::build_failed);
  const Error failed =
      answers(R"({"refused": "failed", "because": "setup.py raised X", "said": "a\nb\u001b"})");
  CHECK(has(failed.what(), "setup.py raised X; it printed: b\\x1b"));
  CHECK(has(failed.fix(), "setup.py bdist_wheel"));
  CHECK(answers(R"({"refused": "no-copy", "because": "full"})").status() == ExitStatus::usage);
  CHECK(has(answers("[]").what(), "its setup.py gave no answer"));
  CHECK(has(answers("{}").what(), "its setup.py gave no answer"));
  CHECK(has(answers(R"({"installed": null})").what(), "cannot be read"));
  python.does("exit 3");
  CHECK(has(python.error().what(), "gave no answer about the package of"));
  CHECK(fs::is_empty(python.options.cache / "packages"));
}

TEST_CASE("package: the digest of a tree goes by its files alone") {
  const TempDir folder;
  const fs::path tree = folder.path() / "tree";
  write(tree / "a.py", "1");
  write(tree / "csrc/b.cu", "2");
  fs::create_symlink("csrc", tree / "link");
  const std::string first = source_digest(tree);
  CHECK(first.size() == 64);
  for (const char* left : {".git/HEAD", "build/lib/x", "dist/x.whl", "csrc/__pycache__/a.pyc",
                           "a.pyc", "venv/pyvenv.cfg", "venv/x"})
    write(tree / left, "x");
  fs::create_directory(tree / "empty");
  CHECK(source_digest(tree) == first);
  fs::permissions(tree / "a.py", fs::perms(0755));
  const std::string runs = source_digest(tree);
  CHECK(runs != first);
  fs::remove(tree / "link");
  fs::create_symlink("csrc/b.cu", tree / "link");
  CHECK(source_digest(tree) != runs);
  CHECK_THROWS_AS(source_digest(tree / "gone"), Error);
}

TEST_CASE("package: the record has the tree's own keys, and what was built") {
  SourceTree tree;
  tree.git_hash = "1a2b";
  tree.torch.version = "2.11.0+cu130";
  tree.torch.cuda = "13.0";
  tree.ops.resize(2);
  tree.ops[0].name = "adam";
  tree.ops[0].compatible = true;
  tree.ops[1].name = "lamb";
  SourcePackage package;
  CHECK(build_record(tree, package, {}).empty());
  package.record = "[]";
  CHECK(build_record(tree, package, {}).empty());
  package.record = record;
  const InstalledOps installed{
      .version = "9.9.1+x'\n", .accelerator = "cuda", .names = {"adam"}, .bf16 = true};
  CHECK(build_record(tree, package, installed) ==
        "version='9.9.1+x\\''\n"
        "git_hash='1a2b'\n"
        "installed_ops={'old': False, 'adam': 1, 'lamb': False}\n"
        "accelerator_name='cuda'\n"
        "torch_info={'version': '2.11', 'bf16_support': True, 'cuda_version': '13.0', "
        "'nccl_version': '2.28'}\n"
        "extra=None\n"
        "git_branch='unknown'\n");
  package.record = R"({"installed_ops": 3, "compatible_ops": {}})";
  tree.torch = {};
  CHECK(has(build_record(tree, package, installed),
            "compatible_ops={'adam': True, 'lamb': False}\n"));
}

TEST_CASE("package: a run holds the package that it uses, and notes the use") {
  FakePython python;
  python.makes_package();
  python.read();
  const fs::path place = python.place();
  fs::last_write_time(place, fs::file_time_type::clock::now() - std::chrono::hours(48));
  {
    InUse in_use;
    python.options.in_use = &in_use;
    python.read();
    CHECK(fs::file_time_type::clock::now() - fs::last_write_time(place) < std::chrono::hours(1));
    CHECK_FALSE(remove_unused(place));
  }
  CHECK(remove_unused(place));
  InUse in_use;
  python.options.in_use = &in_use;
  python.read();
  CHECK(python.runs() == 2);
}
