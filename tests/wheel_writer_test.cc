// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <random>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "support/shell.h"
#include "wheel/metadata.h"
#include "wheel/wheel.h"

namespace {

namespace fs = std::filesystem;

ds::WheelSpec toy_spec() {
  ds::WheelSpec spec;
  spec.name = "toy_ops";
  spec.version = "0.1.0+g1a2b.cpu";
  spec.tag = "py2.py3-none-any";
  spec.summary = "Toys, for tests";
  spec.files = {
      {.path = "toy_ops/__init__.py", .content = "answer = 42\n", .source = {}},
      {.path = "toy_ops/b,\"c\".txt", .content = "odd name\n", .source = {}},
      {.path = "toy_ops/empty", .content = "", .source = {}},
      {.path = "toy_ops/run.sh", .content = "#!/bin/sh\n", .source = {}, .executable = true},
      {.path = "toy_single.py", .content = "x = 1\n", .source = {}},
      {.path = "toy_ops/gr\xC3\xBC\xC3\x9F"
               "e.txt",
       .content = "utf-8\n",
       .source = {}},
  };
  spec.dist_info = {{.path = "licenses/LICENSE", .content = "Free.\n", .source = {}}};
  return spec;
}

/// Sets a variable for the length of a test; no value unsets it.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    const char* before = std::getenv(name);
    had_ = before != nullptr;
    if (had_)
      before_ = before;
    set(value);
  }
  ~Variable() { set(had_ ? before_.c_str() : nullptr); }

 private:
  void set(const char* value) const {
    value == nullptr ? ::unsetenv(name_) : ::setenv(name_, value, 1);
    ::tzset();
  }
  const char* name_;
  bool had_ = false;
  std::string before_;
};

std::map<std::string, std::string> contents(const fs::path& wheel) {
  std::map<std::string, std::string> out;
  ds::read_wheel(ds::open_wheel(wheel), [&](const ds::WheelEntry& entry, std::string_view text) {
    out[entry.path] = text;
  });
  return out;
}

void check_refused(const ds::WheelSpec& spec, const std::string& says) {
  const ds::TempDir folder;
  try {
    ds::write_wheel(spec, folder.path());
    FAIL_CHECK("was written");
  } catch (const ds::Error& error) {
    CAPTURE(error.what());
    CHECK(error.what().find(says) != std::string::npos);
    CHECK(error.status() == ds::ExitStatus::usage);
  }
  CHECK(fs::is_empty(folder.path()));
}

}  // namespace

