// SPDX-License-Identifier: Apache-2.0
//
// Arrays for a call, and what it must give, worked out another way.
#pragma once

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "bias_add.h"
#include "elements.h"

namespace ds_ops {

/// `size` elements from `offset` elements behind an address that is a multiple of 16, in memory
/// that ends with them.
template <class Element>
class Array {
 public:
  Array(std::size_t size, std::size_t offset) : memory_(size + offset), offset_(offset) {}
  Element* data() { return memory_.empty() ? nullptr : memory_.data() + offset_; }
  std::size_t size() const { return memory_.size() - offset_; }
  Element& operator[](std::size_t i) { return memory_[offset_ + i]; }

 private:
  std::vector<Element> memory_;
  std::size_t offset_;
};

/// Random bits: denormals, infinities and NaNs among them.
template <class Element>
void fill(Array<Element>& array, std::mt19937& random) {
  for (std::size_t i = 0; i < array.size(); ++i) {
    const float value = std::ldexp(static_cast<float>(random() % 4097) - 2048.0F,
                                   static_cast<int>(random() % 40) - 30);
    narrow(value, array[i]);
    if (random() % 8 == 0) {
      const std::uint32_t bits = static_cast<std::uint32_t>(random());
      std::memcpy(&array[i], &bits, sizeof(Element));
    }
  }
}

/// The sum of two float32, by way of double: 53 bits are enough that rounding twice is rounding
/// once (Figueroa 1995: 53 >= 2 * 24 + 2).
inline float add_by_double(float a, float b) {
  return static_cast<float>(static_cast<double>(a) + static_cast<double>(b));
}

/// Whether two elements have the same bits, or both are NaN.
template <class Element>
bool same(Element a, Element b) {
  return std::memcmp(&a, &b, sizeof(Element)) == 0 ||
         (widen(a) != widen(a) && widen(b) != widen(b));
}

template <class Element>
struct Case {
  Array<Element> out, x, b, o, ob;
  std::size_t channels;
  Addition addition;

  Case(std::size_t rows, std::size_t c, std::size_t offset, Addition what, std::mt19937& random)
      : out(rows * c, offset),
        x(rows * c, offset),
        b(c, offset),
        o(rows * c, offset),
        ob(c, offset),
        channels(c),
        addition(what) {
    for (Array<Element>* array : {&x, &b, &o, &ob}) {
      fill(*array, random);
    }
  }

  BiasAddCall call(std::int32_t dtype) {
    const bool has_other = addition != Addition::bias;
    return {out.data(),
            x.data(),
            b.data(),
            has_other ? o.data() : nullptr,
            addition == Addition::bias_other_bias ? ob.data() : nullptr,
            static_cast<std::int64_t>(channels == 0 ? 3 : x.size() / channels),
            static_cast<std::int64_t>(channels),
            dtype};
  }

  std::vector<Element> right() {
    std::vector<Element> result(x.size());
    for (std::size_t i = 0; i < result.size(); ++i) {
      const std::size_t c = i % channels;
      float sum = add_by_double(widen(x[i]), widen(b[c]));
      if (addition == Addition::bias_other) {
        sum = add_by_double(sum, widen(o[i]));
      } else if (addition == Addition::bias_other_bias) {
        sum = add_by_double(sum, add_by_double(widen(o[i]), widen(ob[c])));
      }
      narrow(sum, result[i]);
    }
    return result;
  }

  bool is(const std::vector<Element>& expected) {
    return out.size() == expected.size() &&
           std::equal(expected.begin(), expected.end(), out.data(), same<Element>);
  }
};

}  // namespace ds_ops
