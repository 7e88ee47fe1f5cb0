// SPDX-License-Identifier: Apache-2.0
//
// Everything that reads what others wrote, against damaged input: whatever the bytes are, it ends
// in a value or an Error. A few hundred inputs each; DS_DEPLOY_LONG=1: ten minutes for each reader
// of what strangers write, or DS_DEPLOY_FUZZ_SECONDS. What fails names its seed; DS_DEPLOY_SEED=N
// begins there, DS_DEPLOY_FUZZ_READER=NAME tries that reader alone.
#include <doctest/doctest.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

#include "artifact/artifact.h"
#include "artifact/elf.h"
#include "artifact/fatbin.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "build/depfile.h"
#include "cli/host_ops.h"
#include "config/config.h"
#include "facts/facts.h"
#include "inventory/inventory.h"
#include "packaging/packaging.h"
#include "source/answer.h"
#include "transport/known_hosts.h"
#include "wheel/metadata.h"
#include "wheel/record.h"
#include "wheel/wheel.h"

// Sanitizers end the process; this is their way to let us say what the input was.
extern "C" __attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)());

using namespace ds;

namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t short_run = 300;
constexpr std::uint64_t long_seconds = 600;
constexpr std::uint64_t brief_seconds = 20;  // of what we or the user wrote ourselves

const char* current_parser = "";
std::uint64_t current_seed = 0;

void say_seed() {
  std::cerr << "mutation: " << current_parser << ", DS_DEPLOY_SEED=" << current_seed << std::endl;
}

/// xorshift64*: the same numbers on every machine.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15u + 1) {}
  std::uint64_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545F4914F6CDD1Du;
  }
  std::size_t below(std::size_t limit) { return limit == 0 ? 0 : next() % limit; }

 private:
  std::uint64_t state_;
};

/// Where binaries have their headers and tables, more often than anywhere else.
std::size_t place(const std::string& text, Dice& dice) {
  const std::size_t edge = std::min<std::size_t>(text.size(), 2048);
  switch (dice.below(3)) {
    case 0:
      return dice.below(edge);
    case 1:
      return text.size() - 1 - dice.below(edge);
    default:
      return dice.below(text.size());
  }
}

/// Numbers at which lengths and offsets go wrong.
void put_number(std::string& text, std::size_t at, Dice& dice) {
  static constexpr std::uint64_t edges[] = {0,          1,          0x7F,       0x80,
                                            0xFF,       0x7FFF,     0xFFFF,     0x7FFFFFFF,
                                            0x80000000, 0xFFFFFFFF, ~0ull >> 1, ~0ull};
  const std::uint64_t number = edges[dice.below(std::size(edges))];
  const std::size_t width = std::size_t{1} << dice.below(4);
  std::memcpy(text.data() + at, &number, std::min(width, text.size() - at));
}

void mutate_once(std::string& text, Dice& dice) {
  if (text.empty())
    text = "\n";
  static constexpr std::string_view signs =
      "\0\n\r\t \"'#:,-=@[]{}/\\%\x1b\x7f\x80\xc3\xff"
      "09";
  const std::size_t at = place(text, dice), length = dice.below(64);
  switch (dice.below(8)) {
    case 0:
      text[at] = static_cast<char>(text[at] ^ (1 << dice.below(8)));
      break;
    case 1:
      text[at] = static_cast<char>(dice.next());
      break;
    case 2:
      text.insert(at, 1, signs[dice.below(signs.size())]);
      break;
    case 3:
      text.erase(at, 1 + length);
      break;
    case 4:
      text.insert(at, text.substr(place(text, dice), length));
      break;
    case 5:
      text.replace(at, length, text.substr(place(text, dice), length));
      break;
    case 6:
      put_number(text, at, dice);
      break;
    default:
      if (dice.below(8) == 0)
        text.resize(at);
      else
        text[at] = signs[dice.below(signs.size())];
  }
}

struct Parser {
  const char* name;
  std::string sample;
  std::function<void(const std::string&)> read;
  bool strangers = false;  ///< whoever made the wheel or owns the host wrote it
};

std::uint64_t number_in(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr || *text == '\0' ? otherwise : std::strtoull(text, nullptr, 10);
}

/// The failure, or nothing.
std::string read_one(const Parser& parser, const std::string& input) {
  try {
    parser.read(input);
  } catch (const Error& error) {
    return error.what().empty() ? "an Error that says nothing" : "";
  } catch (const std::exception& error) {
    return std::string("an exception that is no Error: ") + error.what();
  }
  return {};
}

