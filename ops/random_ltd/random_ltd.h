/* SPDX-License-Identifier: Apache-2.0
 *
 * C ABI of the op `random_ltd`: what random layer token dropping (Yao et al. 2022,
 * arXiv:2211.11586) does with tokens and attention masks. Elements are bytes that are moved: any
 * type of 1, 2, 4, 8 or 16 bytes, aligned to that. Indices are int32, from 0 on.
 *
 * Each operation is there twice, for memory of one GPU and, with _cpu, for memory of the CPU; both
 * give the same bits. An array that is written shares memory with no other. Sizes of 0 are no
 * error; pointers of arrays without elements are not looked at.
 *
 * Indices that are wrong: on the CPU the answer is DS_OPS_BAD_INDEX (negative, or not below
 * `tokens`) or DS_OPS_SAME_INDEX, and nothing is written. A GPU finds them while it works: it never
 * reads or writes outside the arrays, each function says what it does instead, and if `status` is
 * not NULL, a device int32 that the caller has set to 0, the bits below are set in it.
 *
 * Functions for GPUs queue the work. `device` is the GPU's ordinal; -1 finds it, and checks every
 * pointer, with the driver. `stream` is a cudaStream_t; NULL is the default stream. A code above
 * DS_OPS_CUDA is a cudaError_t; an error of the kernel itself shows up in a later CUDA call. The
 * memory must live until the work is done. The current CUDA device is restored.
 */
#pragma once

#include <stdint.h>

#include "ds_ops/abi.h"

enum { DS_OPS_RANDOM_LTD_BAD_INDEX = 1, DS_OPS_RANDOM_LTD_SAME_INDEX = 2 };

/* Sorts each of `rows` rows of `kept` indices, distinct and below `tokens`, in place, ascending.
 * A GPU leaves a row with a wrong index, or with one twice, as it is. DS_OPS_TOO_MANY_TOKENS:
 * `kept` is more than `tokens`. Takes time for kept * (1 + tokens / 262144) indices a row; above
 * 262144 tokens a GPU sorts by a network, for kept * log(kept)^2. No memory is allocated. */
DS_OPS_EXPORT int ds_ops_random_ltd_sort(int32_t device, int32_t* indices, int64_t rows,
                                         int64_t kept, int64_t tokens, int32_t* status,
                                         void* stream);
DS_OPS_EXPORT int ds_ops_random_ltd_sort_cpu(int32_t* indices, int64_t rows, int64_t kept,
                                             int64_t tokens);

/* Tokens, all of them and those that are kept. Token s of sequence n is `channels` elements next to
 * each other, from element n * batch_stride + s * token_stride on: [N, S, C] is batch_stride S * C
 * and token_stride C, [S, N, C] is C and N * C. */
struct ds_ops_random_ltd_tokens {
  void* all; /* batch times tokens */
  int64_t all_batch_stride;
  int64_t all_token_stride;
  void* part; /* batch times kept */
  int64_t part_batch_stride;
  int64_t part_token_stride;
  const int32_t* indices; /* [batch, kept]; NULL: 0, 1, ..., kept - 1 */
  int64_t batch;
  int64_t tokens;
  int64_t kept;
  int64_t channels;
  int64_t element_size; /* bytes */
};

/* part[n, r, :] = all[n, indices[n, r], :]. Where an index is wrong a GPU writes zeros. The first R
 * rows and columns of N masks [S, S] are `channels` = `kept` = R, strides S * S and S. */
DS_OPS_EXPORT int ds_ops_random_ltd_gather(int32_t device,
                                           const struct ds_ops_random_ltd_tokens* tokens,
                                           int32_t* status, void* stream);
DS_OPS_EXPORT int ds_ops_random_ltd_gather_cpu(const struct ds_ops_random_ltd_tokens* tokens);

/* all[n, indices[n, r], :] = part[n, r, :]; the other tokens stay. Where an index is wrong a GPU
 * writes nothing. Where one is twice in a sequence a GPU does not notice: what is in that token is
 * of one or the other, piece by piece. */
DS_OPS_EXPORT int ds_ops_random_ltd_scatter(int32_t device,
                                            const struct ds_ops_random_ltd_tokens* tokens,
                                            int32_t* status, void* stream);
DS_OPS_EXPORT int ds_ops_random_ltd_scatter_cpu(const struct ds_ops_random_ltd_tokens* tokens);

struct ds_ops_random_ltd_masks {
  void* out;              /* [layers, batch, kept, kept] */
  const void* mask;       /* [batch, tokens, tokens] */
  const int32_t* indices; /* [layers, batch, kept] */
  int64_t layers;
  int64_t batch;
  int64_t tokens;
  int64_t kept;
  int64_t element_size; /* bytes */
};

/* out[l, n, i, j] = mask[n, indices[l, n, i], indices[l, n, j]]. Where one of the two indices is
 * wrong a GPU writes 0. */
DS_OPS_EXPORT int ds_ops_random_ltd_mask(int32_t device,
                                         const struct ds_ops_random_ltd_masks* masks,
                                         int32_t* status, void* stream);
DS_OPS_EXPORT int ds_ops_random_ltd_mask_cpu(const struct ds_ops_random_ltd_masks* masks);
