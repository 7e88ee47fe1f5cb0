// SPDX-License-Identifier: Apache-2.0
//
// Arrays for the tests of the quantizer, of exactly the size that is told, so that the sanitizer
// sees what lies beside them; and the bodies of the kernels, run on the CPU.
#pragma once

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "body.h"
#include "cpu_block.h"
#include "dequantize.h"
#include "ds_ops/cpu_level.h"
#include "elements.h"

namespace ds_ops {

/// `count` elements that begin `skip` elements after an address that is a multiple of 64.
template <class Element>
class Line {
 public:
  explicit Line(std::int64_t count, std::int64_t skip = 0)
      : bytes_(static_cast<std::size_t>(count) * sizeof(Element)),
        skip_(static_cast<std::size_t>(skip) * sizeof(Element)),
        memory_(static_cast<char*>(
            ::operator new (bytes_ + skip_ + (bytes_ == 0), std::align_val_t{64}))) {
    std::memset(memory_.get(), 0x55, bytes_ + skip_);
  }
  Line(const Line& other)
      : Line(static_cast<std::int64_t>(other.bytes_ / sizeof(Element)),
             static_cast<std::int64_t>(other.skip_ / sizeof(Element))) {
    std::memcpy(memory_.get(), other.memory_.get(), bytes_ + skip_);
  }
  Element* data() const { return reinterpret_cast<Element*>(memory_.get() + skip_); }
  std::size_t count() const { return bytes_ / sizeof(Element); }
  Element& operator[](std::size_t i) const { return data()[i]; }
  bool operator==(const Line& other) const {
    return bytes_ == other.bytes_ && std::memcmp(data(), other.data(), bytes_) == 0;
  }

 private:
  struct Free {
    void operator()(char* memory) const { ::operator delete (memory, std::align_val_t{64}); }
  };
  std::size_t bytes_, skip_;
  std::unique_ptr<char, Free> memory_;
};

template <class Element>
void fill(const Line<Element>& line, unsigned seed, float low = -3.0F, float high = 5.0F) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> values(low, high);
  for (std::size_t i = 0; i < line.count(); ++i) {
    narrow(values(random), line[i]);
  }
}

/// Ways in which a GPU may work on a call.
enum class Way { held, streamed, parts, serial };

/// What launch.cuh does, on the CPU.
template <class Source, class Sink, class Call>
void run_body(const Source& source, const Sink& sink, const Call& call, Way way, bool whole) {
  std::vector<std::uint32_t> ranges(2 * static_cast<std::size_t>(call.options->groups), 0);
  Task task{call.options->groups, call.options->group_size, 1, ranges.data(), Stage::all,
            call.rules()};
  const auto streamed = [&](long long blocks) {
    run_on_cpu<64>(blocks, [&](auto& block) {
      whole ? streamed_body<gpu_width, true>(block, source, sink, task)
            : streamed_body<2, false>(block, source, sink, task);
    });
  };
  switch (way) {
    case Way::held:
      run_on_cpu<32>(2, [&](auto& block) { held_body<2>(block, source, sink, task); });
      return;
    case Way::streamed:
      return streamed(2);
    case Way::parts:
      task.parts = 3;
      task.stage = Stage::measure;
      streamed(3 * task.groups);
      task.stage = Stage::write;
      return streamed(4);
    case Way::serial:
      run_on_cpu<32>(1, [&](auto& block) {
        whole ? serial_body<gpu_width, true>(block, source, sink, task)
              : serial_body<2, false>(block, source, sink, task);
      });
      return;
  }
}

/// The ways that a group of this size may go, with whole places or without.
inline bool is_possible(Way way, std::int64_t group_size, bool whole) {
  return (!whole || group_size % gpu_width == 0) &&
         (way != Way::held || (whole && group_size <= 32 * 2 * gpu_width));
}

constexpr Way all_ways[] = {Way::held, Way::streamed, Way::parts, Way::serial};

inline Options make_options(std::int64_t groups, std::int64_t group_size, int bits, int type,
                            int rounding) {
  return {groups, group_size, 77, 5, bits, type, rounding, 0};
}

/// Work(options) for every kind of options.
template <class Work>
void for_all_options(std::int64_t groups, std::int64_t group_size, Work work) {
  for (const int bits : {4, 8}) {
    for (const int type : {DS_OPS_SYMMETRIC, DS_OPS_ASYMMETRIC}) {
      for (const int rounding : {DS_OPS_ROUND_NEAREST, DS_OPS_ROUND_STOCHASTIC}) {
        work(make_options(groups, group_size, bits, type, rounding));
      }
    }
  }
}

}  // namespace ds_ops