void attack(const Parser& parser) {
  if (const char* only = std::getenv("DS_DEPLOY_FUZZ_READER");
      only != nullptr && std::string_view(parser.name) != only)
    return;
  const bool longer = number_in("DS_DEPLOY_LONG", 0) != 0;
  const std::uint64_t first = number_in("DS_DEPLOY_SEED", 1);
  if (__sanitizer_set_death_callback != nullptr)
    __sanitizer_set_death_callback(say_seed);
  current_parser = parser.name;
  CAPTURE(std::string(parser.name));
  REQUIRE_FALSE(parser.sample.empty());
  CHECK(read_one(parser, parser.sample) == "");
  const std::chrono::seconds limit(
      parser.strangers ? number_in("DS_DEPLOY_FUZZ_SECONDS", long_seconds) : brief_seconds);
  const auto begin = std::chrono::steady_clock::now();
  const auto goes_on = [&](std::uint64_t seed) {
    return seed < first + short_run || (longer && std::chrono::steady_clock::now() - begin < limit);
  };
  for (std::uint64_t seed = first; goes_on(seed); ++seed) {
    current_seed = seed;
    Dice dice(seed);
    std::string input = parser.sample;
    for (std::size_t left = 1 + dice.below(6); left > 0; --left)
      mutate_once(input, dice);
    const std::string failure = read_one(parser, input);
    CAPTURE(seed);
    CHECK(failure == "");
  }
}

void write_plainly(const fs::path& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
}

std::string data(const std::string& name) {
  return read_file(fs::path(DS_TESTS_DIR) / "data" / name);
}

const std::string nonce = "00112233445566778899aabbccddeeff";

std::string facts_sample() {
  Fleet fleet;
  for (const char* name : {"h100-ubuntu2204", "cpu-debian12"}) {
    fleet.hosts.push_back(
        parse_probe_answer(data(std::string("facts/") + name + ".answer"), nonce));
    fleet.hosts.back().host = name;
  }
  return facts_to_json(fleet);
}

const char* const hostfile_sample =
    "\xEF\xBB\xBF# cluster\r\nlocalhost slots=1 transport=local\n"
    "root@n1 slots=8 addr=10.0.0.7 port=2222 identity=~/.ssh/id python=/opt/env/bin/python "
    "tags=a,b\n\n[fe80::1%eth0]\tslots=4 env-script=/etc/profile.d/cuda.sh # zone\n";

const char* const known_hosts_sample =
    "# keys\n[127.0.0.1]:2222,n1 ssh-ed25519 "
    "AAAAC3NzaC1lZDI1NTE5AAAAIJx0N0wKpZ5Qn9l3Xq2bq8pZ0vJ4l8m1c5i3f7h9d2eS someone\n"
    "|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= ssh-ed25519 "
    "AAAAC3NzaC1lZDI1NTE5AAAAIJx0N0wKpZ5Qn9l3Xq2bq8pZ0vJ4l8m1c5i3f7h9d2eS\n"
    "@revoked *.old,!n1 ssh-ed25519 "
    "AAAAC3NzaC1lZDI1NTE5AAAAIJx0N0wKpZ5Qn9l3Xq2bq8pZ0vJ4l8m1c5i3f7h9d2eS\n";

const char* const op_records_sample =
    R"({"schema":"ds-deploy.requirements/1","ops":[{"name":"aio","kind":"cpu","self_test":)"
    R"("ds_ops.aio:self_test","archs":[],"needed":["libc.so.6"],"host_needs":["libaio.so.1"]}]})";

const std::string host_ops_sample =
    nonce +
    R"( {"packages":[{"name":"ds_ops","version":"0.1.0","folder":"/x","problem":"",)"
    R"("record":{"torch":"","cuda":""},"ops":[{"name":"utils","installed":true,"loads":true,)"
    R"("message":"","self_test":"passed","sass":["80","90a"],"ptx":["90"]}]}]})";

}  // namespace

