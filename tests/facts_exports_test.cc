// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <string>

#include "artifact/artifact.h"
#include "support/probe_bench.h"

using namespace ds;

namespace {

namespace fs = std::filesystem;

/// The interpreter of this machine, asked for real.
struct ExportsBench : Bench {
  fs::path kept = folder.path() / "exports";
  std::vector<std::string> asked;

  ExportsBench() { options.python = "/usr/bin/python3"; }

  Fleet fleet() {
    Fleet one;
    one.hosts.push_back(ask());
    one.hosts.front().host = inventory.hosts.front().name;
    return one;
  }
  void fetch(const Fleet& fleet, RuntimeExports& exports) {
    FakeTransport transport([&](const Endpoint& endpoint, const Exec& exec) {
      asked.push_back(endpoint.name);
      return run(exec);
    });
    fetch_exports(fleet, inventory, transport, kept, exports);
  }
};

}  // namespace

TEST_CASE("exports: what the interpreter gives is asked for once, and kept") {
  if (!needs("test -x /usr/bin/python3", "symbols of a host", "there is no /usr/bin/python3"))
    return;
  ExportsBench bench;
  const Fleet fleet = bench.fleet();
  REQUIRE_FALSE(fleet.hosts.front().runtime.empty());
  RuntimeExports exports = kept_exports(fleet, bench.kept);
  CHECK(exports.empty());
  bench.fetch(fleet, exports);
  CHECK(exports.size() == fleet.hosts.front().runtime.size());
  CHECK(bench.asked.size() == 1);
  bool has_python = false;
  for (const auto& [build_id, one] : exports) {
    has_python |= one.has("PyObject_GetAttr");
    CHECK_FALSE(one.needed().empty());
    CHECK_FALSE(one.has("no_such_symbol"));
  }
  CHECK(has_python);
  bench.fetch(fleet, exports);
  CHECK(bench.asked.size() == 1);
  RuntimeExports again = kept_exports(fleet, bench.kept);
  CHECK(again.size() == exports.size());
}

TEST_CASE("exports: they are those that the file itself tells") {
  if (!needs("test -x /usr/bin/python3", "symbols of a host", "there is no /usr/bin/python3"))
    return;
  ExportsBench bench;
  const Fleet fleet = bench.fleet();
  RuntimeExports exports;
  bench.fetch(fleet, exports);
  const fs::path python = fs::canonical("/usr/bin/python3");
  const LibrarySymbols symbols = library_symbols(read_file(python), python.string());
  const auto found = exports.find(fleet.hosts.front().runtime.at("python"));
  REQUIRE(found != exports.end());
  for (const GivenSymbol& symbol : symbols.defined)
    CHECK_MESSAGE(found->second.has(symbol.name), symbol.name);
}

TEST_CASE("exports: an answer that is cut, or about something else, is not kept") {
  Inventory inventory = local_inventory();
  Fleet fleet;
  fleet.hosts.emplace_back();
  fleet.hosts[0].python.executable = fleet.hosts[0].python.asked = "/usr/bin/python3";
  const std::string id(40, 'a'), other(40, 'b');
  fleet.hosts[0].runtime = {{"python", id}};
  TempDir folder;
  for (const std::string& head : {id + " 5", other + " 2", id + " many", std::string("../x 2")}) {
    FakeTransport transport([&](const Endpoint&, const Exec& exec) {
      const std::size_t at = exec.input.bytes.find("\"nonce\":\"") + 9;
      const std::string nonce = exec.input.bytes.substr(at, exec.input.bytes.find('"', at) - at);
      ExecResult result;
      result.out = "\n" + nonce + " python " + head + "\nlibc.so.6\nPyErr_Clear\n";
      return result;
    });
    RuntimeExports exports;
    fetch_exports(fleet, inventory, transport, folder.path() / "exports", exports);
    CHECK(exports.empty());
  }
  CHECK_FALSE(fs::exists(folder.path() / "exports"));
}
