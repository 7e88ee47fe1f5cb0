// SPDX-License-Identifier: Apache-2.0
//
// ds-deploy-journal(5) against a journal: its tables, its columns, its examples.
#include <doctest/doctest.h>

#include <map>
#include <set>

#include "base/text.h"
#include "journal/journal.h"
#include "support/journal_fixture.h"

using namespace ds;

namespace {

const std::filesystem::path page = DS_SOURCE_DIR "/man/ds-deploy-journal.5";

/// Columns by table, as the page lists them.
std::map<std::string, std::set<std::string>> documented() {
  std::map<std::string, std::set<std::string>> tables;
  std::string section, table;
  for (const std::string& line : lines(read_file(page))) {
    if (line.starts_with(".Sh "))
      section = line.substr(4);
    if (section != "TABLES")
      continue;
    if (line.starts_with(".Ss "))
      table = line.substr(4);
    if (!line.starts_with(".It Cm "))
      continue;
    for (const std::string& column : split_words(line.substr(7))) {
      if (column != ",")
        tables[table].insert(column);
    }
  }
  return tables;
}

std::vector<std::string> examples() {
  std::vector<std::string> found;
  bool inside = false;
  for (const std::string& line : lines(read_file(page))) {
    if (line.starts_with(".Bd -literal")) {
      found.emplace_back();
      inside = true;
    } else if (line == ".Ed") {
      inside = false;
    } else if (inside) {
      found.back() += line + "\n";
    }
  }
  return found;
}

}  // namespace

TEST_CASE("journal manual: the tables and columns are those of the file") {
  const TempDir folder;
  Journal::open(folder.path());
  const std::filesystem::path file = folder.path() / "journal.db";
  std::map<std::string, std::set<std::string>> known;
  for (const std::string& table : lines(by_hand(file,
                                                "SELECT name FROM sqlite_schema"
                                                " WHERE type = 'table'"))) {
    for (const std::string& column :
         lines(by_hand(file, "SELECT name FROM pragma_table_info('" + table + "')")))
      known[table].insert(column);
  }
  CHECK(known.size() == 8);
  CHECK(documented() == known);
  CHECK(by_hand(file, "PRAGMA user_version") == "2\n");
}

TEST_CASE("journal manual: the examples work") {
  const TempDir folder;
  const std::filesystem::path file = folder.path() / "journal.db";
  const std::vector<std::string> sql = examples();
  REQUIRE(sql.size() == 4);
  {
    Journal journal = Journal::open(folder.path());
    RunRecord old = some_run("old-1"), fresh = some_run("new-1");
    old.began = 1000000000;
    fresh.began = 4000000000;
    for (const RunRecord& run : {old, fresh}) {
      journal.begin_run(run, {{sha('a'), "a", "/a", 1}}, some_hosts(3));
      journal.announce(run.id, some_wave(3, "", "active", "activate"));
      journal.announce(run.id, {{"n1", "active", "failed", "confirm", "", 0, 0}});
      journal.decide(run.id, {"roll-back", {"n0"}, "", 0, 0});
    }
    CHECK(by_hand(file, sql[0]) == "new-1\nold-1\n");
    CHECK(by_hand(file, sql[1]) == "active\nfailed\n");
    CHECK(by_hand(file, sql[2]) == "old-1\nold-1\nnew-1\nnew-1\n");
  }
  CHECK(by_hand(file, sql[3]).empty());
  const auto reader = JournalReader::open(folder.path());
  REQUIRE(reader->runs(9).size() == 1);
  CHECK(reader->run("new").words.size() == 5);
  CHECK(reader->hosts("new-1")[1].state == "failed");
  for (const char* table : {"words", "artifacts", "hosts", "transitions", "decision_hosts"})
    CHECK(by_hand(file, std::string("SELECT DISTINCT run FROM ") + table) == "new-1\n");
}
