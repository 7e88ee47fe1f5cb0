// SPDX-License-Identifier: Apache-2.0
#include "cache/cache.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "base/in_use.h"
#include "base/sha256.h"

using namespace ds;

namespace {

namespace fs = std::filesystem;

const std::string kKey = sha256_hex("a job");
const std::string kOther = sha256_hex("another job");

struct Store {
  TempDir folder;
  Cache cache{folder.path() / "cache"};
  std::map<std::string, std::string> files{{"a.cc", sha256_hex("a")}, {"b.h", sha256_hex("b")}};

  Cache::HashOf hashes() {
    return [this](std::string_view path) -> std::string_view { return files[std::string(path)]; };
  }
  InputHashes inputs() const { return {files.begin(), files.end()}; }
  std::string put(const std::string& content, const std::string& key = kKey) {
    write_file(folder.path() / "made", content);
    CHECK(cache.add(key, {sha256_hex(content), "warning: " + content}, inputs(),
                    folder.path() / "made"));
    return sha256_hex(content);
  }
  fs::path stored(const std::string& hash) const {
    return folder.path() / "cache/outputs" / hash.substr(0, 2) / hash.substr(2);
  }
  std::optional<std::string> fetched(const std::string& hash) const {
    if (!cache.fetch(hash, folder.path() / "got"))
      return std::nullopt;
    return read_file(folder.path() / "got");
  }
};

void age(const fs::path& file, int hours) {
  fs::last_write_time(file, fs::file_time_type::clock::now() - std::chrono::hours(hours));
}

}  // namespace

TEST_CASE("cache: what was added is found while its inputs are what they were") {
  Store store;
  CHECK_FALSE(store.cache.find(kKey, store.hashes()));
  const std::string one = store.put("one");
  const std::optional<MadeResult> found = store.cache.find(kKey, store.hashes());
  REQUIRE(found);
  CHECK(found->output == one);
  CHECK(found->messages == "warning: one");
  CHECK(store.fetched(one) == "one");
  CHECK_FALSE(store.cache.find(kOther, store.hashes()));
  SUBCASE("another header") {
    store.files["b.h"] = sha256_hex("c");
    CHECK_FALSE(store.cache.find(kKey, store.hashes()));
    store.put("two");
    CHECK(store.cache.find(kKey, store.hashes())->output == sha256_hex("two"));
    store.files["b.h"] = sha256_hex("b");
    CHECK(store.cache.find(kKey, store.hashes())->output == one);
  }
  SUBCASE("a header that is gone") {
    store.files["b.h"].clear();
    CHECK_FALSE(store.cache.find(kKey, store.hashes()));
  }
  SUBCASE("only so many are kept") {
    for (int i = 0; i < 9; ++i) {
      store.files["b.h"] = sha256_hex(std::to_string(i));
      store.put(std::to_string(i));
    }
    CHECK(store.cache.find(kKey, store.hashes()));
    store.files["b.h"] = sha256_hex("b");
    CHECK_FALSE(store.cache.find(kKey, store.hashes()));
  }
}

TEST_CASE("cache: messages of any shape come back") {
  Store store;
  for (const std::string text : {"", "\n", "a\nb\n", "ds-deploy.result/1\n", "0 0\n"}) {
    write_file(store.folder.path() / "made", text);
    CHECK(store.cache.add(kKey, {sha256_hex(text), text}, store.inputs(),
                          store.folder.path() / "made"));
    const std::optional<MadeResult> found = store.cache.find(kKey, store.hashes());
    REQUIRE(found);
    CHECK(found->messages == text);
  }
}

TEST_CASE("cache: an input with a line end in its name is not remembered") {
  Store store;
  write_file(store.folder.path() / "made", "x");
  CHECK_FALSE(store.cache.add(kKey, {sha256_hex("x"), ""}, {{"a\nb", sha256_hex("x")}},
                              store.folder.path() / "made"));
  CHECK_FALSE(store.cache.find(kKey, store.hashes()));
}

