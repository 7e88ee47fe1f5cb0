// SPDX-License-Identifier: Apache-2.0
//
// The body of the kernel (ds_ops/block.h): one block, one chunk of one tensor.
#pragma once

#include "ds_ops/adam_math.h"
#include "ds_ops/block.h"
#include "ds_ops/device_step.h"
#include "ds_ops/multi_tensor.h"
#include "ds_ops/scalar.h"

namespace ds_ops {

enum AdamColumn {
  adam_grads,
  adam_params,
  adam_exp_avg,
  adam_exp_avg_sq,
  adam_steps,
  adam_columns
};

/// What all launches of a step share.
template <class Real>
struct AdamArguments {
  AdamFactors<Real> factors;  ///< of the step and the lr of the options
  ds_ops_adam_options options;
  ds_ops_device_values values;
  int64_t chunk_size;
};

/// The arrays of a block's chunk, seen as vectors of `Width`.
template <class Element, int Width>
struct AdamChunk {
  const Vector<Element, Width>* __restrict__ grads;
  Vector<Element, Width>* __restrict__ params;
  Vector<Element, Width>* __restrict__ exp_avg;
  Vector<Element, Width>* __restrict__ exp_avg_sq;

  DS_OPS_INLINE AdamChunk(Element* const (&arrays)[4], unsigned skip)
      : grads(reinterpret_cast<const Vector<Element, Width>*>(arrays[adam_grads] + skip)),
        params(reinterpret_cast<Vector<Element, Width>*>(arrays[adam_params] + skip)),
        exp_avg(reinterpret_cast<Vector<Element, Width>*>(arrays[adam_exp_avg] + skip)),
        exp_avg_sq(reinterpret_cast<Vector<Element, Width>*>(arrays[adam_exp_avg_sq] + skip)) {}
};

/// What one of `threads` does of `count` vectors, `Unroll` of them in flight.
template <Decay decay, int Unroll, class Element, int Width, class Real>
DS_OPS_INLINE void adam_vectors(const AdamChunk<Element, Width>& chunk, unsigned count,
                                unsigned thread, unsigned threads, Real scale,
                                const AdamFactors<Real>& factors) {
  expect_aligned(count, chunk.grads);
  expect_aligned(count, chunk.params);
  expect_aligned(count, chunk.exp_avg);
  expect_aligned(count, chunk.exp_avg_sq);
  for (unsigned first = thread; first < count; first += threads * Unroll) {
    Vector<Element, Width> g[Unroll], p[Unroll], m[Unroll], v[Unroll];
    DS_OPS_UNROLL
    for (int k = 0; k < Unroll; ++k) {
      // Beyond the end the last one is read again, and not written.
      const unsigned i = first + static_cast<unsigned>(k) * threads;
      const unsigned from = i < count ? i : count - 1;
      g[k] = chunk.grads[from];
      p[k] = chunk.params[from];
      m[k] = chunk.exp_avg[from];
      v[k] = chunk.exp_avg_sq[from];
    }
    DS_OPS_UNROLL
    for (int k = 0; k < Unroll; ++k) {
      DS_OPS_UNROLL
      for (int j = 0; j < Width; ++j) {
        Real param = widen(p[k].of[j]);
        Real first_moment = widen(m[k].of[j]);
        Real second_moment = widen(v[k].of[j]);
        adam_element<decay>(param, widen(g[k].of[j]) * scale, first_moment, second_moment, factors);
        narrow(param, p[k].of[j]);
        narrow(first_moment, m[k].of[j]);
        narrow(second_moment, v[k].of[j]);
      }
    }
    DS_OPS_UNROLL
    for (int k = 0; k < Unroll; ++k) {
      const unsigned i = first + static_cast<unsigned>(k) * threads;
      if (i < count) {
        chunk.params[i] = p[k];
        chunk.exp_avg[i] = m[k];
        chunk.exp_avg_sq[i] = v[k];
      }
    }
  }
}

/// `shared` is memory of the block.
template <Decay decay, class Element, class Block, class Pack, class Real>
DS_OPS_INLINE void adam_body(Block& block, const Pack& pack, const AdamArguments<Real>& arguments,
                             AdamFactors<Real>& shared) {
  if (is_skipped(arguments.values)) {
    return;
  }
  const Piece piece = piece_of_block(pack, block.index(), arguments.chunk_size);
  const void* step = pack.columns[adam_steps][piece.tensor];
  const bool on_device = step != nullptr || arguments.values.lr != nullptr;
  if (on_device) {
    block.each([&](int thread) {
      if (thread == 0) {
        ds_ops_adam_options options = arguments.options;
        read_device_values(arguments.values, step, options);
        shared = make_adam_factors<Real>(options);
      }
    });
  }
  const AdamFactors<Real> factors = on_device ? shared : arguments.factors;
  const float* inv_scale = arguments.values.inv_scale;
  const Real scale = inv_scale == nullptr ? Real(1) : static_cast<Real>(*inv_scale);
  Element* arrays[4];
  bool aligned = true;
  DS_OPS_UNROLL
  for (int column = 0; column < 4; ++column) {
    arrays[column] = static_cast<Element*>(pack.columns[column][piece.tensor]) + piece.begin;
    aligned = aligned && is_aligned(arrays[column], 16);
  }
  constexpr unsigned width = vector_width<Element>;
  const unsigned vectors = aligned ? piece.n / width : 0;
  block.each_alone([&](int thread) {
    const unsigned self = static_cast<unsigned>(thread);
    adam_vectors<decay, 1>(AdamChunk<Element, width>(arrays, 0), vectors, self, Block::threads,
                           scale, factors);
    adam_vectors<decay, 4>(AdamChunk<Element, 1>(arrays, vectors * width),
                           piece.n - vectors * width, self, Block::threads, scale, factors);
  });
}

}  // namespace ds_ops
