// SPDX-License-Identifier: Apache-2.0
//
// The journal's file: what it may meet where it lies.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cstring>
#include <map>
#include <random>

#include "journal/journal.h"
#include "journal/place.h"
#include "support/journal_fixture.h"

using namespace ds;

namespace {

namespace fs = std::filesystem;

struct Folder {
  TempDir temporary;
  fs::path path = temporary.path();
  fs::path file = path / "journal.db";
};

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

void write_some(const fs::path& folder) {
  Journal journal = Journal::open(folder);
  journal.begin_run(some_run(), {{sha('a'), "a.whl", "/a.whl", 1}}, some_hosts(50));
  journal.keep(some_run().id, RunText::audit, std::string(20000, 'x'));
  for (const char* state : {"staged", "verified", "active", "confirmed"})
    journal.announce(some_run().id, some_wave(50, "", state, "step"));
  journal.decide(some_run().id, {"confirm", {"n0", "n1"}, "all proved", 0, 0});
}

/// Every call of a reader, in turn.
void read_all(const JournalReader& reader) {
  for (const RunRecord& run : reader.runs(100)) {
    life_of(run);
    reader.run(run.id);
    for (const RunText which : {RunText::policy, RunText::audit, RunText::report})
      reader.text(run.id, which);
    reader.artifacts(run.id);
    reader.hosts(run.id);
    reader.transitions(run.id);
    reader.decisions(run.id);
  }
}

std::string read_refusal(const fs::path& folder) {
  return refusal_of([&] {
    const auto reader = JournalReader::open(folder);
    REQUIRE(reader);
    read_all(*reader);
  });
}

/// Contents and times of all files.
std::map<std::string, std::string> listing(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    struct stat status {};
    ::stat(entry.path().c_str(), &status);
    files[entry.path().filename()] = std::to_string(status.st_mtim.tv_nsec) + " " +
                                     std::to_string(status.st_ino) + read_file(entry.path());
  }
  return files;
}

std::string write_refusal(const fs::path& folder) {
  return refusal_of([&] { Journal::open(folder); });
}

}  // namespace

TEST_CASE("journal file: a reader makes and writes nothing") {
  const Folder folder;
  CHECK_FALSE(JournalReader::open(folder.path));
  CHECK(fs::is_empty(folder.path));
  write_some(folder.path);
  const auto before = listing(folder.path);
  CHECK(before.size() == 3);
  CHECK(read_refusal(folder.path) == "no error");
  CHECK(listing(folder.path) == before);

  SUBCASE("the file alone, as a copy is") {
    fs::remove(folder.path / "journal.db-wal");
    fs::remove(folder.path / "journal.db-shm");
    CHECK(read_refusal(folder.path) == "no error");
    CHECK(listing(folder.path).size() == 1);
  }
  SUBCASE("beside a writer, whose last word counts") {
    const OtherWriter writer(folder.path, "",
                             [](Journal& journal) { journal.set_epoch(some_run().id, 5); });
    REQUIRE(writer.ready);
    const auto during = listing(folder.path);
    CHECK(JournalReader::open(folder.path)->run("2026").epoch == 5);
    CHECK(listing(folder.path) == during);
  }
  SUBCASE("a copy with its log, taken beside a writer") {
    const OtherWriter writer(folder.path, "",
                             [](Journal& journal) { journal.set_epoch(some_run().id, 5); });
    REQUIRE(writer.ready);
    const Folder copy;
    for (const char* name : {"journal.db", "journal.db-wal"})
      fs::copy(folder.path / name, copy.path / name);
    const std::string said = read_refusal(copy.path);
    CHECK(has(said, "has a log without its shared memory"));
    CHECK(listing(copy.path).size() == 2);
    CHECK(has(by_hand(copy.file, said.substr(said.find("PRAGMA"), 21)), "0"));
    fs::copy(folder.path / "journal.db-wal", copy.path / "journal.db-wal",
             fs::copy_options::overwrite_existing);
    fs::copy(folder.path / "journal.db-shm", copy.path / "journal.db-shm",
             fs::copy_options::overwrite_existing);
    const auto copied = listing(copy.path);
    CHECK(JournalReader::open(copy.path)->run("2026").epoch == 5);
    CHECK(listing(copy.path) == copied);
  }
  SUBCASE("a folder in which this user cannot write") {
    const int status = in_child([&] {
      for (const fs::directory_entry& entry : fs::directory_iterator(folder.path))
        fs::permissions(entry.path(), fs::perms(0444));
      fs::permissions(folder.path, fs::perms(0555));
      if (::geteuid() == 0 && ::setuid(65534) != 0)
        return 3;
      read_all(*JournalReader::open(folder.path));
      const std::string said = write_refusal(folder.path);
      if (!said.starts_with("2: the journal ") || !has(said, "cannot be written"))
        std::fprintf(stderr, "%s\n", said.c_str());
      return said.starts_with("2: the journal ") && has(said, "cannot be written") ? 0 : 4;
    });
    CHECK(status == 0);
    CHECK(listing(folder.path).size() == 3);
    fs::permissions(folder.path, fs::perms(0755));
  }
}