TEST_CASE("cache: a damaged output is dropped") {
  Store store;
  const std::string one = store.put("one"), two = store.put("two", kOther);
  write_file(store.stored(one), "owe");
  SUBCASE("when it is fetched") {
    CHECK_FALSE(store.fetched(one));
  }
  SUBCASE("by verify") {
    CHECK(store.cache.verify() == 1);
  }
  CHECK_FALSE(fs::exists(store.stored(one)));
  CHECK(store.fetched(two) == "two");
  CHECK(store.cache.verify() == 0);
  store.put("one");
  CHECK(store.fetched(one) == "one");
}

TEST_CASE("cache: a result that is cut off anywhere is none") {
  Store store;
  store.put("one");
  const fs::path file = store.folder.path() / "cache/results" / kKey.substr(0, 2) / kKey.substr(2);
  const std::string whole = read_file(file);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    write_file(file, whole.substr(0, size));
    CHECK_FALSE(store.cache.find(kKey, store.hashes()));
  }
  write_file(file, whole.substr(0, whole.size() / 2));
  store.put("one");
  CHECK(store.cache.find(kKey, store.hashes()));
}

TEST_CASE("cache: what was not used for longest goes first") {
  Store store;
  const std::string old = store.put("old"), used = store.put("used", kOther);
  for (const fs::directory_entry& entry :
       fs::recursive_directory_iterator(store.folder.path() / "cache"))
    if (entry.is_regular_file())
      age(entry.path(), 48);
  const CacheUse before = store.cache.use();
  CHECK(before.outputs == 2);
  CHECK(before.results == 2);
  CHECK(store.cache.trim(before.bytes) == 0);
  store.cache.touch(kOther, used);
  CHECK(store.cache.trim(before.bytes / 2 + 1) > 0);
  CHECK_FALSE(store.fetched(old));
  CHECK(store.fetched(used) == "used");
  CHECK(store.cache.find(kOther, store.hashes()));
  store.cache.trim(0);
  CHECK(store.cache.use().bytes == 0);
}

TEST_CASE("cache: what a killed process left behind is dropped after a day") {
  Store store;
  const std::string one = store.put("one");
  const fs::path left = store.stored(one).string() + ".AbCdEf", young = left.string() + "2";
  write_file(left, "half");
  write_file(young, "half");
  age(left, 30);
  store.cache.trim(1'000'000);
  CHECK_FALSE(fs::exists(left));
  CHECK(fs::exists(young));
  CHECK(store.fetched(one) == "one");
}

TEST_CASE("cache: packages and sources count, and go as a whole when they are used by nobody") {
  Store store;
  const fs::path cache = store.folder.path() / "cache";
  const fs::path package = cache / "packages" / kKey, source = cache / "sources" / kOther;
  const fs::path killed = source.string() + ".0a1b2c3d", young = source.string() + ".4e5f6a7b";
  for (const fs::path& folder : {package, source, killed, young}) {
    fs::create_directories(folder / "a" / "b");
    write_file(folder / "a" / "b" / "file", "0123456789");
    fs::create_symlink("nowhere", folder / "link");
  }
  for (const fs::path& folder : {package, source, killed})
    age(folder, 30);
  const CacheUse use = store.cache.use();
  CHECK(use.packages == 1);
  CHECK(use.sources == 3);
  CHECK(use.bytes == 40);

  {
    InUse held;
    CHECK(held.hold(source));
    CHECK_FALSE(held.hold(cache / "sources" / "none"));
    // Held now, so that it was used now.
    CHECK(store.cache.trim(30) == 10);
    CHECK_FALSE(fs::exists(killed));
    CHECK(fs::exists(package));
    CHECK(store.cache.trim(20) == 10);
    CHECK_FALSE(fs::exists(package));
    CHECK(store.cache.trim(0) == 0);
    CHECK(fs::exists(source));
    CHECK(fs::exists(young));
  }
  CHECK(store.cache.trim(0) == 10);
  CHECK_FALSE(fs::exists(source));
  CHECK(fs::exists(young));
}

TEST_CASE("cache: a store that cannot be written is none") {
  const TempDir folder;
  write_file(folder.path() / "file", "x");
  const Cache cache(folder.path() / "file");
  CHECK_FALSE(cache.add(kKey, {sha256_hex("x"), ""}, {}, folder.path() / "file"));
  CHECK_FALSE(cache.fetch(sha256_hex("x"), folder.path() / "got"));
  CHECK(cache.use().bytes == 0);
  CHECK(cache.trim(0) == 0);
}

