// SPDX-License-Identifier: Apache-2.0
//
// Whatever way a GPU takes, and at every level of the CPU, the bits are the same.
#include <doctest/doctest.h>

#include "cases.h"

using ds_ops::BFloat16;
using ds_ops::Float16;
using ds_ops::Line;
using ds_ops::Options;
using ds_ops::Way;

namespace {

constexpr std::int64_t sizes[] = {1, 2, 3, 7, 8, 15, 64, 72, 81, 200, 512, 1003, 1600};

/// Calls work(way, whole) for all ways that a group of this size may go.
template <class Work>
void for_all_ways(std::int64_t group_size, Work work) {
  for (const Way way : ds_ops::all_ways) {
    for (const bool whole : {true, false}) {
      if (ds_ops::is_possible(way, group_size, whole)) {
        work(way, whole);
      }
    }
  }
}

template <class Work>
void for_all_levels(Work work) {
  for (int level = 0; level <= static_cast<int>(ds_ops::best_cpu_level()); ++level) {
    work(level);
  }
}

template <class Element>
void compare_fake(std::int64_t size) {
  Line<Element> start(3 * size);
  ds_ops::fill(start, 3);
  ds_ops::for_all_options(3, size, [&](const Options& options) {
    const Line<Element> right(start);
    REQUIRE(ds_ops_quantizer_fake_cpu(right.data(), ds_ops::dtype_of<Element>, &options, 1e-5, 1) ==
            DS_OPS_OK);
    const auto compare = [&](auto work) {
      const Line<Element> found(start);
      work(ds_ops::FakeCall{found.data(), ds_ops::dtype_of<Element>, &options, 1e-5});
      CHECK(found == right);
    };
    for_all_levels([&](int level) {
      compare([&](const ds_ops::FakeCall& call) {
        ds_ops_quantizer_fake_cpu(call.values, call.dtype, &options, 1e-5, level);
      });
    });
    for_all_ways(size, [&](Way way, bool whole) {
      compare([&](const ds_ops::FakeCall& call) {
        ds_ops::run_body(call.source<Element>(), call.sink<Element>(), call, way, whole);
      });
    });
  });
}

template <class Element>
struct Quantized {
  Line<std::int8_t> codes;
  Line<float> params;
  Line<Element> error;
  bool operator==(const Quantized&) const = default;
};

template <class Element>
Quantized<Element> empty(const Options& options, std::int64_t elements) {
  Quantized<Element> result{
      Line<std::int8_t>(options.groups * ds_ops::row_bytes(options.group_size, options.bits)),
      Line<float>(options.groups * (1 + options.type)), Line<Element>(elements)};
  ds_ops::fill(result.error, 8, -0.1F, 0.1F);
  return result;
}

/// Six groups in six partitions of one slice, with and without an error.
template <class Element>
void compare_quantize(std::int64_t size) {
  const Line<Element> values(6 * size);
  ds_ops::fill(values, 4);
  ds_ops::for_all_options(6, size, [&](const Options& options) {
    for (const bool has_error : {true, false}) {
      const auto make = [&](Quantized<Element>& result) {
        return ds_ops::QuantizeCall{values.data(),
                                    ds_ops::dtype_of<Element>,
                                    &options,
                                    {1, 2, 3},
                                    {has_error ? result.error.data() : nullptr, 0.75},
                                    result.codes.data(),
                                    result.params.data()};
      };
      const auto on_cpu = [&](const ds_ops::QuantizeCall& call, int level) {
        REQUIRE(ds_ops_quantizer_quantize_cpu(call.values, call.dtype, &options, call.swizzle,
                                              call.feedback, call.codes, call.params,
                                              level) == DS_OPS_OK);
      };
      Quantized<Element> right = empty<Element>(options, 6 * size);
      on_cpu(make(right), 1);
      for_all_levels([&](int level) {
        Quantized<Element> found = empty<Element>(options, 6 * size);
        on_cpu(make(found), level);
        CHECK(found == right);
      });
      for_all_ways(size, [&](Way way, bool whole) {
        Quantized<Element> found = empty<Element>(options, 6 * size);
        const ds_ops::QuantizeCall call = make(found);
        ds_ops::run_body(call.source<Element>(), call.sink(), call, way, whole);
        CHECK(found == right);
      });
    }
  });
}

/// Three shards of two groups become one of one or four groups.
template <class Element>
void compare_reduce(std::int64_t size, std::int64_t groups) {
  ds_ops::for_all_options(groups, size, [&](const Options& options) {
    const std::int64_t shard_size = groups * size / 2;
    const Line<std::int8_t> codes(6 * ds_ops::row_bytes(shard_size, options.bits));
    const Line<float> params(6 * (1 + options.type));
    std::mt19937 random(4);
    for (std::size_t i = 0; i < codes.count(); ++i) {
      codes[i] = static_cast<std::int8_t>(random());
    }
    ds_ops::fill(params, 5, 0.25F, 1.0F);
    const ds_ops_quantizer_shards shards{codes.data(), params.data(), 3, 2, shard_size};
    const auto make = [&](Quantized<Element>& result) {
      return ds_ops::ReduceCall{shards,
                                &options,
                                {result.error.data(), 0.5},
                                ds_ops::dtype_of<Element>,
                                result.codes.data(),
                                result.params.data()};
    };
    const auto on_cpu = [&](const ds_ops::ReduceCall& call, int level) {
      REQUIRE(ds_ops_quantizer_reduce_cpu(call.shards, &options, call.feedback, call.error_dtype,
                                          call.codes, call.params, level) == DS_OPS_OK);
    };
    Quantized<Element> right = empty<Element>(options, groups * size);
    on_cpu(make(right), 1);
    for_all_levels([&](int level) {
      Quantized<Element> found = empty<Element>(options, groups * size);
      on_cpu(make(found), level);
      CHECK(found == right);
    });
    for_all_ways(size, [&](Way way, bool whole) {
      if (!whole || shard_size % ds_ops::gpu_width == 0) {
        Quantized<Element> found = empty<Element>(options, groups * size);
        const ds_ops::ReduceCall call = make(found);
        ds_ops::run_body(call.source(), call.sink(), call, way, whole);
        CHECK(found == right);
      }
    });
  });
}

template <class Element, class Call, class OnCpu>
void compare_dequantize(const Options& options, const Call& call, const Line<Element>& found,
                        OnCpu on_cpu) {
  on_cpu(1);
  const Line<Element> right(found);
  for_all_levels([&](int level) {
    std::memset(static_cast<void*>(found.data()), 0x11, found.count() * sizeof(Element));
    on_cpu(level);
    CHECK(found == right);
  });
  for (const int width : {2, ds_ops::gpu_width, ds_ops::widest_on_gpu}) {
    if (width == 2 || options.group_size % width == 0) {
      std::memset(static_cast<void*>(found.data()), 0x11, found.count() * sizeof(Element));
      ds_ops::run_on_cpu<32>(2, [&](auto& block) {
        const auto work = call.template work<Element>();
        width == 2   ? ds_ops::dequantize_body<2, false>(block, work)
        : width == 8 ? ds_ops::dequantize_body<ds_ops::gpu_width, true>(block, work)
                     : ds_ops::dequantize_body<ds_ops::widest_on_gpu, true>(block, work);
      });
      CHECK(found == right);
    }
  }
}

template <class Element>
void compare_dequantizers(std::int64_t size) {
  ds_ops::for_all_options(3, size, [&](const Options& options) {
    const Line<std::uint8_t> codes(3 * ds_ops::row_bytes(size, options.bits));
    for (std::size_t i = 0; i < codes.count(); ++i) {
      codes[i] = static_cast<std::uint8_t>(37 * i);
    }
    const Line<float> params(3 * (1 + options.type));
    const Line<Element> scales(3), least(3), found(3 * size);
    ds_ops::fill(params, 1);
    ds_ops::fill(scales, 2, 1.0F, 9.0F);
    ds_ops::fill(least, 3);
    constexpr std::int32_t dtype = ds_ops::dtype_of<Element>;
    const std::int8_t* with_sign = reinterpret_cast<const std::int8_t*>(codes.data());
    const ds_ops::DequantizeCall call{with_sign, params.data(), &options, found.data(), dtype};
    compare_dequantize<Element>(options, call, found, [&](int level) {
      REQUIRE(ds_ops_quantizer_dequantize_cpu(with_sign, params.data(), &options, found.data(),
                                              dtype, level) == DS_OPS_OK);
    });
    const ds_ops::UnsignedCall other{codes.data(), scales.data(), least.data(),
                                     &options,     found.data(),  dtype};
    compare_dequantize<Element>(options, other, found, [&](int level) {
      REQUIRE(ds_ops_quantizer_dequantize_unsigned_cpu(codes.data(), scales.data(), least.data(),
                                                       &options, found.data(), dtype,
                                                       level) == DS_OPS_OK);
    });
  });
}

}  // namespace

