// SPDX-License-Identifier: Apache-2.0
//
// Random arguments at the C border, under the sanitizers: an error and nothing written, or
// DS_OPS_OK and no byte touched that does not belong to the call.
#include <doctest/doctest.h>

#include <type_traits>

#include "cases.h"

using ds_ops::Line;
using ds_ops::Options;

namespace {

struct Random {
  std::mt19937 bits;

  explicit Random(unsigned seed) : bits(seed) {}
  std::int64_t below(std::int64_t n) {
    return static_cast<std::int64_t>(bits() % static_cast<std::uint32_t>(n));
  }
  bool rarely() { return below(12) == 0; }
};

/// A valid size most of the time.
std::int64_t any_size(Random& random, std::int64_t usual) {
  const std::int64_t bad[] = {-1, 0, INT64_MAX, INT64_MIN, INT64_MAX / 2, std::int64_t{1} << 60};
  return random.rarely() ? bad[random.below(6)] : usual;
}

struct Call {
  std::int64_t groups, group_size;
  std::int32_t dtype, level;
  Options options;
  Line<char> values, codes, params, error;
  bool has_error;

  explicit Call(Random& random)
      : groups(1 + random.below(5)),
        group_size(random.below(40)),
        dtype(static_cast<std::int32_t>(random.below(random.rarely() ? 6 : 3))),
        level(static_cast<std::int32_t>(random.below(random.rarely() ? 6 : 1))),
        options{any_size(random, groups),
                any_size(random, group_size),
                random.bits(),
                random.bits(),
                random.rarely()        ? 5
                : random.below(2) == 0 ? 4
                                       : 8,
                random.rarely() ? 2 : static_cast<std::int32_t>(random.below(2)),
                random.rarely() ? -1 : static_cast<std::int32_t>(random.below(2)),
                0},
        values(groups * group_size * width()),
        codes(groups * ds_ops::row_bytes(group_size, options.bits == 4 ? 4 : 8)),
        params(groups * 4 * (options.type == 1 ? 2 : 1)),
        error(groups * group_size * width()),
        has_error(random.below(2) == 0) {
    for (Line<char>* line : {&values, &codes, &error}) {
      for (std::size_t i = 0; i < line->count(); ++i) {
        (*line)[i] = static_cast<char>(random.bits());
      }
    }
  }
  std::int64_t width() const { return dtype == DS_OPS_FLOAT32 ? 4 : 2; }
  /// The size of what the options tell is that of the buffers.
  bool has_right_sizes() const {
    return options.groups == groups && options.group_size == group_size;
  }
};

/// A pointer that is null, misaligned or another array's, rarely.
template <class Pointer>
Pointer any_pointer(Random& random, const Line<char>& right, const Line<char>& other) {
  char* pointer = right.data();
  if (random.rarely()) {
    // Codes are never misaligned.
    constexpr bool is_byte = std::is_same_v<Pointer, std::int8_t*> ||
                             std::is_same_v<Pointer, const std::int8_t*> ||
                             std::is_same_v<Pointer, const std::uint8_t*>;
    char* const bad[] = {nullptr, is_byte ? nullptr : pointer + 1, other.data(),
                         reinterpret_cast<char*>(UINTPTR_MAX)};
    pointer = bad[random.below(4)];
  }
  return reinterpret_cast<Pointer>(pointer);
}

struct Tally {
  int right = 0;
  int refused = 0;

  /// What was refused has changed nothing.
  void add(int code, const Call& call, const Call& before) {
    if (code == DS_OPS_OK) {
      ++right;
      return;
    }
    ++refused;
    CHECK(code < DS_OPS_CUDA);
    CHECK(call.values == before.values);
    CHECK(call.codes == before.codes);
    CHECK(call.params == before.params);
    CHECK(call.error == before.error);
  }
};

/// A call with sizes of which no buffer is must be refused before it is read: those which would be
/// valid for larger buffers are not made.
bool is_safe(const Options& options, const Call& call) {
  return call.has_right_sizes() || ds_ops::check_options(&options) != DS_OPS_OK ||
         ds_ops::element_count(options) > std::int64_t{1} << 50;
}

template <class Function>
void fuzz(unsigned seed, Function function) {
  Random random(seed);
  Tally tally;
  for (int i = 0; i < 4000; ++i) {
    const Call call(random);
    const Call before(call);
    if (is_safe(call.options, call)) {
      tally.add(function(random, call), call, before);
    }
  }
  CHECK(tally.right > 500);
  CHECK(tally.refused > 500);
}

}  // namespace