TEST_CASE("file hashes: remembered while nothing of the file changed") {
  const TempDir folder;
  const std::string file = (folder.path() / "file").string(), memory = folder.path() / "memory";
  write_file(file, "one");
  {
    FileHashes hashes(memory);
    CHECK(hashes.of(file) == sha256_hex("one"));
    CHECK(hashes.of(folder.path() / "absent") == "");
    CHECK(hashes.of(folder.path()) == "");
    hashes.save();
  }
  SUBCASE("one that was written a moment ago is not remembered") {
    CHECK_FALSE(fs::exists(memory));
  }
  SUBCASE("the same size and time, another content") {
    const fs::file_time_type time = fs::last_write_time(file);
    write_file(file, "two");
    fs::last_write_time(file, time);
    CHECK(FileHashes(memory).of(file) == sha256_hex("two"));
  }
  SUBCASE("a memory that is damaged") {
    write_file(memory, "ds-deploy.hashes/1\nabc\n");
    CHECK(FileHashes(memory).of(file) == sha256_hex("one"));
  }
  SUBCASE("within a run it is asked once, until it is forgotten") {
    FileHashes hashes;
    CHECK(hashes.of(file) == sha256_hex("one"));
    write_file(file, "two");
    CHECK(hashes.of(file) == sha256_hex("one"));
    hashes.forget(file);
    CHECK(hashes.of(file) == sha256_hex("two"));
  }
}

namespace {

/// A child that takes the lock, tells, and does not let go; killed with the object.
class Holder {
 public:
  Holder(const fs::path& file, FileLock::Means means) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      const FileLock lock(
          file, [](const std::string&) {}, means);
      const bool told = ::write(ends[1], "x", 1) == 1;
      for (; told;)
        ::pause();
      ::_exit(1);
    }
    char token = 0;
    CHECK(::read(ends[0], &token, 1) == 1);
    ::close(ends[0]);
    ::close(ends[1]);
  }
  ~Holder() { kill(); }
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;
  void kill() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    pid_ = -1;
  }
  std::string name() const { return "process " + std::to_string(pid_); }

 private:
  pid_t pid_ = -1;
};

}  // namespace

TEST_CASE("lock: one at a time; a killed owner's is free") {
  const TempDir folder;
  const fs::path file = folder.path() / "sub/lock";
  for (const FileLock::Means means : {FileLock::Means::automatic, FileLock::Means::link}) {
    {
      const FileLock lock(
          file, [](const std::string&) { CHECK(false); }, means);
    }
    Holder holder(file, means);
    std::string owner;
    const FileLock lock(
        file,
        [&](const std::string& name) {
          owner = name;
          CHECK(name == holder.name());
          holder.kill();
        },
        means);
    CHECK_FALSE(owner.empty());
  }
}

TEST_CASE("lock: by link, owners that cannot be alive") {
  const TempDir folder;
  const fs::path file = folder.path() / "lock", link = folder.path() / "lock.link";
  char host[256] = {};
  ::gethostname(host, sizeof host - 1);
  // Another boot of this machine; a number that nobody can have.
  for (const std::string& mark :
       {std::string(host) + " 1 0000-not-this-boot\n",
        std::string(host) + " 999999999 " + read_file("/proc/sys/kernel/random/boot_id")}) {
    write_file(link, mark);
    const FileLock lock(
        file, [](const std::string&) { CHECK(false); }, FileLock::Means::link);
    CHECK(read_file(link) != mark);
  }
  CHECK_FALSE(fs::exists(link));
  CHECK(fs::is_empty(folder.path()));
}

TEST_CASE("lock: a place where no lock can be made") {
  const TempDir folder;
  fs::create_directories(folder.path() / "lock");
  CHECK_THROWS_AS(FileLock(folder.path() / "lock", [](const std::string&) {}), Error);
  write_file(folder.path() / "file", "");
  try {
    const FileLock lock(folder.path() / "file/sub/lock", [](const std::string&) {});
    FAIL("a folder below a file was made");
  } catch (const Error& error) {
    CHECK(error.what() ==
          "cannot make the folder " + (folder.path() / "file/sub").string() + ": Not a directory");
    CHECK(error.fix() == "make it, let this user write there, or name another folder");
    CHECK(error.status() == ExitStatus::usage);
  }
}