TEST_CASE("mutations: text that people and hosts write") {
  const TempDir folder;
  const fs::path known = folder.path() / "known_hosts";
  const fs::path manifest = fs::path(DS_TESTS_DIR) / "data/config/good/adam/op.yaml";
  const Parser parsers[] = {
      {"hostfile", hostfile_sample,
       [](const std::string& text) {
         const Inventory inventory = parse_hostfile(text, "hosts");
         select_hosts(inventory, {text.substr(0, 20), {}, {text.substr(text.size() / 2)}});
       },
       true},
      {"op.yaml", read_file(manifest), [&](const std::string& text) { parse_op(text, manifest); },
       true},
      {"probe answer", data("facts/h100-ubuntu2204.answer"),
       [](const std::string& text) { parse_probe_answer(text, nonce); }, true},
      {"METADATA",
       "Metadata-Version: 2.1\nName: Toy\nVersion: 1.0\nRequires-Dist: numpy>=1.2 ; extra == 'x'\n"
       "Summary: a\n  b\n\nProse: none\n",
       [](const std::string& text) {
         metadata_problem(text, "toy");
         with_version(text, "2.0");
       },
       true},
      {"facts", facts_sample(),
       [](const std::string& text) { facts_to_json(facts_from_json(text, "facts.json")); }},
      {"known_hosts", known_hosts_sample,
       [&](const std::string& text) {
         write_plainly(known, text);
         const KnownHosts lines({known});
         lines.check("n1", 22, "a key");
         lines.check("127.0.0.1", 2222, "a key");
       }},
      {"record of ops", op_records_sample, [](const std::string& text) { read_op_records(text); }},
      {"answer about installed ops", host_ops_sample,
       [](const std::string& text) {
         ExecResult result;
         result.out = text;
         read_host_ops(result, nonce);
       }},
      {"answer about a source", data("source/answer.json"),
       [](const std::string& text) { parse_source_answer(text, "tree", "python3"); }},
      {"DeepSpeed's record",
       "version='0.19.8'\ninstalled_ops={'a': 1, 'b': False}\naccelerator_name='cuda'\n"
       "torch_info={'version': '2.11', 'cuda_version': '13.0'}\n",
       [](const std::string& text) { read_install_record(text); }},
      {"catalog", std::string(template_text("catalog.yaml")).substr(0, 3000),
       [](const std::string& text) { read_catalog(text, "catalog.yaml"); }},
      {"requirement", "requests[socks,x]>=2.8.1,==2.8.*; python_version < '3.9' and extra == 'y'",
       [](const std::string& text) {
         const auto requirement = parse_requirement(text);
         if (requirement)
           marker_holds(requirement->marker, {{"python_version", "3.11"}});
         version_fits(text.substr(text.size() / 3), text.substr(text.size() / 2));
       }},
      {"version", "1!2.0.1rc3.post4.dev5+ubuntu.1",
       [](const std::string& text) {
         const auto version = parse_version(text);
         if (version)
           (void)(compare(*version, *version) == 0);
       }},
      {"depfile", "a.o : b.cc \\\n    c\\ d.h \\\r\n e\\#f.h $$g.h\nc.h:\n",
       [](const std::string& text) { parse_depfile(text); }},
      {"RECORD", "\"a,b.py\",sha256=x,3\n\"say \"\"hi\"\"\",sha256=y,0\nx/RECORD,,\n",
       [](const std::string& text) { parse_record(text, "RECORD"); }, true},
  };
  for (const Parser& parser : parsers)
    attack(parser);
}

TEST_CASE("mutations: libraries and their device code") {
  const std::string library = data("cuda/libscale.so");
  const DeviceCode code = read_elf(library, "libscale.so").device;
  REQUIRE(code.sections.size() == 1);
  const Parser parsers[] = {
      {"ELF", library,
       [](const std::string& bytes) {
         const LibraryNeeds needs =
             inspect_library(bytes, "libscale.so", {.scan_instructions = true});
         image_for(needs.gpu, "7.0");
         library_symbols(bytes, "libscale.so");
       },
       true},
      {"fatbin", std::string(code.sections[0].bytes),
       [&code](const std::string& bytes) {
         DeviceCode damaged = code;
         damaged.sections[0].bytes = bytes;
         image_for(read_fatbin(damaged, "libscale.so").images, "9.0");
       },
       true},
  };
  for (const Parser& parser : parsers)
    attack(parser);
}

TEST_CASE("mutations: wheels") {
  const TempDir folder;
  WheelSpec spec;
  spec.name = "toy";
  spec.version = "1.0";
  spec.tag = "py3-none-any";
  spec.summary = "Toy";
  spec.files = {{"toy/__init__.py", "answer = 42\n", {}, false},
                {"toy/long.py", std::string(3000, '#') + "\n", {}, true},
                {"toy/libscale.so", data("cuda/libscale.so"), {}, true}};
  spec.dist_info = {{record_name, op_records_sample, {}, false}};
  const std::string sound = read_file(write_wheel(spec, folder.path()));
  const fs::path damaged = folder.path() / "damaged/toy-1.0-py3-none-any.whl";
  fs::create_directories(damaged.parent_path());
  attack({"wheel", sound,
          [&](const std::string& bytes) {
            write_plainly(damaged, bytes);
            inspect_json(inspect_wheel(open_wheel(damaged)));
          },
          true});
}
