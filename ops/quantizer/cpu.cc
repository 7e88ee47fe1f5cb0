// SPDX-License-Identifier: Apache-2.0
//
// The CPU's form of the functions. Groups are shared among threads; of large ones the parts are.
// Each loop is over blocks of 64 elements, which the compiler turns into SIMD of each level.
#include <atomic>

#include "body.h"
#include "dequantize.h"
#include "ds_ops/cpu_level.h"
#include "ds_ops/threads.h"

namespace {

using ds_ops::AtLevels;
using ds_ops::CpuLevel;
using ds_ops::Grid;
using ds_ops::Place;
using ds_ops::Range;
using ds_ops::Rules;
using std::int32_t;
using std::int64_t;

constexpr int block_size = 64;
constexpr int small_block = 32;
constexpr int64_t part_size = 16384;  // of a large group, for one thread
constexpr int64_t large_group = 8 * part_size;
constexpr int64_t least_per_thread = 32768;  // elements

/// A part of one group.
struct Part {
  int64_t group;
  int64_t out_group;
  int64_t from, to;
};

/// Calls work.template run<Width, whole>(place) for blocks that cover the part; `source` says
/// whether a block is in one piece.
template <class Source, class Work>
DS_OPS_INLINE void walk(const Source& source, const Part& part, Work& work) {
  const auto place = [&](int64_t at, int count) __attribute__((always_inline)) {
    return Place{part.group, part.out_group, at, count};
  };
  for (int64_t at = part.from; at < part.to;) {
    const int64_t left = part.to - at;
    if (left >= block_size && source.has(place(at, block_size), block_size)) {
      work.template run<block_size, true>(place(at, block_size));
      at += block_size;
    } else if (left >= small_block && source.has(place(at, small_block), small_block)) {
      work.template run<small_block, true>(place(at, small_block));
      at += small_block;
    } else {
      work.template run<2, false>(place(at, left == 1 ? 1 : 2));
      at += 2;
    }
  }
}

template <class Source>
struct Measuring {
  const Source& source;
  float largest[block_size];
  float smallest[block_size];

  DS_OPS_INLINE explicit Measuring(const Source& from) : source(from) {
    for (int w = 0; w < block_size; ++w) {
      largest[w] = Range().largest;
      smallest[w] = Range().smallest;
    }
  }
  template <int Width, bool whole>
  DS_OPS_INLINE void run(const Place& place) {
    float x[Width];
    source.template load<whole>(place, x);
    const int count = whole ? Width : place.count;
    for (int w = 0; w < count; ++w) {
      largest[w] = ds_ops::Largest()(x[w], largest[w]);
      smallest[w] = ds_ops::Smallest()(x[w], smallest[w]);
    }
  }
};

template <class Source>
struct Measure {
  DS_OPS_INLINE static void run(const Source& source, const Part& part, Range& range) {
    Measuring<Source> work(source);
    walk(source, part, work);
    // Halves, so that this too is SIMD: groups may be small.
    for (int half = block_size / 2; half > 0; half /= 2) {
      for (int w = 0; w < half; ++w) {
        work.largest[w] = ds_ops::Largest()(work.largest[w], work.largest[w + half]);
        work.smallest[w] = ds_ops::Smallest()(work.smallest[w], work.smallest[w + half]);
      }
    }
    range.largest = work.largest[0];
    range.smallest = work.smallest[0];
  }
};

template <class Source, class Sink>
struct Writing {
  const Source& source;
  const Sink& sink;
  const Grid& grid;
  const Rules& rules;

