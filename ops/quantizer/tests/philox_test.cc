// SPDX-License-Identifier: Apache-2.0
#include "philox.h"

#include <doctest/doctest.h>

#include <vector>

namespace {

void check_answer(std::uint32_t (&counter)[4], std::uint32_t key0, std::uint32_t key1,
                  const std::uint32_t (&right)[4]) {
  ds_ops::PhiloxWords<1> words;
  for (int k = 0; k < 4; ++k) {
    words.of[k][0] = counter[k];
  }
  ds_ops::philox(words, key0, key1);
  for (int k = 0; k < 4; ++k) {
    CHECK(words.of[k][0] == right[k]);
  }
}

template <int Width>
std::vector<float> numbers(std::uint64_t first) {
  float line[Width];
  ds_ops::uniforms(0x123456789abcdef0, 0xfedcba9876543210, first, line);
  return {line, line + Width};
}

template <int Width>
void compare(std::uint64_t first) {
  const std::vector<float> line = numbers<Width>(first);
  for (int w = 0; w < Width; ++w) {
    CHECK(line[static_cast<std::size_t>(w)] == numbers<1>(first + static_cast<unsigned>(w))[0]);
  }
}

}  // namespace

TEST_CASE("philox: the known answers of Random123 (kat_vectors, philox4x32 10)") {
  std::uint32_t zeros[4] = {};
  check_answer(zeros, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  std::uint32_t ones[4] = {~0u, ~0u, ~0u, ~0u};
  check_answer(ones, ~0u, ~0u, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  std::uint32_t pi[4] = {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344};
  check_answer(pi, 0xa4093822, 0x299f31d0, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("philox: an element's number does not depend on how many are asked for") {
  for (const std::uint64_t first :
       {std::uint64_t{0}, std::uint64_t{4}, std::uint64_t{0x3fffffff0}, std::uint64_t{1} << 60}) {
    compare<2>(first + 3);
    compare<4>(first);
    compare<8>(first);
    for (unsigned shift = 0; shift < 4; ++shift) {
      compare<32>(first + shift);
      compare<64>(first + shift);
    }
  }
}

TEST_CASE("philox: seed and offset are the key and the upper half of the counter") {
  const ds_ops::PhiloxWords<1> words =
      ds_ops::philox_blocks<1>(0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88);
  CHECK(words.of[0][0] == 0xd16cfe09);
  CHECK(words.of[3][0] == 0x24126ea1);
}

TEST_CASE("philox: numbers are in [0, 1)") {
  CHECK(ds_ops::uniform(0) == 0.0F);
  CHECK(ds_ops::uniform(~0u) == 1.0F - 0x1p-24F);
  CHECK(ds_ops::uniform(0x80000000) == 0.5F);
}
