// SPDX-License-Identifier: Apache-2.0
//
// Arrays of the ops' element types for tests, of exactly the size that is asked for, so that the
// sanitizer sees what lies beside them.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <new>
#include <random>
#include <vector>

#include "ds_ops/scalar.h"

namespace ds_ops {

/// The code of the type at the C border.
template <class Element>
constexpr std::int32_t dtype_of = DS_OPS_FLOAT32;
template <>
inline constexpr std::int32_t dtype_of<double> = DS_OPS_FLOAT64;
template <>
inline constexpr std::int32_t dtype_of<Float16> = DS_OPS_FLOAT16;
template <>
inline constexpr std::int32_t dtype_of<BFloat16> = DS_OPS_BFLOAT16;

/// Half the distance of neighbours, relative to the value: what one rounding may change.
template <class Element>
constexpr double roundoff = 0x1p-24;
template <>
inline constexpr double roundoff<double> = 0x1p-53;
template <>
inline constexpr double roundoff<Float16> = 0x1p-11;
template <>
inline constexpr double roundoff<BFloat16> = 0x1p-8;

/// Half the distance of the values around zero.
template <class Element>
constexpr double smallest_roundoff = 0x1p-150;
template <>
inline constexpr double smallest_roundoff<double> = 0x1p-1074;  // half of it is not a double
template <>
inline constexpr double smallest_roundoff<Float16> = 0x1p-25;
template <>
inline constexpr double smallest_roundoff<BFloat16> = 0x1p-134;

/// What storing `value` as an Element may change.
template <class Element>
double storing(double value) {
  return std::fabs(value) * roundoff<Element> + smallest_roundoff<Element>;
}

inline void store(double value, double& to) {
  to = value;
}
template <class Element>
void store(double value, Element& to) {
  narrow(static_cast<float>(value), to);
}

/// `count` elements that begin `skip` elements after an address that is a multiple of 64.
template <class Element>
class Buffer {
 public:
  explicit Buffer(std::size_t count, std::size_t skip = 0)
      : memory_(static_cast<Element*>(::operator new (
            (count + skip) * sizeof(Element) + (count == 0), std::align_val_t{64}))),
        count_(count),
        skip_(skip) {
    for (std::size_t i = 0; i < count + skip; ++i) {
      store(0.0, memory_[i]);
    }
  }
  ~Buffer() { ::operator delete (memory_, std::align_val_t{64}); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  Buffer(Buffer&& other) noexcept
      : memory_(other.memory_), count_(other.count_), skip_(other.skip_) {
    other.memory_ = nullptr;
  }
  Buffer& operator=(Buffer&&) = delete;

  Element* data() const { return memory_ + skip_; }
  std::size_t count() const { return count_; }
  double operator[](std::size_t i) const { return static_cast<double>(widen(data()[i])); }
  void set(std::size_t i, double value) { store(value, data()[i]); }
  template <class Random>
  void fill(Random& random, double low, double high) {
    std::uniform_real_distribution<double> values(low, high);
    for (std::size_t i = 0; i < count_; ++i) {
      set(i, values(random));
    }
  }
  std::vector<double> values() const {
    std::vector<double> all(count_);
    for (std::size_t i = 0; i < count_; ++i) {
      all[i] = (*this)[i];
    }
    return all;
  }

 private:
  Element* memory_;
  std::size_t count_;
  std::size_t skip_;
};

}  // namespace ds_ops