TEST_CASE("quantizer: fake quantization, all ways the same bits") {
  for (const std::int64_t size : sizes) {
    compare_fake<float>(size);
    compare_fake<Float16>(size);
    compare_fake<BFloat16>(size);
  }
}

TEST_CASE("quantizer: quantization, all ways the same bits") {
  for (const std::int64_t size : sizes) {
    compare_quantize<float>(size);
    compare_quantize<Float16>(size);
    compare_quantize<BFloat16>(size);
  }
}

TEST_CASE("quantizer: reduction, all ways the same bits") {
  for (const std::int64_t size : sizes) {
    compare_reduce<float>(2 * size, 1);
    compare_reduce<Float16>(size, 4);
    compare_reduce<BFloat16>(size, 2);
  }
}

TEST_CASE("quantizer: dequantization, all ways the same bits") {
  for (const std::int64_t size : sizes) {
    compare_dequantizers<float>(size);
    compare_dequantizers<Float16>(size);
    compare_dequantizers<BFloat16>(size);
  }
}

TEST_CASE("quantizer: a group of many parts, shared among threads") {
  const std::int64_t size = 300001;
  compare_fake<Float16>(size / 4);
  const Line<Float16> values(size);
  ds_ops::fill(values, 6);
  const Options options = ds_ops::make_options(1, size, 4, DS_OPS_ASYMMETRIC, 1);
  Quantized<float> right = empty<float>(options, 0);
  Quantized<float> found = empty<float>(options, 0);
  const ds_ops::QuantizeCall call{values.data(), DS_OPS_FLOAT16,     &options,           {1, 1, 1},
                                  {nullptr, 0},  right.codes.data(), right.params.data()};
  ds_ops::run_body(call.source<Float16>(), call.sink(), call, Way::parts, false);
  REQUIRE(ds_ops_quantizer_quantize_cpu(values.data(), DS_OPS_FLOAT16, &options, {1, 1, 1},
                                        {nullptr, 0}, found.codes.data(), found.params.data(),
                                        0) == DS_OPS_OK);
  CHECK(found == right);
}