TEST_CASE("quantizer: random calls of fake quantization") {
  fuzz(1, [](Random& random, const Call& call) {
    const double eps[] = {1e-5, 0, -1, std::nan(""), HUGE_VAL};
    return ds_ops_quantizer_fake_cpu(any_pointer<void*>(random, call.values, call.values),
                                     call.dtype, random.rarely() ? nullptr : &call.options,
                                     eps[random.rarely() ? random.below(5) : 0], call.level);
  });
}

TEST_CASE("quantizer: random calls of quantization") {
  fuzz(2, [](Random& random, const Call& call) {
    const ds_ops_quantizer_swizzle swizzle{
        any_size(random, 1), any_size(random, random.below(3) == 0 ? 2 : 1), any_size(random, 1)};
    const ds_ops_quantizer_feedback feedback{
        call.has_error ? any_pointer<void*>(random, call.error, call.values) : nullptr,
        random.rarely() ? 1.5 : 0.5};
    return ds_ops_quantizer_quantize_cpu(
        any_pointer<const void*>(random, call.values, call.codes), call.dtype,
        random.rarely() ? nullptr : &call.options, swizzle, feedback,
        any_pointer<std::int8_t*>(random, call.codes, call.codes),
        any_pointer<float*>(random, call.params, call.params), call.level);
  });
}

TEST_CASE("quantizer: random calls of dequantization") {
  fuzz(3, [](Random& random, const Call& call) {
    return ds_ops_quantizer_dequantize_cpu(
        any_pointer<const std::int8_t*>(random, call.codes, call.codes),
        any_pointer<const float*>(random, call.params, call.params),
        random.rarely() ? nullptr : &call.options,
        any_pointer<void*>(random, call.values, call.values), call.dtype, call.level);
  });
}

TEST_CASE("quantizer: random calls of dequantization without a sign") {
  fuzz(4, [](Random& random, const Call& call) {
    const Line<char> scales(call.groups * call.width()), least(call.groups * call.width());
    return ds_ops_quantizer_dequantize_unsigned_cpu(
        any_pointer<const std::uint8_t*>(random, call.codes, call.codes),
        any_pointer<const void*>(random, scales, scales),
        any_pointer<const void*>(random, least, least), random.rarely() ? nullptr : &call.options,
        any_pointer<void*>(random, call.values, call.values), call.dtype, call.level);
  });
}

TEST_CASE("quantizer: random calls of the reduction") {
  fuzz(5, [](Random& random, const Call& call) {
    const std::int64_t count = 1 + random.below(3);
    const int bits = call.options.bits == 4 ? 4 : 8;
    const std::int64_t columns = call.options.type == 1 ? 2 : 1;
    const Line<char> codes(count * ds_ops::row_bytes(call.groups * call.group_size, bits));
    const Line<char> params(count * 4 * columns);
    std::memset(params.data(), 0x3f, params.count());
    const std::int64_t told = any_size(random, count);
    const ds_ops_quantizer_shards shards{any_pointer<const std::int8_t*>(random, codes, codes),
                                         any_pointer<const float*>(random, params, params),
                                         told > 0 && told < 100 ? count : told, any_size(random, 1),
                                         any_size(random, call.groups * call.group_size)};
    const ds_ops_quantizer_feedback feedback{call.has_error ? call.error.data() : nullptr,
                                             random.rarely() ? -0.5 : 0.5};
    return ds_ops_quantizer_reduce_cpu(
        shards, random.rarely() ? nullptr : &call.options, feedback, call.dtype,
        any_pointer<std::int8_t*>(random, call.codes, call.codes),
        any_pointer<float*>(random, call.params, call.params), call.level);
  });
}