TEST_CASE("a wheel has what its spec says, and opens") {
  const ds::TempDir folder;
  ds::WheelSpec spec = toy_spec();
  ds::write_file(folder.path() / "source", std::string(100000, 'x'));
  spec.files.push_back(
      {.path = "toy_ops/big.bin", .content = {}, .source = folder.path() / "source"});
  const fs::path file = ds::write_wheel(spec, folder.path() / "new" / "dist");
  CHECK(file == folder.path() / "new" / "dist" / "toy_ops-0.1.0+g1a2b.cpu-py2.py3-none-any.whl");
  CHECK(fs::file_size(file) < 10000);
  struct stat status {};
  REQUIRE(::stat(file.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0644);
  CHECK(std::distance(fs::directory_iterator(file.parent_path()), {}) == 1);

  std::map<std::string, std::string> found = contents(file);
  const std::string info = "toy_ops-0.1.0+g1a2b.cpu.dist-info/";
  CHECK(found.size() == 12);
  CHECK(found["toy_ops/__init__.py"] == "answer = 42\n");
  CHECK(found["toy_ops/big.bin"] == std::string(100000, 'x'));
  CHECK(found[info + "licenses/LICENSE"] == "Free.\n");
  CHECK(found[info + "top_level.txt"] == "toy_ops\ntoy_single\n");
  CHECK(found[info + "WHEEL"] ==
        "Wheel-Version: 1.0\nGenerator: ds-deploy " DS_DEPLOY_VERSION
        "\nRoot-Is-Purelib: false\nTag: py2-none-any\nTag: py3-none-any\n");
  CHECK(
      found[info + "METADATA"].starts_with("Metadata-Version: 2.1\nName: toy_ops\nVersion: "
                                           "0.1.0+g1a2b.cpu\nSummary: Toys, for tests\n"));
  CHECK(found[info + "RECORD"].find("\"toy_ops/b,\"\"c\"\".txt\",sha256=") != std::string::npos);
  CHECK(found[info + "RECORD"].ends_with("\n" + info + "RECORD,,\n"));
  for (const ds::WheelEntry& entry : ds::open_wheel(file).entries) {
    CHECK(entry.mode == (entry.path == "toy_ops/run.sh" ? 0755 : 0644));
  }
}

TEST_CASE("the same spec gives the same bytes, whatever zone, umask and order") {
  const ds::TempDir folder;
  const auto bytes = [&](const ds::WheelSpec& spec, const std::string& under) {
    return ds::read_file(ds::write_wheel(spec, folder.path() / under));
  };
  const std::string first = bytes(toy_spec(), "first");
  {
    const Variable zone("TZ", "Asia/Shanghai");
    CHECK(bytes(toy_spec(), "shanghai") == first);
  }
  {
    const Variable zone("TZ", "America/New_York");
    const mode_t before = ::umask(0077);
    CHECK(bytes(toy_spec(), "umask") == first);
    ::umask(before);
  }
  ds::WheelSpec spec = toy_spec();
  std::mt19937 random(7);
  std::shuffle(spec.files.begin(), spec.files.end(), random);
  CHECK(bytes(spec, "shuffled") == first);
  ds::write_file(folder.path() / "init", "answer = 42\n", 0600);
  for (ds::WheelFile& file : spec.files) {
    if (file.path == "toy_ops/__init__.py") {
      file.content.clear();
      file.source = folder.path() / "init";
    }
  }
  CHECK(bytes(spec, "from_file") == first);
  const Variable epoch("SOURCE_DATE_EPOCH", "1700000000");
  const std::string dated = bytes(toy_spec(), "dated");
  CHECK(dated != first);
  const Variable zone("TZ", "Asia/Shanghai");
  CHECK(bytes(toy_spec(), "dated_shanghai") == dated);
}

TEST_CASE("a wheel that is there with the same bytes is left untouched") {
  const ds::TempDir folder;
  const fs::path file = ds::write_wheel(toy_spec(), folder.path());
  struct stat before {
  }, after{};
  REQUIRE(::stat(file.c_str(), &before) == 0);
  CHECK(ds::write_wheel(toy_spec(), folder.path()) == file);
  REQUIRE(::stat(file.c_str(), &after) == 0);
  CHECK(before.st_ino == after.st_ino);
  CHECK(before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
  ds::write_file(file, "something else");
  ds::write_wheel(toy_spec(), folder.path());
  CHECK_NOTHROW(ds::open_wheel(file));
}

TEST_CASE("specs that make no sound wheel are refused before anything is written") {
  ds::WheelSpec spec = toy_spec();
  spec.name = "toy-ops";
  check_refused(spec, "'toy-ops' is no normalised name");
  spec = toy_spec();
  spec.version = "1.0+0012345";
  check_refused(spec, "'1.0+0012345' is no normalised version");
  spec.version = "latest";
  check_refused(spec, "'latest' is no normalised version");
  spec = toy_spec();
  spec.tag = "py3-any";
  check_refused(spec, "'py3-any' is no wheel tag");
  spec = toy_spec();
  spec.files.push_back(spec.files.front());
  check_refused(spec, "'toy_ops/__init__.py' is listed twice");
  spec = toy_spec();
  spec.files.push_back({.path = "../evil", .content = {}, .source = {}});
  check_refused(spec, "'../evil': its name climbs");
  spec = toy_spec();
  spec.dist_info.push_back({.path = "RECORD", .content = {}, .source = {}});
  check_refused(spec, "RECORD' is listed twice");
  spec = toy_spec();
  spec.files.push_back({.path = "toy_ops/gone", .content = {}, .source = "/nonexistent/file"});
  check_refused(spec, "/nonexistent/file");
  const Variable epoch("SOURCE_DATE_EPOCH", "yesterday");
  check_refused(toy_spec(), "SOURCE_DATE_EPOCH is 'yesterday'");
}

TEST_CASE("a wheel with another project's METADATA, scripts and top_level.txt") {
  const ds::TempDir folder;
  ds::WheelSpec spec = toy_spec();
  spec.metadata =
      "Metadata-Version: 2.1\nName: Toy.Ops\nVersion: 0.1.0\nRequires-Dist: hjson\n"
      "Provides-Extra: all\n\nVersion: 0.1.0 is prose\n";
  spec.data = {{.path = "scripts/toy", .content = "#!python\n", .source = {}, .executable = true}};
  spec.dist_info.push_back({.path = "top_level.txt", .content = "toy\n", .source = {}});
  const fs::path file = ds::write_wheel(spec, folder.path());
  const std::string stem = "toy_ops-0.1.0+g1a2b.cpu";
  std::map<std::string, std::string> found = contents(file);
  CHECK(found[stem + ".dist-info/METADATA"] ==
        "Metadata-Version: 2.1\nName: Toy.Ops\nVersion: 0.1.0+g1a2b.cpu\nRequires-Dist: hjson\n"
        "Provides-Extra: all\n\nVersion: 0.1.0 is prose\n");
  CHECK(found[stem + ".dist-info/top_level.txt"] == "toy\n");
  CHECK(found[stem + ".data/scripts/toy"] == "#!python\n");
  for (const ds::WheelEntry& entry : ds::open_wheel(file).entries) {
    if (entry.path == stem + ".data/scripts/toy")
      CHECK(entry.mode == 0755);
  }
}

TEST_CASE("METADATA with another version") {
  CHECK(ds::with_version("Version: 1.2.3.4\nName: a\nversion:5\n\nVersion: prose\n", "3.0") ==
        "Version: 3.0\nName: a\nversion: 3.0\n\nVersion: prose\n");
}

TEST_CASE("METADATA that is not that of the wheel is refused") {
  ds::WheelSpec spec = toy_spec();
  spec.metadata = "Metadata-Version: 2.1\nName: other\nVersion: 1\n";
  check_refused(spec, "its METADATA is that of 'other'");
  spec.metadata = "Metadata-Version: 2.1\nVersion: 1\n\nName: toy_ops\n";
  check_refused(spec, "its METADATA has no Name");
  spec.metadata = "Metadata-Version: 2.1\nName: toy_ops\nVersion: 1\nversion: 2\n";
  check_refused(spec, "its METADATA has Version twice");
  spec.metadata = "Metadata-Version: 2.1\nName: toy_ops\nVersion: 1\n";
  spec.metadata += '\0';
  check_refused(spec, "has characters that are no text");
  spec = toy_spec();
  spec.data = {{.path = "../x", .content = {}, .source = {}}};
  check_refused(spec, "its name climbs");
}

TEST_CASE("a folder that cannot be written is an error with its path") {
  const ds::TempDir folder;
  ds::write_file(folder.path() / "file", "x");
  CHECK_THROWS_AS(ds::write_wheel(toy_spec(), folder.path() / "file"), ds::Error);
}

TEST_CASE("Python's zipfile and pip accept the wheel") {
  if (!ds::needs("command -v python3", "Python accepts the wheel", "no python3"))
    return;
  const ds::TempDir folder;
  const std::string wheel = ds::shell_quote(ds::write_wheel(toy_spec(), folder.path()).string());
  const ds::ShellResult tested = ds::shell("python3 -m zipfile -t " + wheel);
  INFO(tested.output);
  CHECK(tested.status == 0);
  const ds::ShellResult order = ds::shell(
      "python3 -c 'import zipfile,sys\n"
      "z = zipfile.ZipFile(sys.argv[1]).infolist()\n"
      "assert [i.filename for i in z][-1].endswith(\"RECORD\")\n"
      "body = [\".dist-info\" in i.filename for i in z]\n"
      "assert body == sorted(body)\n"
      "assert not any(i.flag_bits & 8 for i in z), \"data descriptor\"\n"
      "assert not any(i.extra for i in z), \"extra field\"\n"
      "assert all(i.date_time == (1980, 1, 1, 0, 0, 0) for i in z)' " +
      wheel);
  CAPTURE(order.output);
  CHECK(order.status == 0);

  if (!ds::needs("python3 -m pip --version", "pip installs the wheel", "no pip"))
    return;
  const std::string target = ds::shell_quote((folder.path() / "target").string());
  const ds::ShellResult installed =
      ds::shell("PIP_DISABLE_PIP_VERSION_CHECK=1 python3 -m pip install --no-index --target " +
                target + " " + wheel + " && PYTHONPATH=" + target +
                " python3 -c 'import toy_ops, importlib.metadata as m; print(toy_ops.answer, "
                "m.version(\"toy_ops\"))'");
  CAPTURE(installed.output);
  CHECK(installed.status == 0);
  CHECK(installed.output.find("42 0.1.0+g1a2b.cpu") != std::string::npos);
}