TEST_CASE("journal file: a folder that cannot be made or written") {
  const Folder folder;
  write_file(folder.path / "file", "");
  CHECK(has(write_refusal(folder.path / "file"), "2: cannot make the folder "));
  CHECK(has(write_refusal(folder.path / "file" / "x"), "2: cannot make the folder "));
  fs::create_directory(folder.path / "closed");
  fs::permissions(folder.path, fs::perms(0755));
  fs::permissions(folder.path / "closed", fs::perms(0555));
  const int status = in_child([&] {
    if (::geteuid() == 0 && ::setuid(65534) != 0)
      return 3;
    const std::string said = write_refusal(folder.path / "closed");
    return said.starts_with("2: the journal ") && has(said, "name another folder") ? 0 : 4;
  });
  CHECK(status == 0);
}

TEST_CASE("journal file: another name, with all that a URI would take for its own") {
  const Folder folder;
  const fs::path odd = folder.path / "50% of #1?mode=memory&x" / "\xc3\xa4";
  write_some(odd);
  CHECK(fs::exists(odd / "journal.db"));
  CHECK(read_refusal(odd) == "no error");
}

TEST_CASE("journal file: one of a newer ds-deploy") {
  const Folder folder;
  write_some(folder.path);
  by_hand(folder.file, "PRAGMA user_version = 7");
  const std::string wanted = "2: the journal " + folder.file.string() +
                             " was written by a newer ds-deploy (schema 7, this one knows 2); "
                             "use that one, or name another folder";
  CHECK(read_refusal(folder.path) == wanted);
  CHECK(write_refusal(folder.path) == wanted);
}

TEST_CASE("journal file: another application's database is left as it is") {
  for (const char* mode : {"DELETE", "WAL"}) {
    const Folder folder;
    by_hand(folder.file, std::string("PRAGMA journal_mode = ") + mode +
                             "; CREATE TABLE runs (id TEXT); INSERT INTO runs VALUES ('mine')");
    const auto before = listing(folder.path);
    const std::string said = write_refusal(folder.path);
    CHECK(said == read_refusal(folder.path));
    CHECK(said == "2: the journal " + folder.file.string() +
                      " cannot be used: it is not a journal of ds-deploy; move it away, with what "
                      "else is named " +
                      folder.file.string() +
                      "* there; the truth is on the hosts, and the next run begins a new journal");
    CHECK(listing(folder.path) == before);
  }
}

TEST_CASE("journal file: what is no database") {
  for (const std::string& content :
       {std::string(), std::string("strategy: rolling\n"), std::string(5000, '\0'),
        std::string("SQLite format 3\0", 16) + std::string(84, 'x')}) {
    const Folder folder;
    write_file(folder.file, content);
    CHECK(has(write_refusal(folder.path), "2: the journal " + folder.file.string() + " cannot be"));
    CHECK(has(read_refusal(folder.path), "the truth is on the hosts"));
    CHECK(read_file(folder.file) == content);
  }
  const Folder folder;
  fs::create_directory(folder.file);
  CHECK(has(write_refusal(folder.path), "2: the journal "));
  CHECK(has(read_refusal(folder.path), "2: the journal "));
  const Folder other;
  fs::create_symlink("/nowhere/journal.db", other.file);
  CHECK(has(write_refusal(other.path), "2: the journal "));
}

