// SPDX-License-Identifier: Apache-2.0
//
// The planning of I/Os, and a seeded fuzz at the C border: buffers of the exact size on the heap,
// files of this process alone, arguments right and wrong. An error code, or every byte right.
#include "async_io.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "piece.h"

using ds_ops::Alignment;
using ds_ops::first_piece;
using ds_ops::Piece;
using ds_ops::Route;
using ds_ops::Transfer;

namespace {

using Random = std::mt19937;

std::int64_t pick(Random& random, std::initializer_list<std::int64_t> of) {
  return of.begin()[random() % of.size()];
}

/// Names a file of the test and removes it at the end.
struct Scratch {
  std::string path = "/tmp/ds_ops-async_io_test-" + std::to_string(getpid());
  Scratch() { write({}); }
  ~Scratch() { unlink(path.c_str()); }

  void write(const std::vector<char>& content) const {
    const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK(::write(fd, content.data(), content.size()) == static_cast<ssize_t>(content.size()));
    close(fd);
  }

  std::vector<char> read() const {
    const int fd = open(path.c_str(), O_RDONLY);
    std::vector<char> content(static_cast<std::size_t>(lseek(fd, 0, SEEK_END)));
    CHECK(pread(fd, content.data(), content.size(), 0) == static_cast<ssize_t>(content.size()));
    close(fd);
    return content;
  }
};

std::vector<char> bytes(Random& random, std::int64_t size) {
  std::vector<char> content(static_cast<std::size_t>(size));
  for (char& byte : content) {
    byte = static_cast<char>(random());
  }
  return content;
}

/// A handle with its threads.
struct Handle {
  ds_ops_async_io* native = nullptr;
  std::vector<std::thread> threads;

  int open(const ds_ops_async_io_options& options) {
    const int code = ds_ops_async_io_open(&options, &native);
    for (int i = 0; code == DS_OPS_OK && i < options.threads; ++i) {
      threads.emplace_back([this] { CHECK(ds_ops_async_io_work(native) == DS_OPS_OK); });
    }
    return code;
  }
  ~Handle() {
    if (native != nullptr) {
      CHECK(ds_ops_async_io_close(native) == DS_OPS_OK);
      for (std::thread& thread : threads) {
        thread.join();
      }
      CHECK(ds_ops_async_io_free(native) == DS_OPS_OK);
    }
  }
};

ds_ops_async_io_options random_options(Random& random) {
  const auto small = [&](std::initializer_list<std::int64_t> of) {
    return static_cast<std::int32_t>(pick(random, of));
  };
  return {pick(random, {4096, 4096, 8192, 65536, 1 << 20, 0, -4096, 4097, INT64_MAX}),
          small({1, 2, 7, 32, 0, -1, INT32_MAX}),
          small({1, 2, 4, 0, 65}),
          small({0, 1, -7}),
          small({0, 1, 99}),
          small({0, 1, 2, 3, -1})};
}

bool is_right(const ds_ops_async_io_options& options) {
  return options.block_size >= 4096 && options.block_size % 4096 == 0 &&
         options.block_size <= 1 << 30 && options.queue_depth >= 1 && options.queue_depth <= 4096 &&
         options.threads >= 1 && options.threads <= 64 && options.engine >= 0 &&
         options.engine <= 2;
}

std::int64_t wait_for(const Handle& handle, std::int64_t id, int& code) {
  ds_ops_async_io_result result = {};
  code = ds_ops_async_io_wait(handle.native, id, -1, &result);
  CHECK(code == DS_OPS_OK);
  code = result.code;
  return result.bytes;
}

/// One request with random arguments and what it must have done.
void one_request(Random& random, const Handle& handle, const Scratch& scratch) {
  std::vector<char> content = bytes(random, pick(random, {0, 1, 4095, 4096, 70001}));
  scratch.write(content);
  const std::int64_t real = pick(random, {0, 1, 100, 4096, 5000, 66000});
  const std::int64_t size = pick(random, {real, real, real, real, -1, INT64_MIN, INT64_MAX});
  const std::int64_t offset =
      pick(random, {0, 0, 1, 4000, 4096, 65536, -1, INT64_MIN, INT64_MAX, INT64_MAX - 4096});
  const int flags = static_cast<int>(
      pick(random, {O_RDWR, O_RDWR | O_DIRECT, O_RDONLY, O_WRONLY, O_WRONLY | O_APPEND}));
  const int fd = open(scratch.path.c_str(), flags);
  const std::vector<char> before = bytes(random, real);
  const std::unique_ptr<char[]> memory(new char[static_cast<std::size_t>(real)]);
  std::copy(before.begin(), before.end(), memory.get());
  const bool by_path = random() % 2 == 0;
  ds_ops_async_io_request request = {random() % 8 == 0 ? nullptr : memory.get(),
                                     size,
                                     offset,
                                     by_path ? scratch.path.c_str() : nullptr,
                                     random() % 8 == 0 ? -1 : fd,
                                     static_cast<std::int32_t>(pick(random, {0, 0, 1, 1, 2, -1})),
                                     0};
  std::int64_t id = 0;
  int code = ds_ops_async_io_submit(handle.native, &request, &id);
  std::int64_t done = 0;
  if (code == DS_OPS_OK) {
    REQUIRE(size == real);
    done = wait_for(handle, id, code);
    CHECK(ds_ops_async_io_wait(handle.native, id, 0, nullptr) == DS_OPS_NULL_POINTER);
  }
  close(fd);
  const bool write = request.operation == DS_OPS_ASYNC_IO_WRITE;
  std::vector<char> expected = write ? content : before;
  if (code == DS_OPS_OK) {
    REQUIRE((done == size && offset >= 0));
    const std::size_t at = static_cast<std::size_t>(offset);
    if (write && size > 0) {
      expected.resize(std::max(content.size(), at + before.size()));
      std::memcpy(expected.data() + at, before.data(), before.size());
    } else if (!write && size > 0) {
      REQUIRE(at + expected.size() <= content.size());
      std::memcpy(expected.data(), content.data() + at, expected.size());
    }
  }
  if (code == DS_OPS_OK || done == 0) {
    const std::vector<char> now(memory.get(), memory.get() + real);
    CHECK((write ? scratch.read() : now) == expected);
    CHECK((write ? now : scratch.read()) == (write ? before : content));
  }
}

}  // namespace

