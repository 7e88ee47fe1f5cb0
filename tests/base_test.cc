// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <poll.h>
#include <signal.h>

#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/sha256.h"
#include "base/text.h"

using namespace ds;

TEST_CASE("text: foreign text becomes harmless") {
  CHECK(clean("caf\xc3\xa9 ok\n\tx") == "caf\xc3\xa9 ok\n\tx");
  CHECK(clean("\033[2J\x9b\r\x7f") == "\\x1b[2J\\x9b\\x0d\\x7f");
  CHECK(clean("a\r\nb") == "a\nb");
  CHECK(clean("\xc0\xaf\xed\xa0\x80") == "\\xc0\\xaf\\xed\\xa0\\x80");
  CHECK(clean("\xe2\x80\xae"
              "evil") ==
        "\xEF\xBF\xBD"
        "evil");
  CHECK(clean(std::string("a\0b", 3)) == "a\\x00b");
  CHECK(clean("abcdef", 3) == "abc... (3 more bytes)");
  CHECK(clean_line("  two\nlines ") == "two lines");
}

TEST_CASE("text: versions compare as numbers") {
  CHECK(compare_versions("2.9", "2.17") < 0);
  CHECK(compare_versions("580.65.06", "580.65.6") == 0);
  CHECK(compare_versions("2.36", "2.36.0") == 0);
  CHECK(compare_versions("3.4.30", "3.4.29") > 0);
  CHECK(compare_versions("99999999999999999999999", "99999999999999999999999") == 0);
  CHECK(compare_versions("99999999999999999999998", "99999999999999999999999") < 0);
  CHECK(compare_versions("x", "") == 0);
  CHECK(compare_versions("1.x", "1") == 0);
}

TEST_CASE("text: splitting, quoting, counting") {
  CHECK(split("a,,b", ',') == std::vector<std::string>{"a", "", "b"});
  CHECK(split_words("  a \t b ") == std::vector<std::string>{"a", "b"});
  CHECK(lines("a\r\nb\n") == std::vector<std::string>{"a", "b"});
  CHECK(parse_integer("007", 0, 10) == 7);
  CHECK_FALSE(parse_integer("7x", 0, 10));
  CHECK_FALSE(parse_integer("11", 0, 10));
  CHECK(shell_quote("it's") == "'it'\\''s'");
  CHECK(shell_quote("/opt/venv") == "/opt/venv");
  CHECK(shell_quote("") == "''");
  CHECK(shell_path("~/a b/python") == "\"$HOME\"/'a b/python'");
  CHECK(shell_path("/x") == "/x");
  CHECK(count(1, "host") == "1 host");
  CHECK(count(0, "host") == "0 hosts");
  CHECK(human_bytes(41234567) == "41.2 MB");
  CHECK(human_seconds(125) == "2 min 05 s");
}

TEST_CASE("text: a slip of the finger is found, a stranger is not") {
  const std::vector<std::string> keys = {"python", "port", "transport"};
  CHECK(did_you_mean("pyhton", keys) == "python");
  CHECK_FALSE(did_you_mean("colour", keys));
}

TEST_CASE("text: templates and their callers cannot drift apart") {
  const Replacement values[] = {{"A", "1"}};
  CHECK(render("@A@ and @A@", values) == "1 and 1");
  CHECK_THROWS_AS(render("none", values), Error);
  CHECK_THROWS_AS(template_text("no such template"), Error);
}

TEST_CASE("sha256: of the beginnings of a file") {
  const TempDir folder;
  const std::filesystem::path file = folder.path() / "file";
  const std::string content = std::string((1 << 20) - 1, 'a') + "bcd";
  write_file(file, content);
  const std::set<std::uint64_t> sizes{0, 1, (1 << 20) - 1, 1 << 20, content.size(), 1 << 30};
  const auto digests = sha256_beginnings(file, sizes);
  CHECK(digests.size() == sizes.size() - 1);
  for (const auto& [size, digest] : digests)
    CHECK(hex(digest) == sha256_hex(content.substr(0, size)));
  CHECK(sha256_beginnings(folder.path() / "absent", {}).empty());
}

