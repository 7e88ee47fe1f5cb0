// SPDX-License-Identifier: Apache-2.0
//
// The bodies of the two kernels (ds_ops/block.h): one block, one chunk of one tensor.
//
//   lamb_moments_body   m and v, and the chunk's sums of p^2 and u^2 into the workspace
//   lamb_apply_body     the sums of the tensor, the trust ratio, p
//
// u is not kept: the second launch works it out again from p, m and v, which moves as many bytes as
// to write and read it, and needs no buffer. It is the same to the bit, for it is made of m and v
// as they are stored.
#pragma once

#include "ds_ops/block.h"
#include "ds_ops/device_step.h"
#include "ds_ops/multi_tensor.h"
#include "ds_ops/scalar.h"
#include "lamb_math.h"

namespace ds_ops {

enum LambColumn {
  lamb_grads,
  lamb_params,
  lamb_exp_avg,
  lamb_exp_avg_sq,
  lamb_copy,
  lamb_steps,
  lamb_columns
};

/// What all launches of a step share.
template <class Real>
struct LambArguments {
  LambFactors<Real> factors;  ///< of the step and the lr of the options
  ds_ops_lamb_options options;
  ds_ops_device_values values;
  int64_t chunk_size;
  Real* sums;  ///< two for each chunk of all launches
  float* trust_ratios;
};

/// The factors of a tensor, from `shared`, memory of the block, where they need the device.
template <class Block, class Pack, class Real>
DS_OPS_INLINE LambFactors<Real> lamb_factors(Block& block, const Pack& pack, int tensor,
                                             const LambArguments<Real>& arguments,
                                             LambFactors<Real>& shared) {
  const void* step = pack.columns[lamb_steps][tensor];
  if (step == nullptr && arguments.values.lr == nullptr) {
    return arguments.factors;
  }
  block.each([&](int thread) {
    if (thread == 0) {
      ds_ops_lamb_options options = arguments.options;
      read_device_values(arguments.values, step, options);
      shared = make_lamb_factors<Real>(options);
    }
  });
  return shared;
}

/// The array of a block's chunk.
template <class Element, class Pack>
DS_OPS_INLINE Element* chunk_of(const Pack& pack, const Piece& piece, int column) {
  return static_cast<Element*>(pack.columns[column][piece.tensor]) + piece.begin;
}

/// What one of `threads` does of `count` vectors in the first launch: p^2 and u^2 are added to the
/// two sums.
template <int Width, class Element, class Grad, class Real>
DS_OPS_INLINE void lamb_moments_vectors(const Grad* g_begin, const Element* p_begin,
                                        Element* m_begin, Element* v_begin, unsigned count,
                                        unsigned thread, unsigned threads, Real scale,
                                        const LambFactors<Real>& factors, Real& of_params,
                                        Real& of_updates) {
  auto* __restrict__ grads = reinterpret_cast<const Vector<Grad, Width>*>(g_begin);
  auto* __restrict__ params = reinterpret_cast<const Vector<Element, Width>*>(p_begin);
  auto* __restrict__ exp_avg = reinterpret_cast<Vector<Element, Width>*>(m_begin);
  auto* __restrict__ exp_avg_sq = reinterpret_cast<Vector<Element, Width>*>(v_begin);
  expect_aligned(count, grads);
  expect_aligned(count, params);
  expect_aligned(count, exp_avg);
  expect_aligned(count, exp_avg_sq);
  for (unsigned i = thread; i < count; i += threads) {
    const Vector<Grad, Width> g = grads[i];
    const Vector<Element, Width> p = params[i];
    Vector<Element, Width> m = exp_avg[i];
    Vector<Element, Width> v = exp_avg_sq[i];
    DS_OPS_UNROLL
    for (int j = 0; j < Width; ++j) {
      Real first_moment = widen(m.of[j]);
      Real second_moment = widen(v.of[j]);
      lamb_moments(widen(g.of[j]) * scale, first_moment, second_moment, factors);
      narrow(first_moment, m.of[j]);
      narrow(second_moment, v.of[j]);
      const Real param = widen(p.of[j]);
      const Real update = lamb_update<Real>(param, widen(m.of[j]), widen(v.of[j]), factors);
      of_params += param * param;
      of_updates += update * update;
    }
    exp_avg[i] = m;
    exp_avg_sq[i] = v;
  }
}

/// `shared` is memory of the block.
template <class Element, class Grad, class Block, class Pack, class Real>
DS_OPS_INLINE void lamb_moments_body(Block& block, const Pack& pack,
                                     const LambArguments<Real>& arguments,
                                     LambFactors<Real>& shared) {
  if (is_skipped(arguments.values)) {
    return;
  }
  const Piece piece = piece_of_block(pack, block.index(), arguments.chunk_size);
  const LambFactors<Real> factors = lamb_factors(block, pack, piece.tensor, arguments, shared);
  const float* inv_scale = arguments.values.inv_scale;
  const Real scale = inv_scale == nullptr ? factors.grad_scale : factors.grad_scale * *inv_scale;
  const Grad* g = chunk_of<Grad>(pack, piece, lamb_grads);
  const Element* p = chunk_of<Element>(pack, piece, lamb_params);
  Element* m = chunk_of<Element>(pack, piece, lamb_exp_avg);
  Element* v = chunk_of<Element>(pack, piece, lamb_exp_avg_sq);
  constexpr unsigned width = vector_width<Element>;
  const bool aligned = is_aligned(g, sizeof(Grad) * width) && is_aligned(p, 16) &&
                       is_aligned(m, 16) && is_aligned(v, 16);
  const unsigned vectors = aligned ? piece.n / width : 0;
  const unsigned done = vectors * width;
  typename Block::template Each<Real> of_params;
  typename Block::template Each<Real> of_updates;
  block.each_alone([&](int thread) {
    const unsigned self = static_cast<unsigned>(thread);
    of_params[thread] = Real(0);
    of_updates[thread] = Real(0);
    lamb_moments_vectors<width>(g, p, m, v, vectors, self, Block::threads, scale, factors,
                                of_params[thread], of_updates[thread]);
    lamb_moments_vectors<1>(g + done, p + done, m + done, v + done, piece.n - done, self,
                            Block::threads, scale, factors, of_params[thread], of_updates[thread]);
  });
  const Real all_params = block.reduce(of_params, Add());
  const Real all_updates = block.reduce(of_updates, Add());
  Real* sums = arguments.sums + 2 * (pack.first_chunk + block.index());
  block.each_alone([&](int thread) {
    if (thread == 0) {
      sums[0] = all_params;
      sums[1] = all_updates;
    }
  });
}

/// What one of `threads` does of `count` vectors in the second launch. `size` is the step's size,
/// trust ratio included. Without `copies`, `copy_begin` is not used.
template <int Width, bool copies, class Element, class Copy, class Real>
DS_OPS_INLINE void lamb_apply_vectors(Element* p_begin, const Element* m_begin,
                                      const Element* v_begin, Copy* copy_begin, unsigned count,
                                      unsigned thread, unsigned threads, Real size,
                                      const LambFactors<Real>& factors) {
  auto* __restrict__ params = reinterpret_cast<Vector<Element, Width>*>(p_begin);
  auto* __restrict__ exp_avg = reinterpret_cast<const Vector<Element, Width>*>(m_begin);
  auto* __restrict__ exp_avg_sq = reinterpret_cast<const Vector<Element, Width>*>(v_begin);
  auto* __restrict__ copy = reinterpret_cast<Vector<Copy, Width>*>(copy_begin);
  expect_aligned(count, params);
  expect_aligned(count, exp_avg);
  expect_aligned(count, exp_avg_sq);
  expect_aligned(copies ? count : 0, copy);
  for (unsigned i = thread; i < count; i += threads) {
    Vector<Element, Width> p = params[i];
    const Vector<Element, Width> m = exp_avg[i];
    const Vector<Element, Width> v = exp_avg_sq[i];
    Vector<Copy, Width> narrowed;
    DS_OPS_UNROLL
    for (int j = 0; j < Width; ++j) {
      Real param = widen(p.of[j]);
      param = param - size * lamb_update<Real>(param, widen(m.of[j]), widen(v.of[j]), factors);
      narrow(param, p.of[j]);
      if constexpr (copies) {
        narrow(param, narrowed.of[j]);
      }
    }
    params[i] = p;
    if constexpr (copies) {
      copy[i] = narrowed;
    }
  }
}

/// The trust ratio of the block's tensor, from the sums of all its chunks: each thread adds up
/// every so many, in order, then the block does. All blocks of a tensor get the same bits.
template <class Block, class Pack, class Real>
DS_OPS_INLINE Real lamb_ratio(Block& block, const Pack& pack, int tensor,
                              const LambArguments<Real>& arguments) {
  const int first = pack.first_block[tensor];
  const int chunks = pack.first_block[tensor + 1] - first;
  const Real* sums = arguments.sums + 2 * (pack.first_chunk + first);
  typename Block::template Each<Real> of_params;
  typename Block::template Each<Real> of_updates;
  block.each_alone([&](int thread) {
    of_params[thread] = Real(0);
    of_updates[thread] = Real(0);
    for (int i = thread; i < chunks; i += Block::threads) {
      of_params[thread] += sums[2 * i];
      of_updates[thread] += sums[2 * i + 1];
    }
  });
  const Real all_params = block.reduce(of_params, Add());
  const Real all_updates = block.reduce(of_updates, Add());
  return trust_ratio(all_params, all_updates, static_cast<Real>(arguments.options.min_coeff),
                     static_cast<Real>(arguments.options.max_coeff));
}

/// `shared` is memory of the block.
template <bool copies, class Element, class Copy, class Block, class Pack, class Real>
DS_OPS_INLINE void lamb_apply_body(Block& block, const Pack& pack,
                                   const LambArguments<Real>& arguments,
                                   LambFactors<Real>& shared) {
  if (is_skipped(arguments.values)) {
    return;
  }
  const Piece piece = piece_of_block(pack, block.index(), arguments.chunk_size);
  const LambFactors<Real> factors = lamb_factors(block, pack, piece.tensor, arguments, shared);
  const Real ratio = lamb_ratio(block, pack, piece.tensor, arguments);
  const Real size = factors.step_size * ratio;
  Element* p = chunk_of<Element>(pack, piece, lamb_params);
  const Element* m = chunk_of<Element>(pack, piece, lamb_exp_avg);
  const Element* v = chunk_of<Element>(pack, piece, lamb_exp_avg_sq);
  Copy* copy = copies ? chunk_of<Copy>(pack, piece, lamb_copy) : nullptr;
  constexpr unsigned width = vector_width<Element>;
  const bool aligned = is_aligned(p, 16) && is_aligned(m, 16) && is_aligned(v, 16) &&
                       is_aligned(copy, sizeof(Copy) * width);
  const unsigned vectors = aligned ? piece.n / width : 0;
  const unsigned done = vectors * width;
  block.each_alone([&](int thread) {
    const unsigned self = static_cast<unsigned>(thread);
    if (thread == 0 && piece.begin == 0 && arguments.trust_ratios != nullptr) {
      arguments.trust_ratios[pack.first_tensor + piece.tensor] = static_cast<float>(ratio);
    }
    lamb_apply_vectors<width, copies>(p, m, v, copy, vectors, self, Block::threads, size, factors);
    lamb_apply_vectors<1, copies>(p + done, m + done, v + done, copies ? copy + done : copy,
                                  piece.n - done, self, Block::threads, size, factors);
  });
}

}  // namespace ds_ops