  template <int Width, bool whole>
  DS_OPS_INLINE void run(const Place& place) {
    float x[Width];
    source.template load<whole>(place, x);
    sink.template store<whole>(place, x, grid, rules);
  }
};

template <class Source, class Sink>
struct Write {
  DS_OPS_INLINE static void run(const Source& source, const Sink& sink, const Part& part,
                                const Grid& grid, const Rules& rules) {
    Writing<Source, Sink> work{source, sink, grid, rules};
    walk(source, part, work);
  }
};

void raise(std::atomic<std::uint32_t>& shared, std::uint32_t value) {
  std::uint32_t known = shared.load(std::memory_order_relaxed);
  while (known < value && !shared.compare_exchange_weak(known, value, std::memory_order_relaxed)) {
  }
}

template <class Source, class Sink>
struct Loops {
  const Source& source;
  const Sink& sink;
  const Rules& rules;
  int64_t group_size;
  CpuLevel level;

  void measure(const Part& part, Range& range) const {
    AtLevels<Measure<Source>, const Source&, const Part&, Range&>::at(level)(source, part, range);
  }
  void write(const Part& part, const Grid& grid) const {
    AtLevels<Write<Source, Sink>, const Source&, const Sink&, const Part&, const Grid&,
             const Rules&>::at(level)(source, sink, part, grid, rules);
  }
  void small(int64_t group) const {
    const Part all{group, sink.place(group), 0, group_size};
    Range range;
    measure(all, range);
    const Grid grid = make_grid(range.largest, range.smallest, rules);
    sink.store_grid(all.out_group, grid, rules);
    write(all, grid);
  }
  /// Calls work for parts of a group in several threads.
  template <class Work>
  void share_parts(int64_t group, Work work) const {
    const int64_t parts = ds_ops::divide_up(group_size, part_size);
    ds_ops::share(parts, 2, 0, [&](int64_t first, int64_t last) {
      const int64_t end = std::min(last * part_size, group_size);
      work(Part{group, sink.place(group), first * part_size, end});
    });
  }
  void large(int64_t group) const {
    std::atomic<std::uint32_t> largest{0}, smallest{0};
    share_parts(group, [&](const Part& part) {
      Range range;
      measure(part, range);
      raise(largest, ds_ops::in_order(range.largest));
      raise(smallest, ds_ops::in_order(-range.smallest));
    });
    const Grid grid = make_grid(ds_ops::from_order(largest), -ds_ops::from_order(smallest), rules);
    sink.store_grid(sink.place(group), grid, rules);
    share_parts(group, [&](const Part& part) { write(part, grid); });
  }
};

template <class Source, class Sink, class Call>
int run(const Source& source, const Sink& sink, const Call& call, CpuLevel level) {
  const Rules rules = call.rules();
  const int64_t groups = call.options->groups;
  const int64_t size = call.options->group_size;
  const Loops<Source, Sink> loops{source, sink, rules, size, level};
  if (size >= large_group) {
    for (int64_t group = 0; group < groups; ++group) {
      loops.large(group);
    }
    return DS_OPS_OK;
  }
  ds_ops::share(groups, least_per_thread / (size + 1) + 1, 0, [&](int64_t first, int64_t last) {
    for (int64_t group = first; group < last; ++group) {
      loops.small(group);
    }
  });
  return DS_OPS_OK;
}

/// All places are in one piece.
struct Anywhere {
  DS_OPS_INLINE bool has(const Place&, int) const { return true; }
};

template <class Work>
struct Moving {
  const Work& work;

  template <int Width, bool whole>
  DS_OPS_INLINE void run(const Place& place) {
    work.template move<whole, Width>(place.group, place.at, place.count);
  }
};

template <class Work>
struct Move {
  DS_OPS_INLINE static void run(const Work& work, const Part& part) {
    Moving<Work> moving{work};
    walk(Anywhere(), part, moving);
  }
};

/// Parts of all groups are shared among threads.
template <class Work>
int run_dequantize(const Work& work, CpuLevel level) {
  const auto move = AtLevels<Move<Work>, const Work&, const Part&>::at(level);
  const int64_t parts = ds_ops::divide_up(work.group_size, part_size);
  const int64_t least = least_per_thread / (std::min(part_size, work.group_size) + 1) + 1;
  ds_ops::share(parts * work.groups, least, 0, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const int64_t group = i / parts;
      const int64_t from = (i - group * parts) * part_size;
      move(work, Part{group, group, from, std::min(from + part_size, work.group_size)});
    }
  });
  return DS_OPS_OK;
}

}  // namespace