TEST_CASE("async_io: pieces cover a transfer once, and fit their route") {
  Random random(7);
  for (int round = 0; round < 20000; ++round) {
    const Alignment alignment = {pick(random, {4096, 65536}), pick(random, {1, 4, 512, 4096})};
    const std::int64_t block = alignment.file * pick(random, {1, 3, 16});
    const std::int64_t bounce = std::min(block, alignment.file * pick(random, {1, 2}));
    Transfer rest = {reinterpret_cast<char*>(std::uintptr_t{1} << 32) + random() % 9000,
                     static_cast<std::int64_t>(random() % 200000),
                     static_cast<std::int64_t>(random() % 400000 + 1), random() % 2 == 0};
    const std::int64_t end = rest.offset + rest.bytes;
    while (rest.bytes > 0) {
      const Piece piece = first_piece(rest, alignment, block, bounce);
      REQUIRE((piece.memory == rest.memory && piece.offset == rest.offset));
      REQUIRE((piece.bytes > 0 && piece.bytes <= rest.bytes && piece.bytes <= block));
      const bool whole = piece.offset % alignment.file == 0 && piece.bytes % alignment.file == 0;
      const auto address = reinterpret_cast<std::intptr_t>(piece.memory);
      if (piece.route == Route::direct) {
        REQUIRE((whole && address % alignment.memory == 0));
      } else if (piece.route == Route::bounce) {
        REQUIRE((whole || !rest.write));
        REQUIRE(piece.offset % alignment.file + piece.bytes <= bounce);
      } else {
        REQUIRE((rest.write && !whole));
      }
      rest.memory += piece.bytes;
      rest.offset += piece.bytes;
      rest.bytes -= piece.bytes;
    }
    REQUIRE(rest.offset == end);
  }
}

TEST_CASE("async_io: fuzzed arguments give an error or the right bytes") {
  Random random(11);
  const Scratch scratch;
  int worked = 0;
  for (int round = 0; round < 300; ++round) {
    const ds_ops_async_io_options options = random_options(random);
    Handle handle;
    const int code = handle.open(options);
    CHECK((code == DS_OPS_OK || code > DS_OPS_ERRNO) == is_right(options));
    for (int i = 0; code == DS_OPS_OK && i < 40; ++i, ++worked) {
      one_request(random, handle, scratch);
    }
  }
  CHECK(worked > 300);
}

TEST_CASE("async_io: many requests in flight, told in any order, and a close among them") {
  Random random(13);
  const Scratch scratch;
  const std::vector<char> content = bytes(random, 300 * 1001);
  for (const std::int32_t engine : {DS_OPS_ASYNC_IO_URING, DS_OPS_ASYNC_IO_LINUX_AIO}) {
    scratch.write(std::vector<char>(content.size()));
    Handle handle;
    if (handle.open({4096, 5, 3, 0, 1, engine}) != DS_OPS_OK) {
      continue;
    }
    std::int64_t id = 0;
    for (std::size_t i = 0; i < 300; ++i) {
      const ds_ops_async_io_request request = {const_cast<char*>(content.data()) + i * 1001,
                                               1001,
                                               static_cast<std::int64_t>(i * 1001),
                                               scratch.path.c_str(),
                                               -1,
                                               DS_OPS_ASYNC_IO_WRITE,
                                               1};
      CHECK(ds_ops_async_io_submit(handle.native, &request, &id) == DS_OPS_OK);
    }
    CHECK(ds_ops_async_io_close(handle.native) == DS_OPS_OK);
    std::array<bool, 301> told = {};
    ds_ops_async_io_result result = {};
    while (ds_ops_async_io_wait(handle.native, 0, -1, &result) == DS_OPS_OK) {
      CHECK((result.code == DS_OPS_OK && result.bytes == 1001));
      CHECK(!told[static_cast<std::size_t>(result.id)]);
      told[static_cast<std::size_t>(result.id)] = true;
    }
    CHECK(std::count(told.begin(), told.end(), true) == 300);
    CHECK(scratch.read() == content);
  }
}
