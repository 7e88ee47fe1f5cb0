// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <optional>
#include <random>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/text.h"
#include "support/shell.h"
#include "wheel/record.h"
#include "wheel/wheel.h"
#include "wheel/wheel_name.h"

namespace {

namespace fs = std::filesystem;

const std::string wheel_name = "toy-1.0-py3-none-any.whl";

struct Refusal {
  std::string says;
  ds::ExitStatus status = ds::ExitStatus::usage;
};

/// Every wheel that hostile.py writes and that must be refused, with what the message must say.
const std::map<std::string, Refusal>& refusals() {
  static const std::map<std::string, Refusal> table = {
      {"duplicate", {"'toy.py': its name is there twice"}},
      {"climbs", {"'../evil.py': its name climbs"}},
      {"climbs_inside", {"'pkg/../../evil.py': its name climbs"}},
      {"absolute", {"'/etc/evil': its name is absolute"}},
      {"empty_component", {"'pkg//mod.py': its name has an empty component"}},
      {"backslash", {"backslash"}},
      {"control", {"control characters"}},
      {"newline", {"control characters"}},
      {"symlink", {"'toy/link': it is a symbolic link"}},
      {"device", {"'toy/dev': it is a special file"}},
      {"file_and_folder", {"'toy' is both a file and a folder"}},
      {"two_for_one_place", {"'toy-1.0.data/purelib/toy.py' and 'toy.py' are for one place"}},
      {"merged_twice",
       {"'toy-1.0.data/platlib/a.py' and 'toy-1.0.data/purelib/a.py' are for one place"}},
      {"merged_over_dist_info", {"WHEEL' are for one place"}},
      {"merged_into_file", {"'toy.py' is both a file and a folder"}},
      {"no_record", {"toy-1.0.dist-info has no RECORD"}},
      {"no_wheel_file", {"toy-1.0.dist-info has no WHEEL"}},
      {"no_metadata", {"toy-1.0.dist-info has no METADATA"}},
      {"no_dist_info", {"it has no .dist-info"}},
      {"two_dist_infos", {"it has 2 .dist-info"}},
      {"format_two", {"its format is '2.0', not 1.x"}},
      {"other_name", {"METADATA says that it is 'boy'"}},
      {"other_version", {"its version is '1.1'"}},
      {"unlisted", {"RECORD does not list extra.py"}},
      {"listed_missing", {"RECORD lists gone.py, which is not there"}},
      {"listed_twice", {"RECORD lists toy.py twice"}},
      {"hash_missing", {"no SHA-256 of toy.py"}},
      {"hash_md5", {"no SHA-256 of toy.py"}},
      {"bad_csv", {"line 5: a quote is never closed"}},
      {"two_fields", {"line 5: 2 fields where path, hash and size belong"}},
      {"bad_size", {"line 1: 'twelve' is no size"}},
      {"mismatch_hash", {"toy.py is not what RECORD says", ds::ExitStatus::key_refused}},
      {"mismatch_size", {"toy.py is not what RECORD says", ds::ExitStatus::key_refused}},
      {"encrypted", {"'toy.py': it is encrypted"}},
      {"truncated", {"it is no zip archive, or it was cut short"}},
      {"truncated_tail", {"it is no zip archive, or it was cut short"}},
      {"bad_crc", {"'toy.py': the archive is damaged"}},
      {"text", {"it is no zip archive"}},
      {"empty", {"it is no zip archive"}},
  };
  return table;
}

/// Writes the cases once; false, and a line that says why, without Python.
bool write_cases(const fs::path& folder, const std::string& test) {
  if (!ds::needs("command -v python3", test, "no python3"))
    return false;
  const ds::ShellResult made = ds::shell("python3 " DS_TESTS_DIR "/data/wheel/hostile.py " +
                                         ds::shell_quote(folder.string()));
  INFO(made.output);
  REQUIRE(made.status == 0);
  return true;
}

/// Opens a file that may be anything: a Wheel or an Error, nothing else.
std::optional<ds::Wheel> try_open(const fs::path& file) {
  try {
    return ds::open_wheel(file);
  } catch (const ds::Error& error) {
    CHECK_FALSE(error.what().empty());
    CHECK(ds::clean(error.what()) == error.what());
    return std::nullopt;
  }
}

std::vector<std::string> hashes(const ds::Wheel& wheel) {
  std::vector<std::string> out;
  for (const ds::WheelEntry& entry : wheel.entries)
    out.push_back(entry.path + entry.sha256);
  return out;
}

}  // namespace

