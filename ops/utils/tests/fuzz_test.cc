// SPDX-License-Identifier: Apache-2.0
//
// Random arguments at the C border, under the sanitizers: an error and nothing written, or the
// right result. Every buffer has just the size that is told, so that a byte too many is found.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "utils.h"

namespace {

using Bytes = std::vector<unsigned char>;

struct Call {
  std::vector<Bytes> parts;
  std::vector<const void*> pointers;
  std::vector<std::uint64_t> sizes;
  Bytes flat;
  std::uint64_t padding = 0;

  explicit Call(std::mt19937& random) {
    for (unsigned n = random() % 6; n > 0; --n) {
      Bytes part(random() % 40);
      std::generate(part.begin(), part.end(), [&] { return static_cast<unsigned char>(random()); });
      parts.push_back(part);
    }
    for (const Bytes& part : parts) {
      pointers.push_back(part.empty() ? nullptr : part.data());
      sizes.push_back(part.size());
    }
    padding = random() % 5;
    flat.assign(std::accumulate(sizes.begin(), sizes.end(), padding), 0xee);
  }

  int flatten(std::int64_t count) {
    return ds_ops_utils_flatten(flat.data(), flat.size(), pointers.data(), sizes.data(), count,
                                padding);
  }
};

/// Makes one argument wrong; false if there is nothing to spoil.
bool spoil(Call& call, std::mt19937& random) {
  if (call.parts.empty()) {
    return false;
  }
  const std::size_t at = random() % call.parts.size();
  switch (random() % 5) {
    case 0:
      call.padding += 1 + random() % 3;
      return true;
    case 1:
      call.padding = UINT64_MAX - random() % 3;
      return true;
    case 2:
      call.sizes[at] = UINT64_MAX - random() % 100;
      return true;
    case 3:
      call.pointers[at] = nullptr;
      return call.sizes[at] > 0;
    default:
      call.pointers[at] = call.flat.data();
      return call.sizes[at] > 0;
  }
}

}  // namespace

TEST_CASE("utils: right calls go there and back") {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    Call call(random);
    REQUIRE(call.flatten(static_cast<std::int64_t>(call.parts.size())) == DS_OPS_OK);
    Bytes right;
    for (const Bytes& part : call.parts) {
      right.insert(right.end(), part.begin(), part.end());
    }
    right.resize(call.flat.size(), 0);
    REQUIRE(call.flat == right);
    std::vector<Bytes> back(call.parts.size());
    std::vector<void*> pointers;
    for (std::size_t i = 0; i < back.size(); ++i) {
      back[i].resize(call.parts[i].size());
      pointers.push_back(back[i].empty() ? nullptr : back[i].data());
    }
    REQUIRE(ds_ops_utils_unflatten(call.flat.data(), call.flat.size(), pointers.data(),
                                   call.sizes.data(),
                                   static_cast<std::int64_t>(back.size())) == DS_OPS_OK);
    REQUIRE(back == call.parts);
  }
}

TEST_CASE("utils: wrong calls are refused and write nothing") {
  std::mt19937 random(2);
  for (int round = 0; round < 5000; ++round) {
    Call call(random);
    const Bytes before = call.flat;
    if (spoil(call, random)) {
      REQUIRE(call.flatten(static_cast<std::int64_t>(call.parts.size())) != DS_OPS_OK);
      REQUIRE(call.flat == before);
    }
    REQUIRE(call.flatten(-1 - static_cast<std::int64_t>(random())) == DS_OPS_BAD_SIZE);
  }
}