TEST_CASE("journal file: planted tables and values") {
  const std::map<std::string, std::string> plants = {
      {"DROP TABLE hosts", "no such table"},
      {"ALTER TABLE runs DROP COLUMN boot", "no such column"},
      {"DROP TABLE runs; CREATE VIEW runs AS SELECT * FROM words", ""},
      {"UPDATE runs SET began = 'yesterday'", "began holds what is no number from 0 to 2534023"},
      {"UPDATE runs SET began = -1", "began holds what is no number"},
      {"UPDATE runs SET began = 9223372036854775807", "began holds what is no number"},
      {"UPDATE runs SET pid = 4194305", "pid holds what is no number"},
      {"UPDATE runs SET ended = 5, exit_status = 256", "exit_status holds what is no number"},
      {"UPDATE runs SET ended = 5", "exit_status holds what is no number"},
      {"UPDATE runs SET command = x'00'", "command holds what is no text"},
      {"UPDATE runs SET epoch = 1.5", "epoch holds what is no number"},
      {"UPDATE artifacts SET bytes = -5", "bytes holds what is no number"},
      {"UPDATE transitions SET time_ms = x'31' WHERE sequence = 151", "time_ms holds"},
      {"UPDATE transitions SET sequence = 0 WHERE sequence = 1", "sequence holds"},
      {"UPDATE decisions SET what = 7.5", "no error"},  // SQLite makes it a text
      {"UPDATE texts SET text = zeroblob(70000000)", "too big"},
      {"CREATE TRIGGER evil BEFORE UPDATE ON runs BEGIN DELETE FROM runs; END", "no error"},
  };
  const Folder good;
  write_some(good.path);
  for (const auto& [sql, wanted] : plants) {
    const std::string& planted = sql;  // Clang 14 captures no binding
    CAPTURE(planted);
    const Folder folder;
    fs::copy(good.file, folder.file);
    CHECK(by_hand(folder.file, sql).empty());
    const std::string said = read_refusal(folder.path);
    CHECK(has(said, wanted));
    CHECK((said == "no error" || has(said, "the truth is on the hosts")));
  }
  const Folder folder;
  write_some(folder.path);
  by_hand(folder.file,
          "CREATE TRIGGER evil BEFORE UPDATE ON runs BEGIN DELETE FROM runs; END;"
          "UPDATE transitions SET message = printf('%.*c', 1000000, 'x'), step = char(27, 10, 65)"
          " WHERE host = 'n0'");
  Journal journal = Journal::open(folder.path);
  journal.set_epoch(some_run().id, 3);
  CHECK(journal.runs(1).size() == 1);
  const HostRecord host = journal.hosts(some_run().id)[0];
  CHECK(host.message.size() < 5000);
  CHECK(host.step == "\\x1b A");
}

TEST_CASE("journal file: damaged anywhere, it is read or refused, never more") {
  const Folder good;
  write_some(good.path);
  CHECK(by_hand(good.file, "PRAGMA wal_checkpoint(TRUNCATE)") == "0\n");
  const std::string content = read_file(good.file);
  std::mt19937 random(7);
  int refused = 0;
  for (int round = 0; round < 150; ++round) {
    CAPTURE(round);
    std::string bad = content;
    if (round % 3 == 0) {
      bad.resize(random() % bad.size());
    } else {
      for (int left = 1 + static_cast<int>(random() % 40); left > 0; --left)
        bad[random() % bad.size()] = static_cast<char>(random());
    }
    const Folder folder;
    write_file(folder.file, bad, 0644, Outlives::process);
    const std::string read = read_refusal(folder.path);
    CHECK((read == "no error" || has(read, folder.file.string())));
    const std::string written = refusal_of([&] {
      Journal journal = Journal::open(folder.path);
      journal.begin_run(some_run("new-1"), {}, some_hosts(50));
      journal.announce("new-1", some_wave(50, "a", "b", "s"));
    });
    CHECK((written == "no error" || has(written, folder.file.string())));
    refused += read == "no error" ? 0 : 1;
  }
  CHECK(refused > 50);
  // And once it is moved away, as the message says, the next run begins a new one.
  write_file(good.file, content.substr(0, 6000));
  CHECK(has(write_refusal(good.path), "move it away"));
  for (const char* ending : {"", "-wal", "-shm"})
    fs::remove(good.file.string() + ending);
  CHECK(write_refusal(good.path) == "no error");
}

