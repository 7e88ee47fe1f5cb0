// SPDX-License-Identifier: Apache-2.0
//
// What of a wheel is sent: which bytes, in which order, and always the same.
#include <doctest/doctest.h>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "support/seeded_wheel.h"
#include "support/shell.h"

namespace fs = std::filesystem;
using namespace ds;

namespace {

std::string unpacked(const WheelStream& stream, const TempDir& folder) {
  const std::string out = folder.path() / "unpacked";
  REQUIRE(shell("zstd -q -d -c < /proc/" + std::to_string(::getpid()) + "/fd/" +
                std::to_string(stream.content.get()) + " > " + out)
              .status == 0);
  return read_file(out);
}

}  // namespace

TEST_CASE("a stream is the content of the wanted files in the archive's order") {
  const TempDir folder;
  const Wheel wheel = seeded_wheel(folder, "1.0", {{"a", 1}, {"b", 2}, {"c", 3}}, 5000);
  std::string expected;
  std::vector<std::size_t> order;
  const std::vector<bool> wanted = only(wheel, {"demo/a.so", "demo/c.so", "METADATA"});
  read_wheel(wheel, [&](const WheelEntry& entry, std::string_view content) {
    const auto at = static_cast<std::size_t>(&entry - wheel.entries.data());
    if (!wanted[at])
      return;
    expected += content;
    order.push_back(at);
  });
  const WheelStream plain = make_stream(wheel, wanted, StreamPacking::none, folder.path());
  CHECK(plain.files.size() == 3);
  CHECK(plain.files == order);
  CHECK(plain.bytes == expected.size());
  CHECK(plain.sha256 == sha256_hex(expected));
  CHECK(hex(sha256_file(plain.file)) == plain.sha256);

  const WheelStream packed = make_stream(wheel, wanted, StreamPacking::zstd, folder.path());
  CHECK(packed.files == order);
  CHECK(packed.bytes < plain.bytes);
  CHECK(hex(sha256_file(packed.file)) == packed.sha256);
  if (needs("command -v zstd", "a packed stream", "no zstd"))
    CHECK(unpacked(packed, folder) == expected);

  const std::vector<bool> none(wheel.entries.size(), false);
  CHECK(make_stream(wheel, none, StreamPacking::none, folder.path()).bytes == 0);
}

TEST_CASE("a stream has the same bytes each time and leaves no file") {
  const TempDir folder, scratch;
  const Wheel wheel = seeded_wheel(folder, "1.0", {{"a", 1}, {"b", 2}}, 9'000'000);
  const std::vector<bool> all(wheel.entries.size(), true);
  const WheelStream one = make_stream(wheel, all, StreamPacking::zstd, scratch.path());
  const WheelStream two = make_stream(wheel, all, StreamPacking::zstd, scratch.path());
  CHECK(one.sha256 == two.sha256);
  CHECK(one.bytes == two.bytes);
  CHECK(fs::is_empty(scratch.path()));
  CHECK(one.bytes < 2 * 9'000'000 * 6 / 10);
}

TEST_CASE("a wheel that changed since it was opened gives no stream") {
  const TempDir folder, other;
  const Wheel wheel = seeded_wheel(folder, "1.0", {{"a", 1}}, 5000);
  const std::vector<bool> all(wheel.entries.size(), true);
  const auto message = [&] {
    try {
      make_stream(wheel, all, StreamPacking::zstd, folder.path());
    } catch (const Error& error) {
      CHECK(error.status() == ExitStatus::usage);
      return error.what();
    }
    return std::string("none");
  };
  fs::rename(seeded_wheel(other, "1.0", {{"a", 2}}, 5000).file, wheel.file);
  CHECK(message().find("a.so changed since the wheel was checked") != std::string::npos);
  fs::rename(seeded_wheel(other, "1.0", {{"b", 1}}, 5000).file, wheel.file);
  CHECK(message().find("b.so changed since the wheel was checked") != std::string::npos);
  fs::rename(seeded_wheel(other, "1.0", {}, 5000).file, wheel.file);
  CHECK(message().find("changed since the wheel was checked") != std::string::npos);
}
