// SPDX-License-Identifier: Apache-2.0
#include "ds_ops/multi_tensor.h"

#include <doctest/doctest.h>

#include <random>
#include <vector>

using ds_ops::ColumnRule;
using ds_ops::Piece;
using ds_ops::TensorLists;
using ds_ops::TensorPack;

namespace {

/// A column of addresses that are never used: tensor i is at 64 * (i + 1).
std::vector<void*> addresses(std::size_t count) {
  std::vector<void*> found;
  for (std::size_t i = 0; i < count; ++i) {
    found.push_back(reinterpret_cast<void*>(64 * (i + 1)));
  }
  return found;
}

/// Walks all blocks of all packs: every tensor must be covered from 0 to its end, in order, each
/// block with work, in chunks of `chunk` but for the last. Returns the number of launches.
template <class Pack>
int cover(const std::vector<std::int64_t>& sizes, std::int64_t chunk, std::int64_t least) {
  const std::vector<void*> column = addresses(sizes.size());
  const TensorLists<1> lists{
      static_cast<std::int64_t>(sizes.size()), {column.data()}, sizes.data()};
  std::vector<std::int64_t> reached(sizes.size(), 0);
  std::vector<std::int64_t> visits(sizes.size(), 0);
  int launches = 0;
  std::int64_t chunks_before = 0;
  const int code =
      ds_ops::for_each_pack<Pack>(lists, chunk, least, [&](const Pack& pack, std::int64_t blocks) {
        CHECK(pack.first_chunk == chunks_before);
        for (std::int64_t block = 0; block < blocks; ++block) {
          const Piece piece = ds_ops::piece_of_block(pack, block, chunk);
          const auto tensor = static_cast<std::size_t>(pack.first_tensor + piece.tensor);
          CHECK_FALSE(pack.columns[0][piece.tensor] != column[tensor]);
          CHECK_FALSE(piece.begin != reached[tensor]);
          const std::int64_t left = sizes[tensor] - piece.begin;
          CHECK_FALSE(piece.n != static_cast<unsigned>(std::min(left, chunk)));
          CHECK_FALSE((piece.n == 0 && least == 0));
          reached[tensor] += piece.n;
          ++visits[tensor];
        }
        chunks_before += blocks;
        ++launches;
        return DS_OPS_OK;
      });
  CHECK(code == DS_OPS_OK);
  CHECK(reached == sizes);
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    CHECK_FALSE(visits[i] != ds_ops::chunk_count(sizes[i], chunk, least));
  }
  return launches;
}

}  // namespace

TEST_CASE("multi_tensor: every element of every list is in one block") {
  using Small = TensorPack<1, 3>;
  using Large = TensorPack<1, 400>;
  CHECK(cover<Small>({}, 16, 0) == 0);
  CHECK(cover<Small>({0, 0, 0, 0, 0}, 16, 0) == 0);
  CHECK(cover<Small>({0, 0, 0, 0, 0}, 16, 1) == 2);
  CHECK(cover<Small>({1, 16, 17, 0, 0, 31, 32, 33}, 16, 0) == 3);
  // 2^45 elements in as few blocks as a chunk allows.
  CHECK(cover<Small>({std::int64_t{1} << 45, 5}, std::int64_t{1} << 31, 0) == 1);
  std::mt19937_64 random(1);
  for (int run = 0; run < 200; ++run) {
    const std::int64_t chunk = 16 * static_cast<std::int64_t>(1 + random() % 4);
    std::vector<std::int64_t> sizes(random() % 900);
    for (std::int64_t& size : sizes) {
      size = static_cast<std::int64_t>(random() % 4 == 0 ? 0 : random() % 200);
    }
    const std::int64_t least = static_cast<std::int64_t>(random() % 2);
    cover<Small>(sizes, chunk, least);
    CHECK_FALSE(cover<Large>(sizes, chunk, least) > static_cast<int>(sizes.size() / 400 + 1));
  }
}

TEST_CASE("multi_tensor: a launch has no more blocks than a grid") {
  using Pack = TensorPack<1, 8>;
  const std::vector<std::int64_t> sizes(5, std::int64_t{16} << 30);
  const std::vector<void*> column = addresses(sizes.size());
  const TensorLists<1> lists{5, {column.data()}, sizes.data()};
  std::vector<std::int64_t> grids;
  int stopped = ds_ops::for_each_pack<Pack>(lists, 16, 0, [&](const Pack&, std::int64_t blocks) {
    grids.push_back(blocks);
    return grids.size() == 4 ? 77 : 0;
  });
  CHECK(stopped == 77);
  CHECK(grids == std::vector<std::int64_t>(4, std::int64_t{1} << 30));
}