TEST_CASE("sha256: of each part of a file") {
  const TempDir folder;
  const std::filesystem::path file = folder.path() / "f";
  const std::string content = std::string((1 << 20) - 1, 'a') + "bcdef";
  write_file(file, content);
  for (const std::uint64_t size : {std::uint64_t{7}, std::uint64_t{1 << 19}, std::uint64_t{1 << 20},
                                   content.size() / 2, content.size(), content.size() + 1}) {
    const auto digests = sha256_parts(file, size);
    CHECK(digests.size() == (content.size() + size - 1) / size);
    for (std::size_t i = 0; i < digests.size(); ++i)
      CHECK(hex(digests[i]) == sha256_hex(content.substr(i * size, size)));
  }
  write_file(file, "");
  CHECK(sha256_parts(file, 10).empty());
}

TEST_CASE("sha256: the three spellings") {
  const Digest digest = sha256("abc");
  CHECK(hex(digest) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(base64url(digest) == "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0");
}

TEST_CASE("file: whole or not at all") {
  TempDir folder;
  const std::filesystem::path file = folder.path() / "f";
  write_file(file, "one");
  write_file(file, "two");
  CHECK(read_file(file) == "two");
  CHECK(hex(sha256_file(file)) == sha256_hex("two"));
  CHECK_THROWS_AS(read_file(folder.path()), Error);
  CHECK_THROWS_AS(read_file("/dev/zero"), Error);
  CHECK_THROWS_AS(read_file(folder.path() / "absent"), Error);
}

TEST_CASE("file: programs and folders") {
  const TempDir folder;
  const std::filesystem::path tool = folder.path() / "tool";
  write_file(tool, "#!/bin/sh\n", 0644);
  CHECK(find_program(tool.string()).empty());
  write_file(tool, "#!/bin/sh\n", 0755);
  CHECK(find_program(tool.string()) == tool);
  CHECK(find_program(folder.path().string()).empty());
  CHECK(find_program("sh").filename() == "sh");
  CHECK(find_program("no-such-program").empty());
  CHECK(find_program("").empty());
  make_folders(folder.path() / "a/b");
  make_folders(folder.path() / "a/b");
  CHECK_THROWS_AS(make_folders(tool / "b"), Error);
}

TEST_CASE("interrupt: once forgotten, a further signal interrupts again") {
  const InterruptHandlers handlers;
  const auto woken = [] {
    pollfd wait{interrupt_fd(), POLLIN, 0};
    return ::poll(&wait, 1, 0) == 1;
  };
  for (int round = 0; round < 2; ++round) {
    CHECK_NOTHROW(check_interrupt());
    CHECK_FALSE(woken());
    ::raise(SIGINT);
    CHECK(woken());
    CHECK_THROWS_AS(check_interrupt(), Interrupted);
    clear_interrupt();
  }
}

TEST_CASE("text: sizes and rates") {
  CHECK(parse_bytes("0") == 0);
  CHECK(parse_bytes("1.5K") == 1500);
  CHECK(parse_bytes("16GiB") == 16ull << 30);
  CHECK(parse_bytes("2MB") == 2'000'000);
  for (const char* none : {"", "K", "-1", "1k", "1iB", "1KM", "1Q", "inf", "99999999T"})
    CHECK_FALSE(parse_bytes(none));

  CHECK(parse_rate("0") == 0);
  CHECK(parse_rate("1") == 1024);
  CHECK(parse_rate("500") == 500 * 1024);
  CHECK(parse_rate("1.5m") == 3 << 19);
  CHECK(parse_rate("20M") == 20 << 20);
  CHECK(parse_rate("2GiB") == 2ull << 30);
  CHECK(parse_rate("10MB") == 10'000'000);
  CHECK(parse_rate("1t") == 1ull << 40);
  for (const char* none :
       {"", "M", "-1", "1iB", "1MiBs", "1KM", "1B", "nan", "0.5", "100e-3K", "99999999T"})
    CHECK_FALSE(parse_rate(none));
}