TEST_CASE("wheel names are taken apart, other names are not") {
  const auto name = ds::parse_wheel_name("ds_ops-0.1.0+g1a.cpu-1b-py3-none-linux_x86_64.whl");
  REQUIRE(name);
  CHECK(name->name == "ds_ops");
  CHECK(name->version == "0.1.0+g1a.cpu");
  CHECK(name->build == "1b");
  CHECK(name->tag == "py3-none-linux_x86_64");
  CHECK(ds::parse_wheel_name("six-1.16.0-py2.py3-none-any.whl"));
  for (const char* bad :
       {"x.whl", "ds_ops-0.1.0.whl", "a-1-py3-none-any.zip", "a--py3-none-any.whl",
        "a-1-b-py3-none-any.whl", "a-1-py3-none-.whl", "a-x-py3-none-any.whl",
        "-1-py3-none-any.whl", "a b-1-py3-none-any.whl", "a-1-py3-none-any-c-d.whl", ""}) {
    INFO(bad);
    CHECK_FALSE(ds::parse_wheel_name(bad));
  }
}

TEST_CASE("versions are normalised as PEP 440 says") {
  const std::pair<const char*, const char*> cases[] = {
      {"1.0", "1.0"},
      {"v1.0", "1.0"},
      {"01.002", "1.2"},
      {"0!1.0", "1.0"},
      {"1!1.0", "1!1.0"},
      {"1.0-RC1", "1.0rc1"},
      {"1.0.alpha", "1.0a0"},
      {"1.0-preview_3", "1.0rc3"},
      {"1.0-4", "1.0.post4"},
      {"1.0r4", "1.0.post4"},
      {"1.0.post", "1.0.post0"},
      {"1.0b2-post3.DEV04", "1.0b2.post3.dev4"},
      {"0.1.0+g1a2b3c4d5.cpu", "0.1.0+g1a2b3c4d5.cpu"},
      {"1.0+0012345", "1.0+12345"},
      {"1.0+Cu_13-X", "1.0+cu.13.x"},
  };
  for (const auto& one : cases) {
    INFO(one.first);
    CHECK(ds::normalised_version(one.first) == one.second);
  }
  for (const char* bad :
       {"", "x", "1.", "1..0", "1.0+", "1.0+a..b", "1.0+a b", "1.0foo", "!1", "+a"}) {
    INFO(bad);
    CHECK_FALSE(ds::normalised_version(bad));
  }
}

TEST_CASE("RECORD survives commas, quotes and line ends") {
  const std::vector<ds::RecordLine> entries = {
      {"a,b.py", "sha256=x", 3}, {"say \"hi\"", "sha256=y", 0}, {"x/RECORD", "", std::nullopt}};
  const std::string text = ds::record_text(entries);
  CHECK(text == "\"a,b.py\",sha256=x,3\n\"say \"\"hi\"\"\",sha256=y,0\nx/RECORD,,\n");
  CHECK(ds::parse_record(text, "RECORD") == entries);
  CHECK(ds::parse_record("a,sha256=x,1\r\n\r\nb,,", "RECORD").size() == 2);
}

TEST_CASE("sound wheels of other tools open") {
  const ds::TempDir folder;
  if (!write_cases(folder.path() / "cases", "sound wheels of other tools open"))
    return;
  const auto open = [&](const std::string& name) {
    return ds::open_wheel(folder.path() / "cases" / name / wheel_name);
  };
  const ds::Wheel wheel = open("sound");
  CHECK(wheel.name == "toy");
  CHECK(wheel.version == "1.0");
  CHECK(wheel.tag == "py3-none-any");
  CHECK(wheel.requires_python == ">=3.8");
  CHECK(wheel.requires_dist == std::vector<std::string>{"numpy", "hjson (>=3) ; extra == 'x'"});
  CHECK(wheel.dist_info == "toy-1.0.dist-info");
  CHECK(wheel.bytes == fs::file_size(wheel.file));
  CHECK(wheel.sha256 == ds::hex(ds::sha256_file(wheel.file)));
  REQUIRE(wheel.entries.size() == 4);
  CHECK(wheel.entries[3].path == "toy.py");
  CHECK(wheel.entries[3].size == 12);
  CHECK(wheel.entries[3].sha256 == ds::sha256_hex("answer = 42\n"));
  CHECK(std::is_sorted(wheel.entries.begin(), wheel.entries.end(),
                       [](const auto& a, const auto& b) { return a.path < b.path; }));
  std::map<std::string, std::string> seen;
  ds::read_wheel(wheel, [&](const ds::WheelEntry& entry, std::string_view content) {
    CHECK(entry.size == content.size());
    seen[entry.path] = content;
  });
  CHECK(seen.size() == 4);
  CHECK(seen["toy.py"] == "answer = 42\n");

  CHECK(open("sound_folders").entries.size() == 5);
  CHECK(open("sound_case").entries.size() == 5);
  CHECK(open("sound_data").entries.size() == 5);
  CHECK(open("sound_signed").entries.size() == 5);
  CHECK(open("sound_utf8").entries[0].path ==
        "pkg/gr\xC3\xBC\xC3\x9F"
        "e.py");
  CHECK(open("sound_executable").entries.back().mode == 0755);
  CHECK(open("sound_executable").entries.front().mode == 0644);
}

