// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "base/error.h"
#include "config/config.h"

using namespace ds;

namespace {

std::string refusal(const std::string& text) {
  try {
    read_catalog(text, "c.yaml");
  } catch (const InputError& error) {
    return error.what();
  }
  return "was read";
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("catalog: the one that came along") {
  const Catalog& catalog = builtin_catalog();
  CHECK(catalog.date.size() == 10);
  CHECK(catalog.major_of("12.8")->driver == "525.60.13");
  CHECK(catalog.major_of("12")->zstd_driver == "550.54.14");
  CHECK(catalog.major_of("14.0") == nullptr);
  CHECK(catalog.major_of("") == nullptr);
  CHECK(catalog.toolkit("12.8")->driver == "570.26");
  CHECK(catalog.toolkit("13.0")->gcc == 15);
  CHECK(catalog.toolkit("12.77") == nullptr);
  CHECK(catalog.toolkit_of_ptx("9.0") == "13.0");
  CHECK(catalog.toolkit_of_ptx("") == "");
  CHECK(catalog.gpu("8.7")->integrated);
  CHECK_FALSE(catalog.gpu("8.6")->integrated);
  CHECK(catalog.gpu("10.0")->kin == std::vector<std::string>{"10.3"});
  CHECK(catalog.gpu("1.0") == nullptr);
  // Every GPU says since when, every toolkit's number is there once, oldest first.
  for (std::size_t at = 1; at < catalog.toolkits.size(); ++at)
    CHECK(catalog.toolkits[at - 1].cuda != catalog.toolkits[at].cuda);
  CHECK(catalog.toolkits.front().cuda == "10.0");
  for (const Catalog::Gpu& gpu : catalog.gpus)
    CHECK_FALSE(gpu.first.empty());
}

TEST_CASE("catalog: one of the caller's") {
  const Catalog catalog = read_catalog(
      "catalog: ds-deploy.catalog/1\ntoolkits:\n  - {cuda: '14.10', driver: '700.1'}\n"
      "  - {cuda: '14.2', ptx_isa: '10.2', gcc: 17}\ngpus:\n"
      "  - {capability: '13.0', first: '14.0', integrated: true, models: [X100]}\n",
      "c.yaml");
  CHECK(catalog.toolkits.front().cuda == "14.2");
  CHECK(catalog.toolkits.back().cuda == "14.10");
  CHECK(catalog.toolkit_of_ptx("10.2") == "14.2");
  CHECK(catalog.gpu("13.0")->models == std::vector<std::string>{"X100"});
}

TEST_CASE("catalog: what is no catalog") {
  CHECK(has(refusal("a: 1\n"), "unknown key 'a'"));
  CHECK(has(refusal("date: x\n"), "it is no catalog of a kind known here"));
  CHECK(has(refusal("[1]\n"), "a list where keys and values are wanted"));
  const std::string head = "catalog: ds-deploy.catalog/1\n";
  CHECK(has(refusal(head + "toolkits: 3\n"), "a text where a list is wanted"));
  CHECK(has(refusal(head + "toolkits: [{cuda: x}]\n"), "'x' is no version"));
  CHECK(has(refusal(head + "toolkits: [{gcc: 9}]\n"), "an entry has no cuda"));
  CHECK(has(refusal(head + "toolkits: [{cuda: '1', gcc: many}]\n"), "'many' is no number"));
  CHECK(has(refusal(head + "gpus: [{capability: '9.0', first: '1', integrated: maybe}]\n"),
            "integrated is neither true nor false"));
}