TEST_CASE("multi_tensor: a pack fills the arguments") {
  constexpr int small = ds_ops::pack_capacity(4096, 5, 200);
  constexpr int large = ds_ops::pack_capacity(32764, 5, 200);
  CHECK(small == 74);
  CHECK(large == 625);
  CHECK(sizeof(TensorPack<5, small>) + 200 <= 4096);
  CHECK(sizeof(TensorPack<5, large>) + 200 <= 32764);
}

TEST_CASE("multi_tensor: the default chunk size") {
  const auto of = [](std::vector<std::int64_t> sizes, std::int64_t most) {
    return ds_ops::default_chunk_size(static_cast<std::int64_t>(sizes.size()), sizes.data(), most);
  };
  CHECK(of({}, 0) == ds_ops::smallest_chunk);
  CHECK(of({1, 0, 7}, 0) == ds_ops::smallest_chunk);
  CHECK(of({-1, INT64_MIN, 7}, 0) == ds_ops::smallest_chunk);
  CHECK(of({4096LL * 4096 + 1}, 0) == ds_ops::smallest_chunk);
  CHECK(of({4096LL * 4097}, 0) == 4112);
  CHECK(of({INT64_MAX, INT64_MAX, INT64_MAX}, 0) == ds_ops::largest_chunk);
  for (const std::int64_t size : {1LL << 20, (1LL << 31) - 1, 1LL << 31, (1LL << 40) + 1}) {
    const std::int64_t chunk = of({size, 3}, 2048);
    CHECK(ds_ops::chunk_count(size, chunk, 1) <= 2048);
    CHECK(chunk % ds_ops::chunk_unit == 0);
  }
  std::int64_t chunk = 0;
  const TensorLists<1> lists{1, {nullptr}, nullptr};
  CHECK(ds_ops::choose_chunk_size(lists, -1, 0, chunk) == DS_OPS_BAD_CHUNK_SIZE);
  CHECK(ds_ops::choose_chunk_size(lists, 0, 0, chunk) == DS_OPS_OK);
  CHECK(ds_ops::choose_chunk_size(lists, INT32_MAX, 0, chunk) == DS_OPS_OK);
  CHECK(chunk == std::int64_t{1} << 31);
}

TEST_CASE("multi_tensor: what is refused") {
  std::vector<float> memory(64);
  float* line = memory.data();
  void* first[] = {line, line + 8};
  void* second[] = {line + 16, line + 24};
  std::int64_t sizes[] = {8, 8};
  const ColumnRule rules[] = {{4, true, false, false}, {4, false, true, true}};
  const auto check = [&](TensorLists<2> lists) { return ds_ops::check_tensors(lists, rules, 16); };
  CHECK(check({2, {first, second}, sizes}) == DS_OPS_OK);
  CHECK(check({2, {first, nullptr}, sizes}) == DS_OPS_OK);
  CHECK(check({0, {nullptr, nullptr}, nullptr}) == DS_OPS_OK);
  CHECK(check({-1, {first, second}, sizes}) == DS_OPS_BAD_SIZE);
  CHECK(check({2, {nullptr, second}, sizes}) == DS_OPS_NULL_POINTER);
  CHECK(check({2, {first, second}, nullptr}) == DS_OPS_NULL_POINTER);
  second[1] = nullptr;
  CHECK(check({2, {first, second}, sizes}) == DS_OPS_NULL_POINTER);
  sizes[1] = 0;
  CHECK(check({2, {first, second}, sizes}) == DS_OPS_OK);
  sizes[1] = -1;
  CHECK(check({2, {first, second}, sizes}) == DS_OPS_BAD_SIZE);
  sizes[1] = INT64_MAX / 4;
  CHECK(check({2, {first, second}, sizes}) == DS_OPS_BAD_SIZE);
  sizes[1] = 1;
  second[1] = line + 8;
  CHECK(check({2, {first, second}, sizes}) == DS_OPS_OVERLAP);
  second[1] = reinterpret_cast<char*>(line) + 2;
  CHECK(check({2, {first, second}, sizes}) == DS_OPS_MISALIGNED);
}