TEST_CASE("hostile, damaged and lying wheels are refused with a reason") {
  const ds::TempDir folder;
  if (!write_cases(folder.path() / "cases", "hostile wheels are refused"))
    return;
  for (const auto& one : refusals()) {
    const std::string& name = one.first;
    const Refusal& refusal = one.second;
    INFO(name);
    try {
      ds::open_wheel(folder.path() / "cases" / name / wheel_name);
      FAIL_CHECK("was opened");
    } catch (const ds::Error& error) {
      CAPTURE(error.what());
      CHECK(error.what().find(refusal.says) != std::string::npos);
      CHECK(error.what().find(wheel_name) != std::string::npos);
      CHECK(ds::clean(error.what()) == error.what());
      CHECK_FALSE(error.fix().empty());
      CHECK(error.status() == refusal.status);
    }
  }
  std::size_t written = 0;
  for (const auto& entry : fs::directory_iterator(folder.path() / "cases")) {
    const std::string name = entry.path().filename();
    if (name.starts_with("sound"))
      continue;
    INFO(name);
    CHECK(refusals().contains(name));
    ++written;
  }
  CHECK(written == refusals().size());
}

TEST_CASE("a wheel that is missing, a folder or misnamed is refused") {
  const ds::TempDir folder;
  fs::create_directories(folder.path() / "d-1-py3-none-any.whl");
  ds::write_file(folder.path() / "x.whl", "x");
  CHECK_FALSE(try_open(folder.path() / "a-1-py3-none-any.whl"));
  CHECK_FALSE(try_open(folder.path() / "d-1-py3-none-any.whl"));
  CHECK_FALSE(try_open(folder.path() / "x.whl"));
}

TEST_CASE("a wheel that is swapped between check and use is refused") {
  const ds::TempDir folder;
  if (!write_cases(folder.path() / "cases", "a swapped wheel is refused"))
    return;
  const fs::path file = folder.path() / "cases" / "sound" / wheel_name;
  const ds::Wheel wheel = ds::open_wheel(file);
  fs::rename(folder.path() / "cases" / "mismatch_hash" / wheel_name, file);
  CHECK_THROWS_AS(ds::read_wheel(wheel, [](const ds::WheelEntry&, std::string_view) {}), ds::Error);
}

TEST_CASE("a zip bomb is stopped while it unpacks") {
  const ds::TempDir folder;
  if (!ds::needs("command -v python3", "a zip bomb is stopped", "no python3"))
    return;
  const fs::path file = folder.path() / wheel_name;
  const ds::ShellResult made = ds::shell(
      "python3 -c 'import zipfile,sys\n"
      "z = zipfile.ZipFile(sys.argv[1], \"w\", zipfile.ZIP_DEFLATED)\n"
      "with z.open(\"toy.bin\", \"w\", force_zip64=True) as f:\n"
      "    for _ in range(300): f.write(bytes(1 << 20))\n"
      "z.close()' " +
      ds::shell_quote(file.string()));
  REQUIRE(made.status == 0);
  try {
    ds::open_wheel(file);
    FAIL_CHECK("was opened");
  } catch (const ds::Error& error) {
    CHECK(error.what().find("that is a zip bomb") != std::string::npos);
    CHECK(error.status() == ds::ExitStatus::usage);
  }
}

TEST_CASE("a mutated wheel is refused, or its files are still the same") {
  const ds::TempDir folder;
  if (!write_cases(folder.path() / "cases", "mutated wheels are refused"))
    return;
  const fs::path original = folder.path() / "cases" / "sound" / wheel_name;
  const std::string sound = ds::read_file(original);
  const std::vector<std::string> expected = hashes(ds::open_wheel(original));
  const fs::path file = folder.path() / wheel_name;
  std::mt19937 random(20260101);
  for (int round = 0; round < 1000; ++round) {
    std::string bytes = sound;
    for (unsigned changes = 1 + random() % 3; changes > 0; --changes) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    if (random() % 8 == 0)
      bytes.resize(random() % bytes.size());
    std::ofstream(file, std::ios::binary) << bytes;
    const auto wheel = try_open(file);
    if (!wheel)
      continue;
    INFO(round);
    CHECK(hashes(*wheel) == expected);
  }
}