TEST_CASE("journal file: network file systems") {
  for (const auto& [type, name] : std::map<std::uint32_t, std::string>{{0x6969, "NFS"},
                                                                       {0xFF534D42, "CIFS"},
                                                                       {0xFE534D42, "SMB"},
                                                                       {0x0BD00BD0, "Lustre"},
                                                                       {0x47504653, "GPFS"},
                                                                       {0x19830326, "BeeGFS"},
                                                                       {0x00C36400, "CephFS"},
                                                                       {0x65735546, "FUSE"},
                                                                       {0xEF53, ""},
                                                                       {0x58465342, ""},
                                                                       {0x01021994, ""},
                                                                       {0x9123683E, ""},
                                                                       {0x794C7630, ""},
                                                                       {0x2FC12FC1, ""}}) {
    CHECK(network_file_system(type) == name);
  }
  CHECK(network_file_system_of("/proc").empty());

  const Folder folder;
  write_some(folder.path);  // with a log, as on a disk that was exported later
  {
    Journal journal = Journal::open(folder.path, "NFS");
    CHECK(journal.network() == "NFS");
    CHECK_FALSE(fs::exists(folder.path / "journal.db-shm"));
    CHECK_FALSE(fs::exists(folder.path / "journal.db-wal"));
    CHECK(fs::exists(folder.path / "journal.db-journal"));
    journal.announce(some_run().id, some_wave(50, "confirmed", "unchanged", "step"));
    CHECK(journal.hosts(some_run().id)[3].state == "unchanged");
    CHECK_FALSE(fs::exists(folder.path / "journal.db-wal"));
  }
  {
    const OtherWriter writer(folder.path, "NFS");
    REQUIRE(writer.ready);
    CHECK(by_hand(folder.file, "PRAGMA journal_mode") == "refused: database is locked");
    CHECK(has(refusal_of([&] { Journal::open(folder.path, "NFS"); }),
              "7: another process has the journal "));
    CHECK(has(read_refusal(folder.path), "7: another process has the journal "));
  }
  CHECK(read_refusal(folder.path) == "no error");
  CHECK(JournalReader::open(folder.path)->transitions(some_run().id).size() == 250);
  CHECK_FALSE(fs::exists(folder.path / "journal.db-wal"));
  // Back on a disk of this machine.
  Journal journal = Journal::open(folder.path);
  journal.set_epoch(some_run().id, 2);
  CHECK(by_hand(folder.file, "PRAGMA journal_mode") == "wal\n");
  CHECK(read_refusal(folder.path) == "no error");
}

TEST_CASE("journal file: a full disk") {
  // Not 0 to 2: what the test itself ends with.
  enum { cannot_mount = 10, full_at_open, other_words, lost, not_again };
  const TempDir place;
  const int status = in_child([&] {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("", "/", "", MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", place.path().c_str(), "tmpfs", 0, "size=400k") != 0)
      return int(cannot_mount);
    Journal journal = Journal::open(place.path());
    journal.begin_run(some_run(), {}, some_hosts(50));
    std::size_t kept = 0;
    std::string said = "no error";
    while (said == "no error") {
      said = refusal_of(
          [&] { journal.announce(some_run().id, some_wave(50, "a", "b", std::string(90, 's'))); });
      kept += said == "no error" ? 50 : 0;
    }
    if (said != "2: the journal " + (place.path() / "journal.db").string() +
                    " cannot be written: no space is left; make room on its file system, or name "
                    "another folder") {
      std::fprintf(stderr, "%s\n", said.c_str());
      return int(other_words);
    }
    // All that was told to be on disk is, and nothing of what was not.
    if (kept < 50 || JournalReader::open(place.path())->transitions(some_run().id).size() != kept)
      return int(lost);
    // With room again it goes on.
    ::mount("tmpfs", place.path().c_str(), "tmpfs", MS_REMOUNT, "size=4m");
    journal.announce(some_run().id, some_wave(50, "a", "b", "s"));
    return journal.transitions(some_run().id).size() == kept + 50 ? 0 : int(not_again);
  });
  if (status == cannot_mount) {
    std::printf("SKIPPED: journal file: a full disk: no tmpfs can be mounted here\n");
    return;
  }
  CHECK(status == 0);
}