int ds_ops_quantizer_fake_cpu(void* values, int32_t dtype, const ds_ops_quantizer_options* options,
                              double eps, int32_t cpu_level) {
  const ds_ops::FakeCall call{values, dtype, options, eps};
  const void* pointers[1];
  int code = ds_ops::check_cpu_level(cpu_level);
  code = code == DS_OPS_OK ? call.check(nullptr, pointers) : code;
  return code != DS_OPS_OK ? code : ds_ops::with_element(dtype, [&](auto element) {
    return run(call.source<decltype(element)>(), call.sink<decltype(element)>(), call,
               static_cast<CpuLevel>(cpu_level));
  });
}

int ds_ops_quantizer_quantize_cpu(const void* values, int32_t dtype,
                                  const ds_ops_quantizer_options* options,
                                  ds_ops_quantizer_swizzle swizzle,
                                  ds_ops_quantizer_feedback feedback, int8_t* codes, float* params,
                                  int32_t cpu_level) {
  const ds_ops::QuantizeCall call{values, dtype, options, swizzle, feedback, codes, params};
  const void* pointers[4];
  int code = ds_ops::check_cpu_level(cpu_level);
  code = code == DS_OPS_OK ? call.check(nullptr, pointers) : code;
  return code != DS_OPS_OK ? code : ds_ops::with_element(dtype, [&](auto element) {
    return run(call.source<decltype(element)>(), call.sink(), call,
               static_cast<CpuLevel>(cpu_level));
  });
}

int ds_ops_quantizer_reduce_cpu(ds_ops_quantizer_shards shards,
                                const ds_ops_quantizer_options* options,
                                ds_ops_quantizer_feedback feedback, int32_t error_dtype,
                                int8_t* codes, float* params, int32_t cpu_level) {
  const ds_ops::ReduceCall call{shards, options, feedback, error_dtype, codes, params};
  const void* pointers[5];
  int code = ds_ops::check_cpu_level(cpu_level);
  code = code == DS_OPS_OK ? call.check(nullptr, pointers) : code;
  return code != DS_OPS_OK
             ? code
             : run(call.source(), call.sink(), call, static_cast<CpuLevel>(cpu_level));
}

int ds_ops_quantizer_dequantize_cpu(const int8_t* codes, const float* params,
                                    const ds_ops_quantizer_options* options, void* values,
                                    int32_t dtype, int32_t cpu_level) {
  const ds_ops::DequantizeCall call{codes, params, options, values, dtype};
  const void* pointers[4];
  int code = ds_ops::check_cpu_level(cpu_level);
  code = code == DS_OPS_OK ? call.check(pointers) : code;
  return code != DS_OPS_OK ? code : ds_ops::with_element(dtype, [&](auto element) {
    return run_dequantize(call.work<decltype(element)>(), static_cast<CpuLevel>(cpu_level));
  });
}

int ds_ops_quantizer_dequantize_unsigned_cpu(const uint8_t* codes, const void* scales,
                                             const void* least,
                                             const ds_ops_quantizer_options* options, void* values,
                                             int32_t dtype, int32_t cpu_level) {
  const ds_ops::UnsignedCall call{codes, scales, least, options, values, dtype};
  const void* pointers[4];
  int code = ds_ops::check_cpu_level(cpu_level);
  code = code == DS_OPS_OK ? call.check(pointers) : code;
  return code != DS_OPS_OK ? code : ds_ops::with_element(dtype, [&](auto element) {
    return run_dequantize(call.work<decltype(element)>(), static_cast<CpuLevel>(cpu_level));
  });
}
